"""Records of any contract as XML: an element per field, named as in JSON; OpenAPI's `xml` object says it otherwise.

Lists are repeated elements, maps have `entry` elements of `key` and `value`, null is xsi:nil.
"""

import re
from dataclasses import replace
from typing import Final

from gateway.schema.idl.json.hint import JsonHint, XmlObject
from gateway.schema.idl.xml.document import clark
from gateway.schema.idl.xml.hint import ANY_SIMPLE, BUILTIN, Place, Simple, XmlHint, XmlRecord
from gateway.schema.types import Enumeration, Field, Kind, List, Map, Record, Scalar, Type, with_records

_BUILTIN: Final = {
    Kind.BOOL: "boolean",
    Kind.INT32: "int",
    Kind.INT64: "long",
    Kind.UINT32: "unsignedInt",
    Kind.UINT64: "unsignedLong",
    Kind.INTEGER: "integer",
    Kind.FLOAT32: "float",
    Kind.FLOAT64: "double",
    Kind.DECIMAL: "decimal",
    Kind.STRING: "string",
    Kind.BYTES: "base64Binary",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "dateTime",
    Kind.DURATION: "duration",
}
_NAME: Final = re.compile(r"[^\W\d][\w.\-]*")


class NoXmlError(ValueError):
    """A type that XML elements have no form for."""


def xml_record(record: Record) -> Record:
    """The record as a message of XML, with the same plain values. Raises NoXmlError."""
    return _Deriver().record(record)


class _Deriver:
    def __init__(self) -> None:
        self._known: dict[int, Record] = {}

    def record(self, record: Record) -> Record:
        known = self._known.get(id(record))
        if known is not None:
            return known
        if isinstance(record.wire, XmlRecord):
            derived = record
            if not record.wire.tag:
                derived = Record(record.name, record.fields, choices=record.choices, wire=_message(record))
                derived.structs = record.structs
            self._known[id(record)] = derived
            return derived
        derived = self._known[id(record)] = Record(record.name, choices=record.choices, wire=_message(record))
        derived.structs = record.structs  # so that the plain values are of the same class
        derived.fields = tuple(self._field(record, field) for field in record.fields)
        return derived

    def _field(self, record: Record, field: Field) -> Field:
        told = field.wire.xml if isinstance(field.wire, JsonHint) else None
        xml = told or XmlObject()
        where = f"{record}.{field.name}"
        item = field.type.item if isinstance(field.type, List) else field.type
        name = _name(xml.name or field.json, where)
        entry = self._entry(item, where) if isinstance(item, Map) else None
        repeated = isinstance(field.type, List)
        if xml.attribute and (repeated or entry or isinstance(item, Record)):
            raise NoXmlError(f"{where} is {field.type}, which is no attribute")
        inner = _name(xml.item, where) if xml.item and repeated else name
        hint = XmlHint(
            place=Place.ATTRIBUTE if xml.attribute else Place.ELEMENT,
            tag=clark(xml.namespace, inner),
            simple=None if entry else _simple(item, where),
            minimum=0 if repeated else 1,
            maximum=None if repeated else 1,
            entry=entry,
            wrapper=clark(xml.namespace, name) if repeated and xml.wrapped else "",
        )
        return replace(field, type=with_records(field.type, self.record), wire=hint)

    def _entry(self, type_: Map, where: str) -> tuple[str, Record]:
        key = Field("key", type_.key, required=True)
        value = Field("value", type_.value, required=True)
        entry = Record(f"{where}.entry")
        entry.fields = (self._field(entry, key), self._field(entry, value))
        entry.wire = XmlRecord()
        if isinstance(type_.value, List | Map):
            raise NoXmlError(f"{where} is {type_}, which has no form in XML")
        return "entry", entry


def _message(record: Record) -> XmlRecord:
    told = record.wire if isinstance(record.wire, XmlObject) else XmlObject()
    local = re.sub(r"[^\w\-]", "_", record.name.rpartition(".")[2])
    return XmlRecord(tag=clark(told.namespace, _name(told.name or local, str(record))))


def _name(name: str, where: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise NoXmlError(f"{where}: {name!r} is not a name in XML")
    return name


def _simple(type_: Type, where: str) -> Simple | None:
    match type_:
        case Scalar(Kind.ANY):
            return ANY_SIMPLE
        case Scalar(kind):
            return BUILTIN[_BUILTIN[kind]]
        case Enumeration():
            return Simple(type_, "string")
        case Record():
            return None
        case _:
            raise NoXmlError(f"{where} is a list of {type_}, which has no form in XML")
