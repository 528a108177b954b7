"""multipart/form-data as urllib3 (requests), aiohttp and curl write it, and as attackers do."""

import asyncio
from typing import Any

import aiohttp
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from support.plain import shown

from gateway.codecs.form import FIELDS
from gateway.codecs.format import NoFormError, Unknown
from gateway.codecs.multipart import HEADER_BYTES, HEADERS, MultipartBody, MultipartFormat
from gateway.schema.types import ANY, BOOL, BYTES, INT32, STRING, Field, List, Record, Type
from gateway.status import Failure

OWNER = Record("Owner", [Field("name", STRING, required=True)])
UPLOAD = Record(
    "Upload",
    [
        Field("title", STRING),
        Field("copies", INT32),
        Field("public", BOOL),
        Field("photo", BYTES),
        Field("pages", List(BYTES)),
        Field("tags", List(STRING)),
        Field("owner", OWNER),
    ],
)


def decode(body: bytes, boundary: str = "b", type_: Type = UPLOAD) -> Any:
    return shown(type_, MultipartFormat().decoder(type_, Unknown.REJECT)(MultipartBody(boundary, body)))


def part(name: str, content: bytes, more: bytes = b"") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n%b\r\n%b\r\n' % (name.encode(), more, content)


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


FIELDS_SENT = [
    ("title", "Käse"),
    ("copies", "3"),
    ("public", "true"),
    ("tags", "x"),
    ("tags", "y"),
    ("owner.name", "o"),
]
WANTED = {
    "title": "Käse",
    "copies": 3,
    "public": True,
    "tags": ["x", "y"],
    "owner": {"name": "o"},
    "photo": b"\x89PNG\r\n--b\0",
    "pages": [b"1"],
}


def test_what_requests_writes() -> None:
    files = [("photo", ("a.png", WANTED["photo"], "image/png")), ("pages", ("1.txt", b"1"))]
    sent = requests.Request("POST", "http://x/", data=FIELDS_SENT, files=files).prepare()
    assert isinstance(sent.body, bytes)
    assert decode(sent.body, sent.headers["Content-Type"].partition("boundary=")[2]) == WANTED


async def test_what_aiohttp_writes() -> None:
    form = aiohttp.FormData()
    for name, text in FIELDS_SENT:
        form.add_field(name, text, content_type="text/plain; charset=utf-8")
    form.add_field("photo", WANTED["photo"], filename="a.png", content_type="image/png")
    form.add_field("pages", b"1", filename="1.txt")
    payload: Any = form()
    written = bytearray()

    class Writer:
        async def write(self, data: bytes) -> None:
            written.extend(data)

    await asyncio.wait_for(payload.write(Writer()), 5)
    assert decode(bytes(written), payload.boundary) == WANTED


@given(
    st.lists(st.tuples(st.sampled_from(["photo", "pages"]), st.binary(max_size=200)), max_size=5),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=50),
)
def test_bytes_and_text_arrive_as_they_are(pages: list[tuple[str, bytes]], title: str) -> None:
    pages = [("pages", content) for _, content in pages]
    files = [(name, ("f", content)) for name, content in pages]
    sent = requests.Request("POST", "http://x/", data={"title": title}, files=[*files, ("photo", ("p", b""))]).prepare()
    assert isinstance(sent.body, bytes)
    wanted = {"title": title, "photo": b""} | ({"pages": [content for _, content in pages]} if pages else {})
    assert decode(sent.body, sent.headers["Content-Type"].partition("boundary=")[2]) == wanted


def test_a_part_may_be_json() -> None:
    json_part = part("owner", b'{"name":"o"}', b"Content-Type: application/json\r\n")
    assert decode(body(json_part)) == {"owner": {"name": "o"}}
    assert decode(body(json_part), type_=ANY) == {"owner": {"name": "o"}}


def test_untyped_files_are_bytes_and_the_rest_is_text() -> None:
    files = part("a", b"1"), part("f", b"\xff", b"Content-Type: image/png\r\n"), part("a", b"2")
    assert decode(body(*files), type_=ANY) == {"a": ["1", "2"], "f": b"\xff"}


@pytest.mark.parametrize(
    ("parts", "message", "path"),
    [
        ([part("copies", b"x")], "'x' is not a whole number", "$.copies"),
        ([part("tags", b"a"), part("tags", b"\xff")], "not valid UTF-8", "$.tags"),
        ([part("title", b"\xe4", b"Content-Type: text/plain; charset=latin-1\r\n")], "must be UTF-8", "$.title"),
        ([part("nope", b"x")], "unknown field", "$.nope"),
        ([part("title", b"x"), part("title", b"y")], "given more than once", "$.title"),
        ([part("owner", b"o")], "a part for Owner must be application/json", "$.owner"),
        ([part("owner", b"{", b"Content-Type: application/json\r\n")], "this part is not JSON", "$.owner"),
        ([part("owner", b"[" * 99, b"Content-Type: application/json\r\n")], "deeper than 64", "$.owner"),
        ([part("owner", b"{}", b"Content-Type: application/json\r\n")], "missing required", "$.owner.name"),
        ([part("photo", b"eA==", b"Content-Transfer-Encoding: base64\r\n")], "Transfer-Encoding", "$.photo"),
    ],
)
def test_refuses_with_the_path(parts: list[bytes], message: str, path: str) -> None:
    with pytest.raises(Failure, match=message) as refused:
        decode(body(*parts))
    assert refused.value.path == path


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"hello",
        b"--b\r\n",
        part("title", b"x"),  # no end
        body(part("title", b"x"))[:-4],
        body(part("title", b"x", b"X: 1\r\n" * HEADERS)),
        body(part("title", b"x", b"X: %b\r\n" % (b"x" * HEADER_BYTES))),
        body(*[part("tags", b"x")] * (FIELDS + 1)),
        body(b"--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n"),
        body(b"--b\r\n\r\nx\r\n"),
        body(b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n'),
    ],
)
def test_what_is_broken_or_over_a_limit_is_refused(sent: bytes) -> None:
    with pytest.raises(Failure):
        decode(sent)


def test_what_has_no_members_has_no_form() -> None:
    with pytest.raises(NoFormError):
        MultipartFormat().decoder(List(STRING), Unknown.REJECT)
    with pytest.raises(NoFormError):
        MultipartFormat().encoder(UPLOAD)
