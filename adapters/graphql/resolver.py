"""Root fields as calls of routes."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from gateway.codecs.graphql.executable import Resolve, Subscribe
from gateway.message import Context, Header, Message
from gateway.port import Binding


class Caller(msgspec.Struct):
    """Who calls, for all fields of a request.

    context: makes one for each field that calls. replied: headers that came with the replies.
    """

    headers: Mapping[str, str]
    context: Callable[[], Context]
    replied: list[Header] = []

    def message(self, arguments: Mapping[str, Any], wanted: tuple[str, ...]) -> Message:
        headers = self.headers
        return Message(arguments, [(name, value) for name in wanted if (value := headers.get(name)) is not None])


def resolver(binding: Binding) -> Resolve:
    call = binding.service.call
    value_of = _value_of(binding)
    wanted = tuple(binding.headers)

    async def resolve(arguments: Mapping[str, Any], caller: Caller) -> Any:
        reply = await call(caller.message(arguments, wanted), caller.context())
        caller.replied.extend(reply.headers)
        return value_of(reply.body)

    return resolve


def source(binding: Binding) -> Subscribe:
    stream = binding.service.stream
    value_of = _value_of(binding)
    wanted = tuple(binding.headers)

    async def events(arguments: Mapping[str, Any], caller: Caller) -> AsyncGenerator[Any, None]:
        async with aclosing(stream(caller.message(arguments, wanted), None, caller.context())) as replies:
            async for reply in replies:
                yield value_of(reply.body)

    return events


def _value_of(binding: Binding) -> Callable[[Any], Any]:
    member = binding.contract.wire.member
    return (lambda body: body[member]) if member else (lambda body: body)
