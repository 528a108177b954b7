"""Where a message ends that has no frame around it. Sans-io, and each byte is looked at once.

The scanners are generators over a growing buffer: they yield for more bytes and return the message's size.
"""

import re
import struct
from collections.abc import Callable, Generator, Mapping
from typing import Final

from gateway.codecs.thrift import binary
from gateway.codecs.thrift.format import Protocol
from gateway.codecs.thrift.message import COMPACT, MAX_NAME, VERSION
from gateway.codecs.thrift.source import DEPTH
from gateway.net.tcp.framing import BufferReader, FramingError

Scan = Generator[None, None, int]
_I32: Final = struct.Struct(">i")
_U32: Final = struct.Struct(">I")
_COMPACT_FIXED: Final[Mapping[int, int]] = {1: 1, 2: 1, 3: 1, 7: 8, 13: 16}
_STRUCTURAL: Final = re.compile(rb'[\[\]{}"]')
_STRING_END: Final = re.compile(rb'["\\]')


class BufferedReader(BufferReader):
    """The messages of one unframed connection, as gateway.net.tcp.framing.FrameReader has it. limit: bytes of one."""

    def __init__(self, protocol: Protocol, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._start = _SCANNERS[protocol]
        self._spaced = protocol is Protocol.JSON  # white space may stand between messages
        self._scan: Scan | None = None

    def next(self) -> bytes | None:
        """Raises FramingError for what is no message, or too large a one."""
        if not self._buffer:
            return None
        if self._scan is None:
            if self._spaced:
                del self._buffer[: len(self._buffer) - len(self._buffer.lstrip())]
                if not self._buffer:
                    return None
            self._scan = self._start(self._buffer, self._limit)
        try:
            next(self._scan)
        except StopIteration as done:
            size: int = done.value
        else:
            return None
        self._scan = None
        with memoryview(self._buffer) as view:
            message = bytes(view[:size])
        del self._buffer[:size]
        return message

    def end(self) -> bytes | None:
        if self._buffer:
            raise FramingError(f"the connection ended inside a message, after {len(self._buffer)} bytes of it")
        return None


def _large(limit: int) -> FramingError:
    return FramingError(f"the message is larger than the limit of {limit} bytes")


def _nested() -> FramingError:
    return FramingError(f"the message is nested deeper than {DEPTH} levels")


def _scan_binary(buffer: bytearray, limit: int) -> Scan:
    while len(buffer) < 4:
        yield
    word: int = _I32.unpack_from(buffer)[0]
    if word < 0:
        if (word >> 16) & 0xFFFF != VERSION:
            raise FramingError("the bytes are no message of Thrift's binary protocol")
        while len(buffer) < 8:
            yield
        length: int = _U32.unpack_from(buffer, 4)[0]
        at = 12
    else:
        length, at = word, 9
    if length > MAX_NAME:
        raise FramingError(f"the message's name is longer than {MAX_NAME} bytes")
    at += length
    stack: list[tuple[int, ...]] = [()]  # the item types of each container, none for a struct
    left: list[int] = [1]  # items to come, the fields of a struct being unknown
    while stack:
        if at > limit:
            raise _large(limit)
        types = stack[-1]
        if not types:
            while len(buffer) <= at:
                yield
            number = buffer[at]
            at += 3 if number else 1
            if not number:
                stack.pop()
                left.pop()
                continue
        elif left[-1] == 0:
            stack.pop()
            left.pop()
            continue
        else:
            number = types[-left[-1] % len(types)]
            left[-1] -= 1
        if number in binary.FIXED:
            at += binary.FIXED[number]
        elif number == 11:
            while len(buffer) < at + 4:
                yield
            at += 4 + _U32.unpack_from(buffer, at)[0]
        elif number in (12, 13, 14, 15):
            if len(stack) >= 2 * DEPTH:
                raise _nested()
            if number == 12:
                stack.append(())
                left.append(1)
                continue
            head = 2 if number == 13 else 1
            while len(buffer) < at + head + 4:
                yield
            items = tuple(buffer[at : at + head])
            (count,) = _U32.unpack_from(buffer, at + head)
            at += head + 4
            if count:
                at += _push(stack, left, items, count, binary.FIXED, binary.LEAST, limit - at)
        else:
            raise FramingError(f"the message has a value of the unknown type {number}")
    while len(buffer) < at:
        yield
    return at


def _push(
    stack: list[tuple[int, ...]],
    left: list[int],
    items: tuple[int, ...],
    count: int,
    fixed: Mapping[int, int],
    least: Mapping[int, int],
    room: int,
) -> int:
    """The bytes of a container whose items have fixed sizes; any other is put on the stack."""
    for number in items:
        if number not in least:
            raise FramingError(f"the message has items of the unknown type {number}")
    if count * sum(least[number] for number in items) > room:
        raise FramingError(f"the message has a container of {count} items, more than the limit of its size lets in")
    if all(number in fixed for number in items):
        return count * sum(fixed[number] for number in items)
    stack.append(items)
    left.append(count * len(items))
    return 0


def _scan_compact(buffer: bytearray, limit: int) -> Scan:
    while len(buffer) < 4:
        yield
    if buffer[0] != COMPACT or buffer[1] & 0x1F != 1:
        raise FramingError("the bytes are no message of Thrift's compact protocol")
    _, at = yield from _varint(buffer, 2)
    length, at = yield from _varint(buffer, at)
    if length > MAX_NAME:
        raise FramingError(f"the message's name is longer than {MAX_NAME} bytes")
    at += length
    stack: list[tuple[int, ...]] = [()]
    left: list[int] = [1]
    while stack:
        if at > limit:
            raise _large(limit)
        types = stack[-1]
        if not types:
            while len(buffer) <= at:
                yield
            head = buffer[at]
            at += 1
            if not head:
                stack.pop()
                left.pop()
                continue
            if head < 16:
                _, at = yield from _varint(buffer, at)
            number = head & 15
            if number in (1, 2):
                continue  # a field's type is its value
        elif left[-1] == 0:
            stack.pop()
            left.pop()
            continue
        else:
            number = types[-left[-1] % len(types)]
            left[-1] -= 1
        if number in _COMPACT_FIXED:
            at += _COMPACT_FIXED[number]
        elif number in (4, 5, 6):
            _, at = yield from _varint(buffer, at)
        elif number == 8:
            length, at = yield from _varint(buffer, at)
            at += length
        elif number in (9, 10, 11, 12):
            if len(stack) >= 2 * DEPTH:
                raise _nested()
            if number == 12:
                stack.append(())
                left.append(1)
                continue
            items, count, at = yield from _container(buffer, at, number)
            if count:
                at += _push(stack, left, items, count, _COMPACT_FIXED, _COMPACT_LEAST, limit - at)
        else:
            raise FramingError(f"the message has a value of the unknown type {number}")
    while len(buffer) < at:
        yield
    return at


_COMPACT_LEAST: Final[Mapping[int, int]] = {**dict.fromkeys((4, 5, 6, 8, 9, 10, 11, 12), 1), **_COMPACT_FIXED}


def _container(buffer: bytearray, at: int, number: int) -> Generator[None, None, tuple[tuple[int, ...], int, int]]:
    """(types of the items, how many, where they are)."""
    while len(buffer) <= at:
        yield
    if number == 11:
        count, at = yield from _varint(buffer, at)
        if not count:
            return (), 0, at
        while len(buffer) <= at:
            yield
        return (buffer[at] >> 4, buffer[at] & 15), count, at + 1
    head = buffer[at]
    count, at = head >> 4, at + 1
    if count == 15:
        count, at = yield from _varint(buffer, at)
    return (head & 15,), count, at


def _varint(buffer: bytearray, at: int) -> Generator[None, None, tuple[int, int]]:
    value = 0
    for shift in range(0, 70, 7):
        while len(buffer) <= at:
            yield
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise FramingError("the message has an integer of more than 64 bits")


def _scan_json(buffer: bytearray, limit: int) -> Scan:
    at = depth = 0
    pattern = _STRUCTURAL
    while True:
        found = pattern.search(buffer, at)
        if found is None:
            at = max(at, len(buffer))
            if at > limit:
                raise _large(limit)
            if not depth and pattern is _STRUCTURAL:
                raise FramingError("the bytes are no message of Thrift's JSON protocol")
            yield
            continue
        at = found.end()
        match found[0]:
            case b'"':
                pattern = _STRING_END if pattern is _STRUCTURAL else _STRUCTURAL
            case b"\\":
                at += 1
            case b"[" | b"{":
                depth += 1
                if depth > 4 * DEPTH:
                    raise _nested()
            case _:
                depth -= 1
        if at > limit:
            raise _large(limit)
        if depth <= 0 and pattern is _STRUCTURAL:
            return at


_SCANNERS: Final[Mapping[Protocol, Callable[[bytearray, int], Scan]]] = {
    Protocol.BINARY: _scan_binary,
    Protocol.COMPACT: _scan_compact,
    Protocol.JSON: _scan_json,
}
