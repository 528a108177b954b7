"""Upstreams that take and give other bodies than JSON."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgpack
import pytest
from aiohttp import web
from lxml import etree
from support.http_gateway import gateway, planned, upstream

from gateway.problem import ConfigError

DOCUMENT = """
openapi: 3.0.3
info: {title: Charges, version: "1"}
paths:
  /charges:
    post:
      operationId: charge
      requestBody: {required: true, content: {BODY: {schema: {$ref: "#/components/schemas/Charge"}}}}
      responses:
        "200": {description: ok, content: {REPLY: {schema: {$ref: "#/components/schemas/Charge"}}}}
components:
  schemas:
    Charge:
      type: object
      required: [amount]
      properties:
        amount: {type: integer, format: int32}
        data: {type: string, format: byte}
        tags: {type: array, items: {type: string}}
        card: {type: object, properties: {number: {type: string}}}
"""
CHARGE = {"amount": 5, "data": "/w==", "tags": ["a", "b"], "card": {"number": "42"}}


def document(body: str = "application/json", reply: str = "application/json") -> str:
    return DOCUMENT.replace("BODY", body).replace("REPLY", reply)


def config(target: str, **more: Any) -> dict[str, Any]:
    endpoint = {"protocol": "http", "target": target, "openapi": "up.yaml", **more.pop("endpoint", {})}
    return {
        "endpoints": {"web": {"protocol": "http", "listen": "127.0.0.1:0", "openapi": "web.yaml"}, "up": endpoint},
        "routes": {
            "charge": {
                "from": {"endpoint": "web", "operation": "charge"},
                "to": {"endpoint": "up", "operation": "charge", **more},
            }
        },
    }


async def answer(request: web.Request) -> web.StreamResponse:
    """In the format that is asked for, with the amount as the payload of all of them."""
    body = await request.read()
    match request.content_type:
        case "application/x-www-form-urlencoded":
            return web.json_response({"amount": int(parse_qs(body.decode())["amount"][0]) + 1})
        case "application/xml":
            element = etree.fromstring(body)
            amount = int(element.findtext("amount")) + 1
            reply = f"<?xml version='1.0' encoding='utf-16'?><x><amount>{amount}</amount><more/></x>".encode("utf-16")
            return web.Response(body=reply, content_type="text/xml", charset="utf-16")
        case "application/msgpack":
            packed = msgpack.packb({"amount": msgpack.unpackb(body)["amount"] + 1, "more": 1, "data": b"\0"})
            return web.Response(body=packed, content_type="application/x-msgpack")
    return web.Response(body=b"<x><amount>6</amount></x>", content_type="application/xml")


def write(folder: Path, up: str) -> None:
    (folder / "web.yaml").write_text(document())
    (folder / "up.yaml").write_text(up)


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "reply"),
    [
        ("form", "application/x-www-form-urlencoded", "application/json", {"amount": 6}),
        ("xml", "application/xml", "application/xml, application/json;q=0.9", {"amount": 6}),
        (
            "msgpack",
            "application/msgpack",
            "application/msgpack, application/json;q=0.9",
            {"amount": 6, "data": "AA=="},
        ),
    ],
)
async def test_a_declared_body(tmp_path: Path, body: str, content_type: str, accept: str, reply: Any) -> None:
    write(tmp_path, document())
    async with upstream(answer) as up, gateway(config(up.url, body=body), tmp_path) as http:
        status, _, found = await http.request("POST", "/charges", json=CHARGE)
        assert (status, found) == (200, reply)
    assert (up.requests[0].headers["Content-Type"], up.requests[0].headers["Accept"]) == (content_type, accept)
    sent = up.bodies[0]
    if body == "form":
        assert parse_qs(sent.decode()) == {
            "amount": ["5"],
            "data": ["/w=="],
            "tags": ["a", "b"],
            "card.number": ["42"],
        }
    elif body == "msgpack":
        assert msgpack.unpackb(sent) == {**CHARGE, "data": b"\xff"}
    else:
        element = etree.fromstring(sent)
        assert [tag.text for tag in element.findall("tags")] == ["a", "b"]
        assert element.findtext("card/number") == "42"


async def test_a_document_that_has_no_json_is_served_and_called_as_it_says(tmp_path: Path) -> None:
    write(tmp_path, document("application/x-www-form-urlencoded", "text/xml"))
    (tmp_path / "web.yaml").write_text(document("application/xml", "application/xml"))

    async def charge(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"<x><amount>6</amount></x>", content_type="text/xml")

    async with upstream(charge) as up, gateway(config(up.url), tmp_path) as http:
        headers = {"Content-Type": "application/xml", "Accept": "text/html, application/xml"}
        status, told, body = await http.request("POST", "/charges", data=b"<c><amount>5</amount></c>", headers=headers)
        assert (status, told["Content-Type"], etree.fromstring(body).findtext("amount")) == (
            200,
            "application/xml",
            "6",
        )
        assert (await http.request("POST", "/charges", json=CHARGE))[2] == {"amount": 6}, "JSON is always spoken"
    assert up.bodies[0] == b"amount=5"


async def test_replies_of_a_get_may_be_xml(tmp_path: Path) -> None:
    routes = {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0", "openapi": "web.yaml"},
            "up": {"protocol": "http", "target": "", "formats": ["xml"]},
        },
        "routes": {
            "charge": {
                "from": {"endpoint": "web", "operation": "charge"},
                "to": {"endpoint": "up", "method": "GET", "path": "/charges/{amount}"},
                "request": {"map": {"amount": "$.amount"}},
            }
        },
    }
    write(tmp_path, document())
    async with upstream(answer) as up:
        routes["endpoints"]["up"]["target"] = up.url
        async with gateway(routes, tmp_path) as http:
            status, _, found = await http.request("POST", "/charges", json={"amount": 5})
    assert (status, found) == (200, {"amount": 6})
    assert up.requests[0].headers["Accept"] == "application/xml, application/json;q=0.9"


@pytest.mark.parametrize(
    ("body", "media_type", "told"),
    [
        (b"<x>", "application/xml", "the upstream's reply can't be read: this is not well-formed XML"),
        (b"<!DOCTYPE x><x/>", "application/xml", "the upstream's reply can't be read: a document type"),
        (b"<x><amount>x</amount></x>", "application/xml", "the upstream's reply can't be translated"),
        (b"x", "text/plain", "the upstream answered with text/plain, not JSON or application/xml"),
        (b"x", "application/msgpack", "the upstream answered with application/msgpack, not JSON or application/xml"),
    ],
)
async def test_replies_that_are_wrong_are_the_upstreams_fault(
    tmp_path: Path, body: bytes, media_type: str, told: str
) -> None:
    async def wrong(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=media_type)

    write(tmp_path, document())
    async with upstream(wrong) as up, gateway(config(up.url, body="xml"), tmp_path) as http:
        status, _, problem = await http.request("POST", "/charges", json=CHARGE)
    assert (status, problem["code"]) == (500, "INTERNAL")
    assert problem["detail"].startswith(told)


async def test_error_replies_are_problems_whatever_the_body(tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        problem = {"detail": "no money", "code": "FAILED_PRECONDITION"}
        return web.json_response(problem, status=400, content_type="application/problem+json")

    write(tmp_path, document())
    async with upstream(refuse) as up, gateway(config(up.url, body="form"), tmp_path) as http:
        status, _, problem = await http.request("POST", "/charges", json=CHARGE)
    assert (status, problem["code"], problem["detail"]) == (400, "FAILED_PRECONDITION", "no money")


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ({"method": "GET", "path": "/x", "body": "xml"}, "GET has no body"),
        ({"method": "POST", "path": "/x", "body": "form", "requests": "many"}, "a stream of requests is JSON"),
        ({"method": "POST", "path": "/x", "body": "protobuf"}, "is no message of a .proto contract"),
    ],
)
async def test_bodies_that_can_not_be_written_are_refused_when_compiled(
    tmp_path: Path, to: dict[str, Any], told: str
) -> None:
    write(tmp_path, document())
    routes = config("http://127.0.0.1:1")
    del routes["endpoints"]["up"]["openapi"]
    routes["routes"]["charge"]["to"] = {"endpoint": "up", **to}
    with pytest.raises(ConfigError, match=told):
        await planned(routes, tmp_path)
