"""PATCH: a FieldMask (AIP-134) of what the caller's body has."""

import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest
from support.http_gateway import Gateway, gateway

PROTO = """
syntax = "proto3";
package lib.v1;
import "google/protobuf/field_mask.proto";
service Library { rpc UpdateBook(UpdateBookRequest) returns (Book); }
message Author { string full_name = 1; int32 age = 2; }
message Book {
  string name = 1; string book_title = 2; Author main_author = 3; repeated string tags = 4;
  map<string, int32> counts = 5; Book sequel = 6; int64 pages = 7;
}
message UpdateBookRequest { Book book = 1; google.protobuf.FieldMask update_mask = 2; bool validate_only = 3; }
"""


class Library:
    """Keeps what it is sent, as protobuf's own library reads it."""

    def __init__(self, folder: Path) -> None:
        (folder / "lib.proto").write_text(PROTO)
        self._folder = folder
        self._pool = futures.ThreadPoolExecutor(2)
        self._server = grpc.server(self._pool)
        handler = grpc.unary_unary_rpc_method_handler(self._update)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("lib.v1.Library", {"UpdateBook": handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._lock = threading.Lock()
        self.received: list[bytes] = []

    def _update(self, request: bytes, context: Any) -> bytes:
        with self._lock:
            self.received.append(request)
        return b""

    def __enter__(self) -> "Library":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()

    def paths(self) -> list[str]:
        """Of the last request's mask, read off the wire: field 2, whose field 1 is the repeated path."""
        request, paths = self.received[-1], []
        for number, value in fields(request):
            if number == 2:
                paths += [path.decode() for _, path in fields(value)]
        return paths


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Length-delimited fields of a message whose tags, lengths and numbers take one byte each."""
    at = 0
    while at < len(message):
        number, wire_type = message[at] >> 3, message[at] & 7
        if wire_type == 2:
            yield number, message[at + 2 : at + 2 + message[at + 1]]
            at += 2 + message[at + 1]
        else:
            at += 2


def config(port: int) -> dict[str, Any]:
    to = {"endpoint": "library", "method": "lib.v1.Library/UpdateBook"}
    return {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0", "formats": ["form", "xml", "msgpack", "protobuf"]},
            "library": {"protocol": "grpc", "target": f"127.0.0.1:{port}", "proto": "lib.proto"},
        },
        "routes": {
            "whole": {"from": {"endpoint": "web", "method": "PATCH", "path": "/books"}, "to": to},
            "named": {"from": {"endpoint": "web", "method": "PATCH", "path": "/{book.name=books/*}"}, "to": to},
            "bare": {
                "from": {"endpoint": "web", "method": "PATCH", "path": "/bare"},
                "to": to,
                "request": {"map": {"book": "$", "update_mask": "$params.update_mask"}},
            },
            "put": {"from": {"endpoint": "web", "method": "PUT", "path": "/books"}, "to": to},
        },
    }


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library(tmp_path) as serving:
        yield serving


async def patch(http: Gateway, path: str, **options: Any) -> int:
    status, _, told = await http.request(options.pop("method", "PATCH"), path, **options)
    assert status == 200, told
    return status


BODIES: list[tuple[dict[str, Any], list[str]]] = [
    ({"bookTitle": "t"}, ["book_title"]),
    ({"book_title": "t"}, ["book_title"]),
    ({"bookTitle": ""}, ["book_title"]),
    ({"bookTitle": None}, ["book_title"]),
    ({"tags": []}, ["tags"]),
    ({"counts": {"a": 1}, "tags": ["x"]}, ["tags", "counts"]),
    ({"mainAuthor": {"fullName": "f"}}, ["main_author.full_name"]),
    ({"mainAuthor": {"fullName": "f", "age": 0}, "pages": "7"}, ["main_author.full_name", "main_author.age", "pages"]),
    ({"mainAuthor": {}}, ["main_author"]),
    ({"mainAuthor": None}, ["main_author"]),
    ({"sequel": {"sequel": {"bookTitle": "t"}}}, ["sequel.sequel.book_title"]),
    ({}, []),
]


@pytest.mark.parametrize(("book", "paths"), BODIES)
async def test_the_mask_has_the_members_of_the_body(
    library: Library, tmp_path: Path, book: dict[str, Any], paths: list[str]
) -> None:
    async with gateway(config(library.port), tmp_path) as http:
        await patch(http, "/books", json={"book": book, "validateOnly": True})
        assert library.paths() == paths
        await patch(http, "/bare", json=book)
        assert library.paths() == paths
        packed = {"data": msgpack.packb({"book": book}), "headers": {"Content-Type": "application/msgpack"}}
        await patch(http, "/books", **packed)
        assert library.paths() == paths
        await patch(http, "/books", json={"book": book}, method="PUT")
        assert library.paths() == []


async def test_what_the_path_says_is_not_updated(library: Library, tmp_path: Path) -> None:
    async with gateway(config(library.port), tmp_path) as http:
        await patch(http, "/books/7", json={"book": {"pages": 5}})
        assert library.paths() == ["pages"]


async def test_forms_and_xml_have_members_too(library: Library, tmp_path: Path) -> None:
    async with gateway(config(library.port), tmp_path) as http:
        await patch(http, "/books", data={"book.book_title": "", "book.main_author.age": "3"})
        assert library.paths() == ["book_title", "main_author.age"]
        xml = {"Content-Type": "application/xml"}
        await patch(http, "/books", data=b"<b><book><bookTitle/><tags>a</tags></book></b>", headers=xml)
        assert library.paths() == ["book_title", "tags"]


async def test_a_mask_that_the_caller_gives_is_kept(library: Library, tmp_path: Path) -> None:
    async with gateway(config(library.port), tmp_path) as http:
        await patch(http, "/books", json={"book": {"pages": 5}, "updateMask": "bookTitle"})
        assert library.paths() == ["book_title"]
        await patch(http, "/books", json={"book": {"pages": 5}, "updateMask": ""})
        assert library.paths() == []
        for query in ("update_mask=bookTitle", "updateMask=bookTitle"):
            await patch(http, f"/books?{query}", json={"book": {"pages": 5}})
            assert library.paths() == ["book_title"]
        await patch(http, "/bare?update_mask=bookTitle", json={"pages": 5})
        assert library.paths() == ["book_title"]
        protobuf = {"Content-Type": "application/x-protobuf"}
        await patch(http, "/books", data=b"\x0a\x02\x38\x05", headers=protobuf)
        assert library.paths() == [], "protobuf does not tell absent from zero"


async def test_errors_are_those_of_the_body(library: Library, tmp_path: Path) -> None:
    async with gateway(config(library.port), tmp_path) as http:
        status, _, told = await http.request("PATCH", "/books", json={"book": {"pages": "x"}})
        assert (status, told["path"]) == (400, "$.book.pages")
        status, _, told = await http.request("PATCH", "/books", json={"book": {"nope": 1}})
        assert (status, told["path"]) == (400, "$.book.nope")
        assert (await http.request("PATCH", "/books", data=b"{", headers={"Content-Type": "application/json"}))[
            0
        ] == 400
    assert library.received == []
