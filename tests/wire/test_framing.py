"""Framing: what is framed is read back however the stream is cut, and nothing over a limit is waited for."""

import socket
from multiprocessing.connection import Connection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.net.tcp.framing import Framing, FramingError
from gateway.status import Failure

FRAMING: TypeAdapter[Any] = TypeAdapter(Framing)
LIMIT = 4096


def framing(**declared: Any) -> Any:
    return FRAMING.validate_python(declared)


def read(declared: Any, stream: bytes, cuts: list[int], limit: int = LIMIT) -> list[bytes]:
    """The frames of a stream that comes in pieces."""
    reader = declared.reader(limit)
    frames: list[bytes] = []
    at = 0
    for cut in [*sorted({min(cut, len(stream)) for cut in cuts}), len(stream)]:
        reader.feed(stream[at:cut])
        at = cut
        while (frame := reader.next()) is not None:
            frames.append(frame)
    last = reader.end()
    assert not reader.partial
    return frames if last is None else [*frames, last]


LENGTHS = st.fixed_dictionaries(
    {"kind": st.just("length"), "width": st.sampled_from((2, 4, 8)), "endian": st.sampled_from(("big", "little"))},
    optional={"includes_self": st.booleans(), "header": st.sampled_from(("", "\x7e", "\xff\x00A"))},
)
VARINTS = st.fixed_dictionaries(
    {"kind": st.just("length"), "width": st.just("varint")}, optional={"header": st.just("\x01")}
)
CUTS = st.lists(st.integers(0, 400), max_size=30)


@settings(deadline=None)
@given(LENGTHS | VARINTS, st.lists(st.binary(max_size=300), max_size=6), CUTS)
def test_length_prefix(declared: dict[str, Any], bodies: list[bytes], cuts: list[int]) -> None:
    wanted = framing(**declared)
    assert read(wanted, b"".join(wanted.frame(body, LIMIT) for body in bodies), cuts) == bodies


@settings(deadline=None)
@given(st.integers(-8, 8), st.booleans(), st.lists(st.binary(min_size=8, max_size=40), max_size=5), CUTS)
def test_adjusted_length(adjust: int, includes_self: bool, bodies: list[bytes], cuts: list[int]) -> None:
    wanted = framing(kind="length", width=1, adjust=adjust, includes_self=includes_self)
    assert read(wanted, b"".join(wanted.frame(body, LIMIT) for body in bodies), cuts) == bodies


@settings(deadline=None)
@given(
    st.sampled_from(("\n", "\r\n", "aab", "\x03", "abab")),
    st.sampled_from(("", "\x02", "<<")),
    st.booleans(),
    st.lists(st.text(alphabet="ab\n\r<\x02 ", max_size=20), max_size=6),
    CUTS,
)
def test_delimiter(delimiter: str, start: str, keep: bool, texts: list[str], cuts: list[int]) -> None:
    wanted = framing(kind="delimiter", delimiter=delimiter, start=start, keep=keep)
    stream, expected = b"", []
    for text in texts:
        body = (text + delimiter if keep else text).encode()
        try:
            stream += wanted.frame(body, LIMIT)
        except Failure:
            # Only where a reader would end the frame too early.
            assert (text + delimiter).index(delimiter) < len(text)
        else:
            expected.append(body)
    assert read(wanted, stream, cuts) == expected


@settings(deadline=None)
@given(st.lists(st.binary(min_size=7, max_size=7), max_size=5), CUTS)
def test_fixed(bodies: list[bytes], cuts: list[int]) -> None:
    wanted = framing(kind="fixed", size=7)
    assert read(wanted, b"".join(wanted.frame(body, LIMIT) for body in bodies), cuts) == bodies


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), CUTS)
def test_until_close(body: bytes, cuts: list[int]) -> None:
    wanted = framing(kind="until-close")
    assert read(wanted, wanted.frame(body, LIMIT), cuts) == [body]


@settings(deadline=None)
@given(LENGTHS, st.binary(max_size=200), CUTS)
def test_noise_is_refused_or_read_but_never_hoarded(declared: dict[str, Any], noise: bytes, cuts: list[int]) -> None:
    try:
        frames = read(framing(**declared), noise, cuts, limit=64)
    except FramingError:
        return
    assert all(len(frame) <= 64 for frame in frames)


def test_on_the_wire() -> None:
    assert framing(kind="length").frame(b"abc", LIMIT) == b"\0\0\0\3abc"
    assert framing(kind="length", width=2, endian="little", includes_self=True).frame(b"abc", LIMIT) == b"\5\0abc"
    assert framing(kind="length", width="varint").frame(b"x" * 300, LIMIT) == b"\xac\x02" + b"x" * 300
    assert framing(kind="length", width=1, header="\x7e").frame(b"a", LIMIT) == b"\x7e\1a"
    # Modbus TCP: transaction, protocol, then the length of what follows; the record names all of them.
    modbus = framing(kind="length", width=2, offset=4, keep=True)
    assert modbus.frame(b"\0\1\0\0\xff\xff\x11\3\0\x6b\0\3", LIMIT) == b"\0\1\0\0\0\6\x11\3\0\x6b\0\3"
    assert read(modbus, b"\0\1\0\0\0\6\x11\3\0\x6b\0\3", [3, 5]) == [b"\0\1\0\0\0\6\x11\3\0\x6b\0\3"]
    # A type byte in front that the length does not count: DNS over TCP has none, TPKT counts everything.
    tpkt = framing(kind="length", width=2, offset=2, keep=True, includes_self=True)
    assert read(tpkt, b"\3\0\0\7\x02\xf0\x80", []) == [b"\3\0\0\7\x02\xf0\x80"]
    assert framing(kind="delimiter", delimiter="\x1c\r", start="\x0b").frame(b"MSH|", LIMIT) == b"\x0bMSH|\x1c\r"


