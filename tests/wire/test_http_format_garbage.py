"""Whatever bytes come, in whichever format: a value or a Failure, and nothing else."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_protobuf_codec import EVERYTHING, SCHEMA, Everything

from gateway.codecs.format import Format, NoFormError, Unknown
from gateway.codecs.json.format import JsonFormat
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.codecs.xml.plain import XmlFormat
from gateway.net.http.negotiation import MEDIA_TYPES, format_named, received
from gateway.schema.types import ANY, Type
from gateway.status import Code, Failure

MESSAGE = Everything(an_int64=5, maybe_string="s", ints=[1, 2], blobs=[b"\xff"])
VALUE = ProtobufFormat(SCHEMA).decoder(EVERYTHING, Unknown.REJECT)(MESSAGE.SerializeToString())
JSON = json.loads(JsonFormat().encoder(EVERYTHING)(VALUE))
PART = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
VALID: dict[str, bytes] = {
    "json": json.dumps(JSON).encode(),
    "form": b"anInt64=5&maybeString=s&ints=1&ints=2&address.name=n",
    "multipart": PART % (b"anInt64", b"5") + PART % (b"blobs", b"\xff") + PART % (b"ints", b"1") + b"--b--\r\n",
    "xml": XmlFormat().encoder(EVERYTHING)(
        ProtobufFormat(SCHEMA).decoder(EVERYTHING, Unknown.REJECT)(MESSAGE.SerializeToString())
    ),
    "msgpack": msgpack.packb(JSON),
    "protobuf": MESSAGE.SerializeToString(),
}


def formats() -> dict[str, Format]:
    return {name: format_named(name, JsonFormat()) for name in MEDIA_TYPES}


def decoders(type_: Type) -> dict[str, Any]:
    found = {}
    for name, form in formats().items():
        for unknown in Unknown:
            try:
                found[name, unknown] = form.decoder(type_, unknown)
            except NoFormError:
                assert type_ == ANY and name in ("xml", "protobuf")
    return found


DECODERS = {"typed": decoders(EVERYTHING), "any": decoders(ANY)}


def test_there_is_a_valid_body_of_each() -> None:
    assert set(VALID) == set(MEDIA_TYPES)
    for (name, _), decode in DECODERS["typed"].items():
        assert decode(received(name, VALID[name], {"boundary": "b"})).an_int64 == 5


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with some bytes replaced, left out or doubled."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 8)))
        body = body[:at] + draw(st.binary(max_size=6) | st.just(body[at:end] * 2)) + body[end:]
    return body


@pytest.mark.parametrize("name", MEDIA_TYPES)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_garbage_and_damaged_bodies(name: str, data: st.DataObject) -> None:
    body = data.draw(damaged(VALID[name]) | st.binary(max_size=60))
    for typed in DECODERS.values():
        for unknown in Unknown:
            decode = typed.get((name, unknown))
            if decode is None:
                continue
            try:
                decode(received(name, body, {"boundary": "b"}))
            except Failure as failure:
                assert failure.code is Code.INVALID_ARGUMENT  # noqa: PT017  any other exception is a bug
