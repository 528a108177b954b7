"""The formats of bodies that a route's callers may send and want, chosen by Content-Type and Accept (RFC 9110)."""

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from gateway.codecs.form import FormFormat
from gateway.codecs.format import Format
from gateway.codecs.json.format import JsonFormat
from gateway.codecs.msgpack import MsgpackFormat
from gateway.codecs.multipart import MultipartBody, MultipartFormat
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.codecs.xml.plain import XmlFormat
from gateway.net.http.failure import NotAcceptable, UnsupportedMediaType
from gateway.net.http.media_type import JSON, accepted, in_utf_8, parse_media_type
from gateway.schema.idl.xml.document import XmlError, parse_xml
from gateway.status import invalid

S = TypeVar("S")

MEDIA_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "json": (JSON,),
    "form": ("application/x-www-form-urlencoded",),
    "multipart": ("multipart/form-data",),
    "xml": ("application/xml", "text/xml"),
    "msgpack": ("application/msgpack", "application/vnd.msgpack", "application/x-msgpack"),
    "protobuf": ("application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf"),
}
"""By the name of a format; the first one is written. A type that ends in +json or +xml is JSON or XML too."""

POSTED_BY_PAGES: Final = (MEDIA_TYPES["form"][0], MEDIA_TYPES["multipart"][0])
"""Media types that a page may send to any server, without asking it first (https://fetch.spec.whatwg.org, 2.2.2)."""

WRITTEN: Final = ("json", "xml", "msgpack", "protobuf")
"""Formats of replies."""

FORMAT_OF: Final[Mapping[str, str]] = {one: name for name, types in MEDIA_TYPES.items() for one in types}
"""The name of a format by media type."""

_SUFFIXES: Final = {"+json": JSON, "+xml": "application/xml"}

ANYTHING: Final = ("*/*", JSON, "")
"""Values of Accept that JSON answers, whatever else there is."""


def format_of(media_type: str) -> str:
    """The name of the format that a body of this media type has; empty where none is known."""
    plain = _SUFFIXES.get(media_type[media_type.rfind("+") :], media_type)
    return FORMAT_OF.get(media_type) or FORMAT_OF.get(plain, "")


def format_named(name: str, json: JsonFormat) -> Format:
    """json: how JSON is written, and what follows its forms."""
    match name:
        case "json":
            return json
        case "form":
            return FormFormat()
        case "multipart":
            return MultipartFormat()
        case "xml":
            return XmlFormat()
        case "msgpack":
            return MsgpackFormat(json)
        case _:
            return ProtobufFormat(None)


def received(name: str, body: bytes, parameters: Mapping[str, str]) -> Any:
    """A body as the decoder of this format takes it. parameters: of its content type.

    Raises Failure(INVALID_ARGUMENT).
    """
    if name == "multipart":
        boundary = parameters.get("boundary")
        if not boundary:
            raise invalid("the content type of multipart/form-data needs a boundary")
        return MultipartBody(boundary, body)
    if name == "xml":
        try:
            return parse_xml(body, parameters.get("charset", ""))
        except XmlError as error:
            raise invalid(str(error)) from None
    return body


class Reply(msgspec.Struct, Generic[S]):
    """headers: of a reply in this format. services: by the name of the request's format."""

    headers: tuple[tuple[str, str], ...]
    services: Mapping[str, S]


class Negotiation(Generic[S]):
    """A route's Services by the formats of bodies.

    requests, replies: names of formats as the route has them -> as MEDIA_TYPES has them; the first reply is default.
    services: by the names of the request's and the reply's format.
    """

    def __init__(
        self,
        requests: Mapping[str, str],
        replies: Mapping[str, str],
        services: Mapping[tuple[str, str], S],
    ) -> None:
        asked = {request for request, _ in services}
        told = {reply for _, reply in services}
        self._taken = {body: name for name, body in requests.items() if name in asked}
        vary = (("Vary", "Accept"),) if len(told) > 1 else ()
        self._given = {
            MEDIA_TYPES[body][0]: Reply(
                (("Content-Type", MEDIA_TYPES[body][0]), *vary),
                {request: services[request, name] for request in asked},
            )
            for name, body in replies.items()
            if name in told
        }
        self.default: Reply[S] = next(iter(self._given.values()))

    def reply(self, accept: str) -> Reply[S]:
        """Raises NotAcceptable."""
        offered = tuple(self._given)
        media_type = accepted(accept, offered)
        if media_type is None:
            raise NotAcceptable(accept, offered)
        return self._given[media_type]

    def request(self, content_type: str, body: bytes) -> tuple[str, Any]:
        """(name of the request's format, what its decoder takes). Raises UnsupportedMediaType and as received()."""
        media_type, parameters = parse_media_type(content_type)
        name = format_of(media_type)
        if name not in self._taken or not (name == "xml" or in_utf_8(parameters)):
            raise UnsupportedMediaType(content_type, [one for taken in self._taken for one in MEDIA_TYPES[taken]])
        return self._taken[name], received(name, body, parameters)
