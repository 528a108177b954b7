"""Thrift messages: what stands around the struct of a call or reply. Sans-io: bytes in, bytes out.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-rpc.md, "Message", and those of the protocols.
"""

import json
import re
import struct
from enum import IntEnum
from typing import Final

import msgspec

from gateway.codecs.thrift.compact import varint, write_varint
from gateway.codecs.thrift.format import Protocol
from gateway.codecs.thrift.source import OffenceError
from gateway.status import invalid

MAX_NAME: Final = 1024
"""Bytes of a function's name, its service's included."""
SEPARATOR: Final = ":"
"""Between service and function in a multiplexed call."""
CONTENT_TYPE: Final = "application/x-thrift"
VERSION: Final = 0x8001
COMPACT: Final = 0x82
_STRICT: Final = struct.Struct(">HBBI")  # version, unused, type, length of the name
_LENGTH: Final = struct.Struct(">I")
_OLD_TAIL: Final = struct.Struct(">bi")
_I32: Final = struct.Struct(">i")
_JSON_HEAD: Final = re.compile(
    rb'\s*\[\s*1\s*,\s*("(?:[^"\\]|\\.){0,%d}")\s*,\s*([0-9])\s*,\s*(-?[0-9]{1,10})\s*,' % MAX_NAME
)


class MessageType(IntEnum):
    CALL = 1
    REPLY = 2
    EXCEPTION = 3
    ONEWAY = 4


class Envelope(msgspec.Struct, frozen=True):
    """A message. type: mostly a MessageType. body: its struct. strict: of binary, it begins with the version."""

    name: str
    type: int
    seqid: int
    body: bytes
    strict: bool = True


def write_message(protocol: Protocol, envelope: Envelope) -> bytes:
    name, type_, seqid, body = envelope.name, envelope.type, envelope.seqid, envelope.body
    match protocol:
        case Protocol.BINARY if envelope.strict:
            called = name.encode()
            return _STRICT.pack(VERSION, 0, type_, len(called)) + called + _I32.pack(seqid) + body
        case Protocol.BINARY:
            called = name.encode()
            return _LENGTH.pack(len(called)) + called + _OLD_TAIL.pack(type_, seqid) + body
        case Protocol.COMPACT:
            called = name.encode()
            head = bytes((COMPACT, 1 | type_ << 5)) + write_varint(seqid & 0xFFFFFFFF)
            return head + write_varint(len(called)) + called + body
        case Protocol.JSON:
            return b"[1,%b,%d,%d,%b]" % (msgspec.json.encode(name), type_, seqid, body)


def read_message(protocol: Protocol, data: bytes) -> Envelope:
    """Raises Failure(INVALID_ARGUMENT) for what is no message of this protocol; its struct is not looked into."""
    try:
        match protocol:
            case Protocol.BINARY:
                return _read_binary(data)
            case Protocol.COMPACT:
                return _read_compact(data)
            case Protocol.JSON:
                return _read_json(data)
    except (IndexError, ValueError, struct.error, OffenceError):
        raise invalid(f"the bytes are no message of Thrift's {protocol.value} protocol") from None


def _read_binary(data: bytes) -> Envelope:
    if data[0] & 0x80:
        version, _, type_, length = _STRICT.unpack_from(data)
        if version != VERSION:
            raise ValueError(version)
        name, at = _name(data, _STRICT.size, length)
        return Envelope(name, type_, _I32.unpack_from(data, at)[0], data[at + 4 :])
    name, at = _name(data, _LENGTH.size, _LENGTH.unpack_from(data)[0])
    type_, seqid = _OLD_TAIL.unpack_from(data, at)
    return Envelope(name, type_, seqid, data[at + _OLD_TAIL.size :], strict=False)


def _read_compact(data: bytes) -> Envelope:
    if data[0] != COMPACT or data[1] & 0x1F != 1:
        raise ValueError(data[:2])
    seqid, at = varint(data, 2, 32)
    length, at = varint(data, at, 32)
    name, at = _name(data, at, length)
    return Envelope(name, data[1] >> 5, seqid - ((seqid & 0x80000000) << 1), data[at:])


def _name(data: bytes, at: int, length: int) -> tuple[str, int]:
    if length > min(MAX_NAME, len(data) - at):
        raise ValueError(length)
    return data[at : at + length].decode(), at + length


def _read_json(data: bytes) -> Envelope:
    head = _JSON_HEAD.match(data)
    rest = data.rstrip()
    if head is None or not rest.endswith(b"]"):
        raise ValueError(data[:1])
    seqid = int(head[3])
    if not -(2**31) <= seqid < 2**31:
        raise ValueError(seqid)
    return Envelope(json.loads(head[1]), int(head[2]), seqid, rest[head.end() : -1])


def framed(message: bytes) -> bytes:
    """With its length before it, as TFramedTransport has it."""
    return _LENGTH.pack(len(message)) + message
