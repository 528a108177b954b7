"""Requests of an OpenAPI operation: path, query, header and body together are one Record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET

from gateway.codecs.form import parse_form
from gateway.codecs.format import Decode, Encode, Format, Unknown
from gateway.codecs.json.format import read
from gateway.schema import text
from gateway.schema.idl.json.openapi import HttpBinding, Parameter
from gateway.schema.source import build
from gateway.schema.types import BOOL, List, Operation, Record, Scalar, Type
from gateway.schema.values import struct_of
from gateway.status import invalid


class HttpCall(msgspec.Struct, frozen=True):
    """An HTTP request in parts.

    params: what the path captures, decoded. query: percent-encoded. headers: by name, case-insensitive where they
    were received. body: in the wire form of its format; b"" where there is none.
    """

    params: Mapping[str, str]
    query: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class OperationFormat:
    """The wire form is an HttpCall; the type is the operation's request. body: how the body is written."""

    encoded: ClassVar[type] = HttpCall
    operation: Operation
    body: Format

    @property
    def name(self) -> str:
        return f"openapi {self.body.name}"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        binding: HttpBinding = self.operation.wire
        reject = unknown is Unknown.REJECT
        names = frozenset(p.field.name for p in binding.parameters if p.location == "query")
        readers = [(parameter.field.attr, _reader(parameter)) for parameter in binding.parameters]
        decode_body = None if binding.body is None else self._body_decoder(binding.body, unknown)
        assemble = None if type_ is binding.body else _assembler(type_, binding)

        def decode(call: HttpCall) -> Any:
            query = parse_form(call.query.encode()) if call.query else {}
            if reject and query and (strange := query.keys() - names):
                raise invalid("unknown parameter", f"?{min(strange)}")
            found = {attr: value for attr, get in readers if (value := get(call, query)) is not UNSET}
            if decode_body is None:
                body = None
            elif call.body != b"" or binding.body_required:
                body = decode_body(call.body)
            else:
                body = UNSET
            return body if assemble is None else assemble(body, found)

        return decode

    def _body_decoder(self, body: Type, unknown: Unknown) -> Decode:
        decode = self.body.decoder(body, unknown)
        missing = f"the body is missing, {self.body.name.upper()} is expected"

        def named(content: Any) -> Any:
            if content == b"":
                raise invalid(missing, "$")
            return decode(content)

        return named

    def encoder(self, type_: Type) -> Encode:
        binding: HttpBinding = self.operation.wire
        writers = [(p.field.attr, p, _writer(p)) for p in binding.parameters]
        body_of = _body_of(type_, binding)
        encode_body = None if binding.body is None else self.body.encoder(binding.body)

        def encode(value: Any) -> HttpCall:
            params: dict[str, str] = {}
            headers: dict[str, str] = {}
            query: list[tuple[str, str]] = []
            for attr, parameter, write in writers:
                given = getattr(value, attr)
                if given is UNSET or given is None:
                    continue
                name = parameter.field.name
                for item in write(given):
                    match parameter.location:
                        case "query":
                            query.append((name, item))
                        case "path":
                            params[name] = item
                        case "header":
                            headers[name] = item
                if parameter.location == "path" and not params.get(name):
                    raise invalid("the path needs a value for it", f"$.{name}")
            body = body_of(value)
            content = b"" if encode_body is None or body is UNSET else encode_body(body)
            return HttpCall(params, urlencode(query), headers, content)

        return encode


_WHERE: Final = {"path": "{%s}", "query": "?%s", "header": "header %s"}


def _reader(parameter: Parameter) -> Callable[[HttpCall, Mapping[str, str | list[str]]], Any]:
    """Reads the parameter's plain value; UNSET where it is absent. Raises Failure(INVALID_ARGUMENT)."""
    field, location, separator = parameter.field, parameter.location, parameter.separator
    name = field.name
    where = _WHERE[location] % name
    item = field.type.item if isinstance(field.type, List) else field.type
    boolean = item == BOOL
    listed = isinstance(field.type, List)

    def get(call: HttpCall, query: Mapping[str, str | list[str]]) -> Any:
        given: str | list[str] | None
        if location == "query":
            given = query.get(name)
        else:
            given = (call.params if location == "path" else call.headers).get(name)
        if given is None:
            if field.required:
                raise invalid("missing required parameter", where)
            return UNSET
        if isinstance(given, list) and (not listed or separator):
            raise invalid("given more than once", where)
        if not listed:
            return read(field.type, _typed(given) if boolean else given, path=where)
        items = given if isinstance(given, list) else given.split(separator) if separator else [given]
        return read(field.type, [_typed(text) for text in items] if boolean else items, path=where)

    return get


def _typed(given: Any) -> Any:
    return {"true": True, "false": False}.get(given, given)


def _writer(parameter: Parameter) -> Callable[[Any], list[str]]:
    """Writes the parameter's value as the texts that its name is repeated with."""
    field, separator = parameter.field, parameter.separator
    if not isinstance(field.type, List):
        one = _text(field.type)
        return lambda value: [one(value)]
    item = _text(field.type.item)
    if not separator:
        return lambda values: [item(value) for value in values]

    def joined(values: Any) -> list[str]:
        texts = [item(value) for value in values]
        for written in texts:
            if separator in written:
                raise invalid(f"{written!r} has the {separator!r} that separates the items", f"$.{field.name}")
        return [separator.join(texts)]

    return joined


def _text(type_: Type) -> Callable[[Any], str]:
    return text.FORMAT[type_.kind] if isinstance(type_, Scalar) else str


def _assembler(type_: Type, binding: HttpBinding) -> Callable[[Any, dict[str, Any]], Any]:
    """Makes the request of the body's plain value (UNSET: it is absent; None: there is none) and the parameters."""
    if not isinstance(type_, Record):
        raise TypeError(type_)
    struct = struct_of(type_)
    body = binding.body
    if not isinstance(body, Record):

        def whole(value: Any, found: dict[str, Any]) -> Any:
            return struct(**found) if value is None or value is UNSET else struct(body=value, **found)

        return whole
    members = ", ".join(f"{field.attr}=b.{field.attr}" for field in body.fields)
    source = (
        f"def assemble(b, found):\n    return S(**found) if b is U else S({members}{', ' if members else ''}**found)\n"
    )
    assemble: Callable[[Any, dict[str, Any]], Any] = build(f"request {type_}", source, {"S": struct, "U": UNSET})[
        "assemble"
    ]
    return assemble


def _body_of(type_: Type, binding: HttpBinding) -> Callable[[Any], Any]:
    """The body's plain value out of the request; UNSET where there is none to send."""
    body = binding.body
    if body is None:
        return lambda value: UNSET
    if type_ is body:
        return lambda value: value
    if not isinstance(body, Record):
        return lambda value: value.body
    members = ", ".join(f"{field.attr}=s.{field.attr}" for field in body.fields)
    source = f"def body(s):\n    return B({members})\n"
    make: Callable[[Any], Any] = build(f"body of {type_}", source, {"B": struct_of(body)})["body"]
    if binding.body_required:
        return make
    absent = [field.attr for field in body.fields]
    required = [field for field in body.fields if field.required]

    def optional(value: Any) -> Any:
        if all(getattr(value, attr) is UNSET for attr in absent):
            return UNSET
        for field in required:
            if getattr(value, field.attr) is UNSET:
                raise invalid("missing required field", f"$.{field.name}")
        return make(value)

    return optional
