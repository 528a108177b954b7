"""Steps: the translation of one message, linked from decoder, binding, mapping and encoder."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from gateway.binding import Bind, Take
from gateway.bridge import GatherStep, Step
from gateway.codecs.format import Decode, Encode
from gateway.mapping import Apply
from gateway.message import NO_PARAMS, Header, Message
from gateway.status import Code, Failure, invalid


def request_step(
    decode: Decode,
    bind: Bind | None,
    sources: Apply | None,
    apply: Apply | None,
    take: Take | None,
    encode: Encode | None,
    forward: frozenset[str] | None,
    *,
    null_passes: bool,
    null_is_empty: bool,
) -> Step:
    """One request, from the inbound's wire form to the outbound's.

    encode: None passes the caller's own bytes on, once they are decoded and so known to be right.
    forward: the header names that may cross, or None where the inbound collected no others.
    null_passes: a message without body stays one. null_is_empty: else it is decoded as an empty body, or else refused.
    """

    def step(message: Message) -> Message:
        body = message.body
        headers = message.headers
        params = message.params
        if body is None:
            if null_passes:
                return _finish(None, None, message, sources, take, _crossing(headers, forward))
            if not null_is_empty:
                raise invalid("the message has no body")
            body = b""
        value = decode(body)
        if bind is not None:
            bind(value, params)
        found = None if sources is None else sources(value, params, headers, message.key)
        if apply is not None:
            value = apply(value, params, headers, message.key)
        taken: Mapping[str, Any] = NO_PARAMS if take is None else take(value, params)
        if encode is not None:
            body = encode(value)
        if headers and forward is not None:
            headers = _crossing(headers, forward)
        if found is None:
            return Message(body, headers, taken, message.key)
        return _addressed(body, headers, taken, found, message.key)

    return step


def _finish(
    body: Any, value: Any, message: Message, sources: Apply | None, take: Take | None, headers: Sequence[Header]
) -> Message:
    found = None if sources is None else sources(value, message.params, message.headers, message.key)
    taken = {} if take is None else take(value, message.params)
    return _addressed(body, headers, taken, found or {}, message.key)


def _addressed(
    body: Any, headers: Sequence[Header], taken: Mapping[str, Any], found: Mapping[str, Any], key: bytes | None
) -> Message:
    params = dict(taken)
    for name, text in found.items():
        if text is UNSET or text is None:
            continue
        if name == "key":
            key = text.encode()
        else:
            params[name] = text
    return Message(body, headers, params, key)


def _crossing(headers: Sequence[Header], forward: frozenset[str] | None) -> Sequence[Header]:
    return headers if forward is None else [header for header in headers if header[0] in forward]


def opening_step(opening: Apply | None, forward: frozenset[str] | None) -> Step:
    """The head of a call with many requests: what is known before the first of them. forward: as in request_step."""

    def step(message: Message) -> Message:
        headers = message.headers
        found = {} if opening is None else opening(None, message.params, headers, message.key)
        return _addressed(None, _crossing(headers, forward), message.params, found, message.key)

    return step


def gather_request_step(
    decode: Decode, sources: Apply | None, apply: Apply | None, take: Take | None, encode: Encode
) -> GatherStep:
    """Many requests to one."""

    def step(messages: Sequence[Message], head: Message) -> Message:
        value: Any = [decode(message.body) for message in messages]
        found = {} if sources is None else sources(value, head.params, head.headers, head.key)
        if apply is not None:
            value = apply(value, head.params, head.headers, head.key)
        taken: Mapping[str, Any] = NO_PARAMS if take is None else take(value, head.params)
        return _addressed(encode(value), head.headers, taken, found, head.key)

    return step


def reply_step(decode: Decode, apply: Apply | None, encode: Encode | None, forward: frozenset[str]) -> Step:
    """One reply, from the outbound's wire form to the inbound's. encode: None passes the bytes on."""

    def step(message: Message) -> Message:
        headers = message.headers
        body = message.body
        try:
            value = decode(b"" if body is None else body)
            if apply is not None:
                value = apply(value, message.params, headers, message.key)
            if encode is not None:
                body = encode(value)
        except Failure as failure:
            raise _untranslatable(failure) from failure
        if headers:
            headers = _crossing(headers, forward)
        return Message(body, headers, message.params, message.key)

    return step


def gather_reply_step(decode: Decode, apply: Apply | None, encode: Encode) -> GatherStep:
    """Many replies to one."""

    def step(messages: Sequence[Message], head: Message) -> Message:
        try:
            value: Any = [decode(message.body) for message in messages]
            if apply is not None:
                value = apply(value, head.params, (), None)
            return Message(encode(value))
        except Failure as failure:
            raise _untranslatable(failure) from failure

    return step


def accepted_step(make: Callable[[Mapping[str, Any]], Any], encode: Encode) -> Step:
    """The reply to a caller whose message was delivered one way. make: the receipt's params -> the reply's value."""

    def step(message: Message) -> Message:
        return Message(encode(make(message.params)), (), message.params)

    return step


def discarded(message: Message) -> Message:
    """The reply where the caller takes none."""
    return Message(None, (), message.params)


def _untranslatable(failure: Failure) -> Failure:
    # The upstream's fault, not the caller's; the request was served.
    return Failure(Code.INTERNAL, f"the upstream's reply can't be translated: {failure.message}", path=failure.path)
