"""FieldMasks of requests that update (https://google.aip.dev/134), filled with the members that a body has."""

import re
from collections.abc import Callable, Container
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from msgspec import UNSET

from gateway.codecs.format import Format, NoFormError, Unknown
from gateway.schema.names import convention
from gateway.schema.types import Field, Record, Type, with_records

UPDATE_MASK: Final = "update_mask"
_MESSAGE: Final = "google.protobuf.FieldMask"
_HUMP: Final = re.compile("_([a-z])")


class UpdateMask:
    """The mask of one type of request.

    name: of the field, or the parameter, that is the mask.
    """

    def __init__(self, name: str, request: Record, mask: Field | None, resource: Field | None) -> None:
        self.name = name
        self._mask = mask
        self._resource = resource
        self._shadow = _Shadow().record(request)

    @classmethod
    def of(cls, request: Type | None, params: Container[str]) -> "UpdateMask | None":
        """None where nothing is to be filled.

        request: either has a FieldMask and one other message, the resource, which the paths are relative to; or is the
            resource itself, and the route reads the parameter update_mask. params: the parameters that it reads.
        """
        if not isinstance(request, Record):
            return None
        if UPDATE_MASK in params:
            return cls(UPDATE_MASK, request, None, None)
        mask = next((field for field in request.fields if _is_mask(field)), None)
        resources = [field for field in request.fields if isinstance(field.type, Record)]
        return None if mask is None or len(resources) != 1 else cls(mask.name, request, mask, resources[0])

    def given(self, params: Container[str]) -> bool:
        """Whether the caller gives the mask as a parameter."""
        return any(name in params for name in (self.name, _camel(self.name), convention(self.name)))

    def reader(self, format_: Format) -> Callable[[Any], str] | None:
        """Body -> mask, as JSON has it; empty where the body gives the mask, or has no resource. None where the format
        does not tell absent from empty. Raises as a decoder."""
        try:
            decode = format_.decoder(self._shadow, Unknown.DROP)
        except NoFormError:
            return None

        def read(body: Any) -> str:
            value = decode(body)
            if self._mask is not None and getattr(value, self._mask.attr) is not UNSET:
                return ""
            record = self._shadow
            if self._resource is not None:
                value = getattr(value, self._resource.attr)
                field = record.field(self._resource.name)
                assert field is not None and isinstance(field.type, Record)  # noqa: S101, PT018  what a resource is
                record = field.type
            return ",".join(_paths(record, value, "")) if value is not UNSET and value is not None else ""

        return read


def _is_mask(field: Field) -> bool:
    wire = field.wire
    return isinstance(wire, FieldDescriptor) and not wire.is_repeated and _message_name(wire) == _MESSAGE


def _message_name(wire: FieldDescriptor) -> str:
    return "" if wire.message_type is None else str(wire.message_type.full_name)


def _paths(record: Record, value: Any, prefix: str) -> list[str]:
    paths: list[str] = []
    for field in record.fields:
        member = getattr(value, field.attr)
        if member is UNSET:
            continue
        path = prefix + _camel(field.name)
        below = _paths(field.type, member, f"{path}.") if isinstance(field.type, Record) and member is not None else []
        paths += below or [path]
    return paths


def _camel(name: str) -> str:
    return _HUMP.sub(lambda hump: hump[1].upper(), name)


class _Shadow:
    """Makes records in which absent, null and empty differ for every member, and none must be there."""

    def __init__(self) -> None:
        self._known: dict[int, Record] = {}

    def record(self, record: Record) -> Record:
        known = self._known.get(id(record))
        if known is None:
            known = self._known[id(record)] = Record(record.name)
            known.fields = tuple(
                Field(field.name, with_records(field.type, self.record), nullable=True, json_name=field.json_name)
                for field in record.fields
            )
        return known
