"""Failures as google.rpc.Status, both ways.

https://google.aip.dev/193, google/rpc/status.proto, google/rpc/error_details.proto.
"""

import base64
import json
import logging
import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from gateway.codecs.format import Unknown
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.schema.idl.proto.reader import ProtoSchema
from gateway.status import Code, Detail, Failure

log = logging.getLogger("gateway.codecs")

_STANDARD: Final[dict[str, Any]] = {
    f"google.rpc.{name}": getattr(error_details_pb2, name)
    for name in error_details_pb2.DESCRIPTOR.message_types_by_name
}


class GoogleStatus:
    """Of one contract, whose messages are details like google.rpc's own.

    max_message, max_details: most bytes of the status' message, and of all its details together.
    """

    def __init__(self, schema: ProtoSchema, format_: ProtobufFormat, *, max_message: int, max_details: int) -> None:
        self._schema = schema
        self._format = format_
        self._max_message = max_message
        self._max_details = max_details

    def message(self, failure: Failure) -> str:
        """What is told of any failure: Unicode of a bounded length."""
        return self._clean(failure.text)

    def encode(self, failure: Failure) -> bytes | None:
        """None for a failure that its code and message tell. A detail over the limit is left out, with a warning."""
        if not (failure.path or failure.details or failure.retry_after is not None):
            return None
        status = status_pb2.Status(code=failure.code.value, message=self.message(failure))
        size = 0
        for packed in self._pack(failure):
            if size + packed.ByteSize() > self._max_details:
                log.warning("a failure detail of type %s is too large to be told", packed.type_url)
            else:
                size += packed.ByteSize()
                status.details.append(packed)
        data: bytes = status.SerializeToString()
        return data

    def _pack(self, failure: Failure) -> Iterator[AnyMessage]:
        if failure.path and not any(detail.name == "google.rpc.BadRequest" for detail in failure.details):
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self._clean(failure.path.removeprefix("$").removeprefix(".")),
                description=self._clean(failure.message),
            )
            yield _any(error_details_pb2.BadRequest(field_violations=[violation]))
        if failure.retry_after is not None and math.isfinite(failure.retry_after):
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(round(failure.retry_after * 1e9))
            yield _any(retry)
        for detail in failure.details:
            yield self._typed(detail) or self._loose(detail)

    def _typed(self, detail: Detail) -> AnyMessage | None:
        """None where the detail is no value of a known message after all."""
        name, value = detail.name, detail.value
        record = self._schema.failure(name)
        try:
            if record is not None and isinstance(value, msgspec.Struct):
                data = self._format.encoder(record)(value)
                return AnyMessage(type_url=f"type.googleapis.com/{record.name}", value=data)
            standard = self._schema.message_class(record) if record is not None else _STANDARD.get(name)
            if standard is not None and isinstance(value, dict):
                return _any(json_format.ParseDict(value, standard(), descriptor_pool=self._schema.pool))
        except (Failure, json_format.Error, TypeError, ValueError):
            pass
        return None

    def _loose(self, detail: Detail) -> AnyMessage:
        values = detail.value if isinstance(detail.value, dict) else {"value": detail.value}
        metadata = {self._clean(str(name)): _text(value) for name, value in values.items()}
        return _any(error_details_pb2.ErrorInfo(reason=self._clean(detail.name), metadata=metadata))

    def decode(self, data: bytes, code: Code, message: str) -> Failure:
        """The failure of this code and message with what the bytes tell beside; nothing where they are no Status."""
        try:
            status = status_pb2.Status.FromString(data)
        except DecodeError:
            return Failure(code, message)
        path, retry_after = "", None
        details: list[Detail] = []
        for packed in status.details:
            name = packed.type_url.rpartition("/")[2]
            if name == "google.rpc.BadRequest" and not path:
                bad = _parsed(error_details_pb2.BadRequest, packed)
                if bad.field_violations and bad.field_violations[0].field:
                    path = _path(bad.field_violations[0].field)
                    if len(bad.field_violations) == 1:
                        continue
            elif name == "google.rpc.RetryInfo" and retry_after is None:
                seconds = _parsed(error_details_pb2.RetryInfo, packed).retry_delay.ToNanoseconds() / 1e9
                if seconds > 0:
                    retry_after = seconds
                    continue
            details.append(self._detail(name, packed))
        if path:
            message = message.removesuffix(f" at {path}")  # as message() tells it
        return Failure(code, message, path=path, details=details, retry_after=retry_after)

    def _detail(self, name: str, packed: AnyMessage) -> Detail:
        try:
            if name in self._schema.schema.types:
                decode = self._format.decoder(self._schema.record(name), Unknown.DROP)
                return Detail(name, decode(packed.value))
            standard = _STANDARD.get(name)
            if standard is not None:
                return Detail(name, json_format.MessageToDict(standard.FromString(packed.value)))
        except (Failure, DecodeError, KeyError, ValueError, json_format.Error):
            pass  # the bytes are not what their type says: pass them on as they are
        value = base64.b64encode(packed.value).decode()
        return Detail("google.protobuf.Any", {"@type": packed.type_url, "value": value})

    def _clean(self, text: str) -> str:
        return text.encode(errors="replace")[: self._max_message].decode(errors="ignore")


def _any(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _parsed(message: Any, packed: AnyMessage) -> Any:
    """An empty one where the bytes are none."""
    try:
        return message.FromString(packed.value)
    except DecodeError:
        return message()


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode(errors="replace").decode()


def _path(field: str) -> str:
    return f"${field}" if field.startswith("[") else f"$.{field.removeprefix('$').removeprefix('.')}"
