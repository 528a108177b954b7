"""Declared charset: what an endpoint reads its text in, and messages that say another one.

Read in the wrong charset a text is wrong, and often without an error; so such a message is refused.
"""

import codecs
from collections.abc import Sequence
from typing import Final

from gateway.message import Context, Header, Message
from gateway.net.http.media_type import parse_media_type
from gateway.port import Service, UnaryService
from gateway.status import Code, Failure, invalid

CONTENT_TYPE: Final = "content-type"
_ASCII: Final = bytes(range(128))


def contradiction(headers: Sequence[Header], charset: str) -> str:
    """What a message's content type says against the charset; empty where it says nothing against it."""
    for name, value in headers:
        if name == CONTENT_TYPE:
            text = value if isinstance(value, str) else value.decode("latin-1")
            said = parse_media_type(text)[1].get("charset", charset)
            if not _fits(said, charset):
                return f"the message is in charset {said[:40]!r}, and {charset} is declared here"
    return ""


def _fits(said: str, charset: str) -> bool:
    try:
        found, declared = codecs.lookup(said).name, codecs.lookup(charset).name
    except (LookupError, ValueError):
        return False
    return found == declared or (found == "ascii" and _ASCII.decode(declared, "replace") == _ASCII.decode())


class RequestsInCharset(UnaryService):
    """The Service of a route whose requests are text; it is to be given their content type.

    wanted: the headers that the route wants.
    """

    def __init__(self, service: Service, charset: str, wanted: frozenset[str]) -> None:
        self._service = service
        self._charset = charset
        self._wanted = wanted

    async def call(self, request: Message, context: Context) -> Message:
        why = contradiction(request.headers, self._charset)
        if why:
            raise invalid(why)
        return await self._service.call(_without(request, self._wanted), context)


class RepliesInCharset(UnaryService):
    """A Service that asks, and whose replies are text; it tells their content type. wanted: as above."""

    def __init__(self, service: Service, charset: str, wanted: frozenset[str]) -> None:
        self._service = service
        self._charset = charset
        self._wanted = wanted

    async def call(self, request: Message, context: Context) -> Message:
        reply = await self._service.call(request, context)
        why = contradiction(reply.headers, self._charset)
        if why:
            raise Failure(Code.INTERNAL, f"the upstream's reply can't be read: {why}")
        return _without(reply, self._wanted)


def _without(message: Message, wanted: frozenset[str]) -> Message:
    """Without a content type that nobody wants."""
    if CONTENT_TYPE not in wanted:
        message.headers = [header for header in message.headers if header[0] != CONTENT_TYPE]
    return message