@pytest.mark.parametrize(
    ("declared", "claim"),
    [
        ({"width": 4}, b"\x80\0\0\0"),
        ({"width": 4, "endian": "little"}, b"\0\0\0\x80"),
        ({"width": 8}, b"\xff" * 8),
        ({"width": "varint"}, b"\x80\x80\x80\x80\x08"),
        ({"width": 4, "keep": True, "offset": 1}, b"\0\x7f\xff\xff\xff"),
    ],
)
def test_two_gibibytes_are_refused_from_the_prefix(declared: dict[str, Any], claim: bytes) -> None:
    reader = framing(kind="length", **declared).reader(LIMIT)
    reader.feed(claim)
    with pytest.raises(FramingError, match=r"(announced|limit)"):
        reader.next()


def test_limits() -> None:
    exact, over = b"x" * 16, b"x" * 17
    for declared in ({"kind": "length"}, {"kind": "delimiter"}, {"kind": "until-close"}):
        wanted = framing(**declared)
        assert read(wanted, wanted.frame(exact, 16), [3], limit=16) == [exact]
        with pytest.raises(Failure, match="more than the limit of 16"):
            wanted.frame(over, 16)
        with pytest.raises(FramingError):
            read(wanted, wanted.frame(over, 17), [3], limit=16)


def test_a_delimiter_that_never_comes() -> None:
    reader = framing(kind="delimiter", delimiter="\r\n").reader(16)
    reader.feed(b"x" * 17)
    assert reader.next() is None  # the seventeenth byte may be half of the delimiter
    reader.feed(b"x")
    with pytest.raises(FramingError, match="without a delimiter"):
        reader.next()


@pytest.mark.parametrize(
    ("declared", "stream"),
    [
        ({"kind": "length"}, b"\0\0"),
        ({"kind": "length"}, b"\0\0\0\2a"),
        ({"kind": "delimiter"}, b"half a line"),
        ({"kind": "fixed", "size": 4}, b"abc"),
        ({"kind": "delimiter", "start": "\x02\x02"}, b"\x02"),
    ],
)
def test_a_stream_that_breaks_off(declared: dict[str, Any], stream: bytes) -> None:
    with pytest.raises(FramingError, match="ended inside a frame"):
        read(framing(**declared), stream, [1])


@pytest.mark.parametrize(
    ("declared", "stream", "why"),
    [
        ({"kind": "length", "includes_self": True}, b"\0\0\0\3", "less than its own header"),
        ({"kind": "length", "adjust": -6}, b"\0\0\0\5", "less than its own header"),
        ({"kind": "length", "width": 1, "header": "\x7e"}, b"\x7f", "header's bytes"),
        ({"kind": "delimiter", "start": "\x02"}, b"no", "start bytes"),
        ({"kind": "length", "width": "varint"}, b"\xff" * 10, "more than 10 bytes"),
    ],
)
def test_broken_streams(declared: dict[str, Any], stream: bytes, why: str) -> None:
    with pytest.raises(FramingError, match=why):
        read(framing(**declared), stream, [])


@pytest.mark.parametrize(
    ("declared", "body", "why"),
    [
        ({"kind": "delimiter"}, b"two\nlines", "contains the delimiter"),
        ({"kind": "delimiter", "delimiter": "abab"}, b"xab", "contains the delimiter"),
        ({"kind": "delimiter", "keep": True}, b"no end", "does not end with"),
        ({"kind": "fixed", "size": 4}, b"abc", "frames have 4"),
        ({"kind": "length", "width": 1}, b"x" * 256, "does not fit"),
        ({"kind": "length", "adjust": 5}, b"abc", "too few"),
        ({"kind": "length", "keep": True}, b"abc", "too few"),
        ({"kind": "until-close"}, b"", "can't be told from none"),
    ],
)
def test_what_can_not_be_framed(declared: dict[str, Any], body: bytes, why: str) -> None:
    with pytest.raises(Failure, match=why):
        framing(**declared).frame(body, LIMIT)


@pytest.mark.parametrize(
    "declared",
    [
        {"kind": "length", "width": 3},
        {"kind": "length", "offset": 2},
        {"kind": "length", "width": "varint", "keep": True},
        {"kind": "length", "header": "x", "keep": True},
        {"kind": "delimiter", "delimiter": ""},
        {"kind": "delimiter", "delimiter": "€"},
        {"kind": "fixed"},
        {"kind": "fixed", "size": 0},
        {"kind": "lines"},
    ],
)
def test_declarations_that_mean_nothing(declared: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        framing(**declared)


def test_against_the_standard_library() -> None:
    """multiprocessing frames its messages with four bytes of length, and reads ours."""
    left, right = socket.socketpair()
    theirs = Connection(right.detach())
    wanted = framing(kind="length", width=4)
    theirs.send_bytes(b"from there")
    assert read(wanted, left.recv(100), [2]) == [b"from there"]
    left.sendall(wanted.frame(b"from here", LIMIT))
    assert theirs.recv_bytes() == b"from here"
    theirs.close()
    left.close()
