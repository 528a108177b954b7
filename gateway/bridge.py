"""Bridging: how a caller's pattern meets an upstream's. Two tables, one for requests and one for replies.

Free: discarding a reply, answering "accepted", a stream of one. With one word in the route: `each` (one call per
message), `gather` (many to one list), `first`, `last`. The rest is refused when the route is compiled.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from enum import Enum
from typing import Final

from gateway.message import Context, Message
from gateway.pattern import Count, Ends, Pattern
from gateway.port import Service
from gateway.status import Code, Failure, invalid

GATHERED: Final = 10_000
"""The most messages that gather collects."""

Step = Callable[[Message], Message]
GatherStep = Callable[[Sequence[Message], Message], Message]
"""(gathered messages, the call's head) -> one message"""


class Requests(Enum):
    """What the route's `requests:` may say."""

    EACH = "each"
    GATHER = "gather"
    FIRST = "first"
    LAST = "last"


class Replies(Enum):
    """What the route's `replies:` may say."""

    GATHER = "gather"
    FIRST = "first"
    LAST = "last"


class BridgeError(ValueError):
    """The two patterns don't meet; the message says which word would make them."""


class UnfitError(BridgeError):
    """What the route says was not meant for these patterns, but perhaps for others of its addresses."""


def check(
    inbound: Pattern,
    outbound: Pattern,
    requests: Requests | None,
    replies: Replies | None,
    ends: Ends = Ends.SURELY,
) -> None:
    """Raises BridgeError unless the patterns meet, with these words. ends: of the upstream's streams."""
    if inbound is not outbound and Count.NONE in (inbound.requests, outbound.requests):
        raise UnfitError(f"{inbound.label} and {outbound.label} don't meet")
    if inbound.requests is Count.MANY and outbound.requests is Count.ONE:
        if requests is None:
            raise BridgeError(
                f"the caller sends many requests and the upstream takes one: say requests: "
                f"{', '.join(word.value for word in Requests)}"
            )
    elif requests is not None:
        raise UnfitError(f"requests: {requests.value} has nothing to do for {inbound.label} to {outbound.label}")
    words: list[Replies] = list(Replies)
    if ends is Ends.NEVER and outbound.replies is Count.MANY:
        _check_endless(inbound, outbound, requests, replies)
        words = [Replies.FIRST]
    coming = replies_of(outbound, requests)
    if inbound.replies is Count.ONE and coming is Count.MANY:
        if replies is None:
            raise BridgeError(
                f"the upstream sends many replies and the caller takes one: say replies: "
                f"{', '.join(word.value for word in words)}"
            )
    elif replies is not None:
        raise UnfitError(f"replies: {replies.value} has nothing to do for {inbound.label} to {outbound.label}")


def _check_endless(inbound: Pattern, outbound: Pattern, requests: Requests | None, replies: Replies | None) -> None:
    """Raises BridgeError where the caller would never be answered."""
    if requests is Requests.EACH:
        raise BridgeError("the upstream's stream has no end, after which the caller's second message could be sent")
    if inbound.replies is Count.NONE:
        raise BridgeError(f"the upstream's stream has no end, at which a {inbound.label} call would be done")
    if inbound.replies is Count.ONE:
        if inbound.requests is outbound.requests is Count.MANY:
            raise BridgeError("the upstream's stream has no end, for which the one reply to many requests waits")
        if replies in (Replies.GATHER, Replies.LAST):
            raise BridgeError(f"the upstream's stream has no end, for which replies: {replies.value} waits: say first")


def replies_of(outbound: Pattern, requests: Requests | None) -> Count:
    """How many replies come back; `each` makes many calls, of which each may reply."""
    if requests is Requests.EACH and outbound.replies is Count.ONE:
        return Count.MANY
    return outbound.replies


class Bridge:
    """A Service in the caller's pattern around one in the upstream's; translates each message on its way.

    opening: the head of a call with many requests. request, reply: one message. gather_request, gather_reply: many to
    one.
    """

    def __init__(
        self,
        service: Service,
        inbound: Pattern,
        outbound: Pattern,
        requests: Requests | None,
        replies: Replies | None,
        *,
        opening: Step,
        request: Step,
        reply: Step,
        gather_request: GatherStep | None = None,
        gather_reply: GatherStep | None = None,
    ) -> None:
        self._service = service
        self._inbound = inbound
        self._outbound = outbound
        self._requests = requests
        self._replies = replies
        self._opening = opening
        self._request = request
        self._reply = reply
        self._gather_request = gather_request
        self._gather_reply = gather_reply
        # Whether all that the caller sends becomes one call with one message.
        self._alone = outbound.requests is Count.ONE and requests is not Requests.EACH

    async def call(self, request: Message, context: Context) -> Message:
        """For a caller with one request and at most one reply."""
        async with aclosing(self._answers(request, None, context)) as answers:
            return await self._reduce(answers, sent=True)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        async with aclosing(self._answers(request, more, context)) as answers:
            if self._inbound.replies is Count.MANY:
                async for answer in answers:
                    yield self._reply(answer)
            else:
                yield await self._reduce(answers, sent=self._alone)

    async def _reduce(self, answers: AsyncIterator[Message], *, sent: bool) -> Message:
        """The upstream's replies as the caller's one, or none.

        sent: nothing that the caller sent is still to go out when the first reply comes.
        """
        if self._inbound.replies is Count.NONE:
            async for _ in answers:
                pass  # the end of the stream tells whether the call succeeded
            return Message(None)
        if self._replies is Replies.GATHER and self._gather_reply is not None:
            return self._gather_reply(await _gather(answers), Message(None))
        chosen: Message | None = None
        async for answer in answers:
            if self._replies is not Replies.FIRST or chosen is None:
                chosen = answer
            if self._replies is Replies.FIRST and sent:
                break
        if chosen is None:
            if self._requests is Requests.EACH and self._outbound.replies is Count.NONE:
                return self._reply(Message(None))
            raise Failure(Code.NOT_FOUND, "the upstream's stream ended without a reply")
        return self._reply(chosen)

    async def _answers(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        """The upstream's replies, untranslated, all calls in a row."""
        if more is None:
            message = self._request(request)
            if self._outbound.requests is Count.MANY:
                params = {**self._opening(request).params, **message.params}
                head = Message(None, message.headers, params, message.key)
                calls = self._invoke(head, _one(message), context)
            else:
                calls = self._invoke(message, None, context)
            async with aclosing(calls):
                async for answer in calls:
                    yield answer
            return
        if self._outbound.requests is Count.MANY:
            requests = _Translated(more, self._request, request)
            calls = self._invoke(self._opening(request), requests, context)
            try:
                async with aclosing(calls):
                    async for answer in calls:
                        yield answer
            except Failure:
                if requests.failure is not None:
                    # To the upstream's client this is a connection that broke; the caller must hear what it did.
                    raise requests.failure from None
                raise
            return
        async for message in self._reduced(request, more):
            calls = self._invoke(message, None, context)
            async with aclosing(calls):
                async for answer in calls:
                    yield answer

    async def _reduced(self, head: Message, more: AsyncIterator[Message]) -> AsyncIterator[Message]:
        """The caller's many requests as the upstream takes them."""
        match self._requests:
            case Requests.GATHER if self._gather_request is not None:
                yield self._gather_request(await _gather(more), head)
            case Requests.FIRST:
                async for message in more:
                    yield self._request(_headed(message, head))
                    return
                raise invalid("the stream of requests is empty")
            case Requests.LAST:
                last: Message | None = None
                async for message in more:
                    last = message
                if last is None:
                    raise invalid("the stream of requests is empty")
                yield self._request(_headed(last, head))
            case _:
                async for message in more:
                    yield self._request(_headed(message, head))

    async def _invoke(
        self, message: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        if self._outbound.unary:
            yield await self._service.call(message, context)
            return
        stream = self._service.stream(message, more, context)
        async with aclosing(stream):
            async for answer in stream:
                yield answer


class _Translated:
    """The caller's requests as the upstream takes them.

    head: whose metadata they share. failure: what ended them before their end.
    """

    def __init__(self, more: AsyncIterator[Message], request: Step, head: Message) -> None:
        self._more = more
        self._request = request
        self._head = head if head.headers or head.params or head.key else None
        self.failure: Failure | None = None

    def __aiter__(self) -> "_Translated":
        return self

    async def __anext__(self) -> Message:
        try:
            message = await anext(self._more)
            return self._request(message if self._head is None else _headed(message, self._head))
        except Failure as failure:
            self.failure = failure
            raise


def _headed(message: Message, head: Message) -> Message:
    """A message of the stream with the call's metadata where it has none of its own."""
    return Message(
        message.body, message.headers or head.headers, message.params or head.params, message.key or head.key
    )


async def _one(message: Message) -> AsyncIterator[Message]:
    yield message


async def _gather(messages: AsyncIterator[Message]) -> list[Message]:
    gathered: list[Message] = []
    async for message in messages:
        if len(gathered) == GATHERED:
            raise Failure(Code.RESOURCE_EXHAUSTED, f"more than {GATHERED} messages to gather")
        gathered.append(message)
    return gathered
