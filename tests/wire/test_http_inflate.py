"""Content codings: whole, cut, damaged and as bombs, as four foreign compressors write them."""

import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import brotli
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from support.http_gateway import gateway, upstream

from gateway.net.http.client import HttpClient
from gateway.net.http.inflate import ENCODINGS, MEMBERS, PIECE, Inflater, inflater_of
from gateway.status import Code, Failure

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd.compress,
}
LIMIT = 100_000
MEGABYTE = 1024 * 1024


def inflate(encoding: str, chunks: list[bytes]) -> bytes:
    inflater = Inflater(encoding)
    pieces = [piece for chunk in chunks for piece in inflater.feed(chunk)]
    inflater.end()
    assert all(0 < len(piece) <= 2 * PIECE for piece in pieces)
    return b"".join(pieces)


def test_all_that_are_told_are_read() -> None:
    assert set(COMPRESS) == set(ENCODINGS)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data(), content=st.binary(max_size=500), times=st.sampled_from([1, 3, 1000]))
def test_whole_bodies_in_any_pieces(encoding: str, data: st.DataObject, content: bytes, times: int) -> None:
    packed = COMPRESS[encoding](content * times)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=5)))
    chunks = [packed[start:end] for start, end in zip([0, *cuts], [*cuts, len(packed)], strict=True)]
    assert inflate(encoding, chunks) == content * times


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_part_is_never_taken_for_the_whole(encoding: str) -> None:
    packed = COMPRESS[encoding](json.dumps({"numbers": list(range(50))}).encode())
    for length in range(1, len(packed)):
        with pytest.raises(ValueError, match="ends too early"):
            inflate(encoding, [packed[:length]])
    assert inflate(encoding, []) == b""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_not_of_the_coding_is_refused(encoding: str) -> None:
    packed = COMPRESS[encoding](b"content" * 10)
    for wrong in (b"\xff" * 20, packed + b"\x00more"):
        with pytest.raises(ValueError, match=r"it is no|too early"):
            inflate(encoding, [wrong])


def test_members_follow_each_other_up_to_a_limit() -> None:
    assert inflate("gzip", [gzip.compress(b"a") + gzip.compress(b"b")]) == b"ab"
    assert inflate("zstd", [zstd.compress(b"a"), zstd.compress(b"b")]) == b"ab"
    with pytest.raises(ValueError, match="members"):
        inflate("gzip", [gzip.compress(b"") * (MEMBERS + 1)])


def test_raw_deflate_and_a_window_over_the_limit() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert inflate("deflate", [raw.compress(b"a") + raw.flush()]) == b"a"
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    with pytest.raises(ValueError, match="it is no zstd"):
        inflate("zstd", [zstd.ZstdCompressor(options=options).compress(bytes(10 * MEGABYTE))])


def test_encodings_by_header() -> None:
    assert inflater_of("") is inflater_of(" Identity ") is None
    assert inflater_of("X-GZIP") is not None
    for header in ("lzw", "gzip, gzip"):
        with pytest.raises(ValueError, match="is not read"):
            inflater_of(header)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_bomb_is_refused_without_being_inflated(encoding: str) -> None:
    bomb = COMPRESS[encoding](b'{"a":"' + bytes(64 * MEGABYTE) + b'"}')
    assert len(bomb) < LIMIT
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}

    async def never(request: web.Request) -> web.StreamResponse:
        raise AssertionError

    def route(path: str, **more: Any) -> dict[str, Any]:
        address = {"method": "POST", "path": path, **more}
        return {"from": {"endpoint": "web", **address}, "to": {"endpoint": "up", **address}}

    async with upstream(never) as up:
        config = {
            "endpoints": {
                "web": {"protocol": "http", "listen": "127.0.0.1:0", "max_body_bytes": LIMIT},
                "up": {"protocol": "http", "target": up.url},
            },
            "routes": {"one": route("/one"), "many": route("/many", requests="many", replies="many")},
        }
        async with gateway(config) as http:
            tracemalloc.start()
            try:
                status, _, told = await http.request("POST", "/one", data=bomb, headers=headers)
                assert (status, told["detail"]) == (413, f"the message is larger than the limit of {LIMIT} bytes")
                lines = {**headers, "Content-Type": "application/x-ndjson"}
                status, _, told = await http.request("POST", "/many", data=bomb, headers=lines)
                assert status == 413
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 8 * MEGABYTE
    assert up.requests == []


async def test_a_coding_that_goes_on_and_stands_for_nothing_is_given_up() -> None:
    empty = zlib.compressobj(wbits=31)
    blocks = empty.compress(b"") + empty.flush(zlib.Z_SYNC_FLUSH)
    nothing = b"\x00\x00\x00\xff\xff" * 40_000
    address = {"method": "POST", "path": "/one"}
    config = {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0", "max_body_bytes": LIMIT},
            "up": {"protocol": "http", "target": "http://127.0.0.1:1"},
        },
        "routes": {"one": {"from": {"endpoint": "web", **address}, "to": {"endpoint": "up", **address}}},
    }
    async with gateway(config) as http:
        head = b"POST /one HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        body = blocks + nothing
        chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:150_000], body[150_000:]))
        reply = await http.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked, until=b"bytes")
        assert reply.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_replies_of_upstreams_are_held_to_the_same(encoding: str) -> None:
    packed = COMPRESS[encoding](b'{"a": "%b"}' % (b"x" * 1000))
    bodies = {
        "/whole": packed,
        "/cut": packed[:-3],
        "/bomb": COMPRESS[encoding](bytes(64 * MEGABYTE)),
        "/wrong": b"\xff" * 20,
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Encoding": encoding if request.path != "/strange" else "lzw"}
        return web.Response(body=bodies.get(request.path, b"x"), headers=headers, content_type="application/json")

    client = HttpClient(LIMIT)
    try:
        async with upstream(answer) as up:
            assert (await client.request("GET", up.url + "/whole")).body == b'{"a": "%b"}' % (b"x" * 1000)
            assert encoding in up.requests[0].headers["Accept-Encoding"]
            for path, told in (
                ("/cut", "its content coding ends too early"),
                ("/wrong", "is broken"),
                ("/bomb", "larger than"),
                ("/strange", "content encoding 'lzw' is not read"),
            ):
                with pytest.raises(Failure, match=told) as refused:
                    await client.request("GET", up.url + path)
                assert refused.value.code is Code.INTERNAL
            async with client.stream("GET", up.url + "/bomb") as answered, aclosing(answered.chunks()) as chunks:
                assert len(await anext(chunks)) <= 2 * PIECE
    finally:
        await client.close()
