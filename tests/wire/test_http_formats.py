"""Bodies of several formats: chosen by Content-Type, replied to by Accept."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgpack
import pytest
from aiohttp import web
from lxml import etree
from support.grpc_orders import OrdersServer, pb2
from support.http_gateway import Gateway, gateway, upstream

FORM = "application/x-www-form-urlencoded"
FORMATS = ["form", "multipart", "msgpack", "protobuf", "xml"]
ORDER = {"customerId": "c", "lines": [{"sku": "TEA", "quantity": 2}]}


async def echo(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read(), content_type="application/json")


def config(up: str, grpc_port: int, formats: list[str]) -> dict[str, Any]:
    return {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0", "formats": formats},
            "orders": {"protocol": "grpc", "target": f"127.0.0.1:{grpc_port}", "proto": "schemas/orders.proto"},
            "up": {"protocol": "http", "target": up},
        },
        "routes": {
            "place": {
                "from": {"endpoint": "web", "method": "POST", "path": "/orders"},
                "to": {"endpoint": "orders", "method": "shop.orders.v1.Orders/PlaceOrder"},
            },
            "get": {
                "from": {"endpoint": "web", "method": "GET", "path": "/orders/{customer_id}"},
                "to": {"endpoint": "orders", "method": "shop.orders.v1.Orders/PlaceOrder"},
            },
            "watch": {
                "from": {"endpoint": "web", "method": "POST", "path": "/watch"},
                "to": {"endpoint": "orders", "method": "shop.orders.v1.Orders/WatchOrder"},
            },
            "echo": {
                "from": {"endpoint": "web", "method": "POST", "path": "/echo"},
                "to": {"endpoint": "up", "method": "POST", "path": "/echo"},
            },
        },
    }


@pytest.fixture
async def http() -> AsyncIterator[Gateway]:
    with OrdersServer() as orders:
        async with upstream(echo) as up, gateway(config(up.url, orders.port, FORMATS)) as serving:
            yield serving


@pytest.fixture
async def plain() -> AsyncIterator[Gateway]:
    with OrdersServer() as orders:
        async with upstream(echo) as up, gateway(config(up.url, orders.port, [])) as serving:
            yield serving


async def send(http: Gateway, body: Any, content_type: str, path: str = "/orders") -> tuple[int, Any, Any]:
    return await http.request("POST", path, data=body, headers={"Content-Type": content_type})


async def test_a_form_is_typed_by_the_route(http: Gateway) -> None:
    status, _, order = await send(http, b"customer_id=a+b", "application/x-www-form-urlencoded; charset=UTF-8")
    assert (status, order["customerId"]) == (200, "a b")
    status, _, told = await send(http, b"customerId=c&lines=x", "application/x-www-form-urlencoded")
    assert (status, told["path"]) == (400, "$.lines")
    assert (await send(http, b"a=1&a=2&b=x", "application/x-www-form-urlencoded", "/echo"))[2] == {
        "a": ["1", "2"],
        "b": "x",
    }


async def test_multipart_of_a_foreign_client(http: Gateway) -> None:
    form = aiohttp.FormData()
    form.add_field("customer_id", "c")
    form.add_field("lines", '{"sku": "TEA", "quantity": 2}', content_type="application/json")
    status, _, order = await http.request("POST", "/orders", data=form)
    assert (status, order["lines"]) == (200, ORDER["lines"])
    form = aiohttp.FormData()
    form.add_field("file", b"\xff", filename="a.bin")
    assert (await http.request("POST", "/echo", data=form))[2] == {"file": "/w=="}
    status, _, told = await send(http, b"x", "multipart/form-data")
    assert (status, told["detail"]) == (400, "the content type of multipart/form-data needs a boundary")


async def test_messagepack_both_ways(http: Gateway) -> None:
    headers = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}
    status, told, body = await http.request("POST", "/orders", data=msgpack.packb(ORDER), headers=headers)
    assert (status, told["Content-Type"]) == (200, "application/msgpack")
    order = msgpack.unpackb(body)
    assert (order["customerId"], order["lines"], order["totalCents"]) == ("c", ORDER["lines"], str(2**62))
    headers = {"Content-Type": "application/x-msgpack"}
    assert (await http.request("POST", "/echo", data=msgpack.packb({"a": [1]}), headers=headers))[2] == {"a": [1]}
    wrong = msgpack.packb({"lines": [{"sku": 5}]})
    status, told, problem = await http.request("POST", "/orders", data=wrong, headers=headers)
    assert (status, told["Content-Type"], problem["path"]) == (400, "application/problem+json", "$.lines[0].sku")


async def test_xml_both_ways(http: Gateway) -> None:
    body = "<o><customerId>K\xe4se</customerId><lines><sku>TEA</sku><quantity>2</quantity></lines></o>".encode(
        "latin-1"
    )
    headers = {"Content-Type": "text/xml; charset=iso-8859-1", "Accept": "application/xml"}
    status, told, reply = await http.request("POST", "/orders", data=body, headers=headers)
    assert (status, told["Content-Type"]) == (200, "application/xml")
    order = etree.fromstring(reply)
    assert (order.tag, order.findtext("customerId"), order.findtext("totalCents")) == ("Order", "Käse", str(2**62))
    assert [(line.findtext("sku"), line.findtext("quantity")) for line in order.findall("lines")] == [("TEA", "2")]
    status, told, problem = await send(http, b"<o><lines><quantity>x</quantity></lines></o>", "application/xml")
    assert (status, told["Content-Type"]) == (400, "application/problem+json")
    assert problem["path"] == "$.lines[0].quantity"
    assert (await send(http, b"<o/>", "application/xml", "/echo"))[0] == 415, "an untyped route knows no element"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'<!DOCTYPE o [<!ENTITY a "b">]><o>&a;</o>', "DOCTYPE"),
        (b'<!DOCTYPE o SYSTEM "file:///etc/passwd"><o/>', "DOCTYPE"),
        (b"<o>" * 65 + b"</o>" * 65, "deeper than 64"),
        (b"<o><customerId>", "not well-formed"),
        (b"\x80", "not well-formed"),
    ],
)
async def test_xml_that_attacks_is_refused(http: Gateway, body: bytes, message: str) -> None:
    status, _, told = await send(http, body, "application/xml")
    assert (status, told["code"]) == (400, "INVALID_ARGUMENT")
    assert message in told["detail"]


async def test_protobuf_both_ways(http: Gateway) -> None:
    request = pb2.PlaceOrderRequest(customer_id="c", lines=[pb2.OrderLine(sku="TEA", quantity=2)])
    headers = {"Content-Type": "application/x-protobuf", "Accept": "application/x-protobuf"}
    status, told, body = await http.request("POST", "/orders", data=request.SerializeToString(), headers=headers)
    assert (status, told["Content-Type"]) == (200, "application/x-protobuf")
    assert pb2.Order.FromString(body).total_cents == 2**62
    status, _, problem = await http.request("POST", "/orders", data=b"\x0a\xff", headers=headers)
    assert (status, problem["code"]) == (400, "INVALID_ARGUMENT")


async def test_only_what_came_from_proto_has_a_protobuf_form(http: Gateway) -> None:
    status, headers, told = await send(http, b"", "application/x-protobuf", "/echo")
    assert status == 400, "no body is an empty JSON one"
    status, headers, told = await send(http, b"\x0a\x00", "application/x-protobuf", "/echo")
    assert (status, told["code"]) == (415, "INVALID_ARGUMENT")
    assert "protobuf" not in headers["Accept-Post"] and "application/msgpack" in headers["Accept-Post"]
    reply = await http.request("POST", "/echo", json={}, headers={"Accept": "application/x-protobuf"})
    assert (reply[0], reply[2]["detail"]) == (
        406,
        "replies are application/json or application/msgpack here, not application/x-protobuf",
    )


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
async def test_what_any_web_page_can_post_is_not_read_by_default(plain: Gateway, content_type: str) -> None:
    status, headers, told = await send(plain, b"customer_id=c", content_type)
    assert (status, headers["Accept"], headers["Accept-Post"]) == (415, "application/json", "application/json")
    assert told["detail"] == f"content type {content_type} is not read here, application/json is"


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.example", 403), ("null", 403), ("https://shop.example", 200), ("own", 200), ("", 200)],
)
async def test_pages_of_other_origins_may_not_post_forms(origin: str, status: int) -> None:
    with OrdersServer() as orders:
        routes = config("http://127.0.0.1:1", orders.port, FORMATS)
        routes["endpoints"]["web"]["cors"] = {"origins": ["https://shop.example"]}
        async with gateway(routes) as http:
            headers = {"Origin": http.url if origin == "own" else origin} if origin else {}
            answered, _, told = await http.request("POST", "/orders", data={"customer_id": "c"}, headers=headers)
            assert answered == status
            if status == 403:
                assert told["code"] == "PERMISSION_DENIED"
            assert (await http.request("POST", "/orders", json=ORDER, headers=headers))[0] == 200, "browsers ask first"


async def test_the_derived_document_and_caches_know_the_formats(http: Gateway) -> None:
    _, _, document = await http.request("GET", "/openapi.json")
    place, echoed = document["paths"]["/orders"]["post"], document["paths"]["/echo"]["post"]
    every = ["application/json", FORM, "application/msgpack", "multipart/form-data", "application/x-protobuf"]
    assert list(place["requestBody"]["content"]) == [*every, "application/xml"]
    assert "application/x-protobuf" not in echoed["requestBody"]["content"], "its type is not known"
    replies = ["application/json", "application/msgpack", "application/x-protobuf", "application/xml"]
    assert list(place["responses"]["200"]["content"]) == replies
    assert (await http.request("GET", "/orders/c"))[1]["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/hal+json", "application/json"),
        ("application/msgpack, application/json;q=0.9", "application/msgpack"),
        ("application/msgpack;q=0.5, application/json;q=0.9", "application/json"),
        ("application/msgpack;q=0.9, */*;q=0.8", "application/msgpack"),
        ("*/*, application/msgpack", "application/msgpack"),
        ("*/*, application/json;q=0", "application/msgpack"),
        ("application/msgpack;q=nonsense, application/json;q=0.1", "application/json"),
        ("APPLICATION/MSGPACK", "application/msgpack"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=nan", None),
    ],
)
async def test_accept(http: Gateway, accept: str, answer: str | None) -> None:
    for method, path, options in (("POST", "/orders", {"json": ORDER}), ("GET", "/orders/c", {})):
        status, headers, body = await http.request(method, path, headers={"Accept": accept}, **options)
        if answer is None:
            assert (status, body["code"]) == (406, "INVALID_ARGUMENT")
            assert body["detail"].startswith("replies are application/json or application/msgpack")
        else:
            assert (status, headers["Content-Type"]) == (200, answer)


async def test_errors_stay_problems(http: Gateway) -> None:
    headers = {"Accept": "application/msgpack"}
    status, told, problem = await http.request("POST", "/orders", json={"customerId": "no-stock"}, headers=headers)
    assert (status, told["Content-Type"]) == (400, "application/problem+json")
    assert problem["code"] == "FAILED_PRECONDITION"


async def test_a_stream_may_be_asked_for_in_any_format(http: Gateway) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/x-ndjson"}
    async with http.session.post(http.url + "/watch", data=b"order_id=o&limit=2", headers=headers) as response:
        lines = (await response.read()).splitlines()
    assert [json.loads(line)["orderId"] for line in lines] == ["o", "o"]


ANIMALS = """
openapi: 3.0.3
info: {title: Animals, version: "1"}
paths:
  /animals/{id}:
    post:
      operationId: keep
      parameters: [{name: id, in: path, required: true, schema: {type: integer, format: int64}}]
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Animal"}}}}
      responses:
        "200": {description: ok, content: {application/json: {schema: {$ref: "#/components/schemas/Animal"}}}}
components:
  schemas:
    Animal:
      type: object
      required: [name]
      xml: {name: animal, namespace: "urn:zoo"}
      properties:
        name: {type: string, xml: {attribute: true}}
        weight: {type: integer, format: int64, xml: {name: grams}}
        foods: {type: array, xml: {wrapped: true}, items: {type: string, xml: {name: food}}}
"""


async def test_openapi_operations_take_every_format_and_its_xml_object(tmp_path: Path) -> None:
    (tmp_path / "animals.yaml").write_text(ANIMALS)
    async with upstream(echo) as up:
        keep = {"endpoint": "up", "operation": "keep"}
        routes = {
            "endpoints": {
                "web": {"protocol": "http", "listen": "127.0.0.1:0", "openapi": "animals.yaml", "formats": FORMATS},
                "up": {"protocol": "http", "target": up.url, "openapi": "animals.yaml"},
            },
            "routes": {"keep": {"from": {**keep, "endpoint": "web"}, "to": keep}},
        }
        async with gateway(routes, tmp_path) as http:
            body = b"<a name='cat'><grams>5</grams><foods><food>fish</food><food>mice</food></foods></a>"
            headers = {"Content-Type": "application/zoo+xml", "Accept": "application/xml"}
            status, _, reply = await http.request("POST", "/animals/7", data=body, headers=headers)
            animal = etree.fromstring(reply)
            assert (status, animal.tag, animal.get("name")) == (200, "{urn:zoo}animal", "cat")
            assert [food.text for food in animal.findall("foods/food")] == ["fish", "mice"]
            sent = {"name": "cat", "weight": 5, "foods": ["fish", "mice"]}
            assert json.loads(up.bodies[0]) == sent
            reply = await send(http, b"name=cat&weight=5&foods=fish&foods=mice", FORM, "/animals/7")
            assert (reply[0], reply[2]) == (200, sent)
            reply = await send(http, b"name=cat&weight=x", FORM, "/animals/7")
            assert (reply[0], reply[2]["path"]) == (400, "$.weight")
            reply = await send(http, msgpack.packb(sent), "application/msgpack", "/animals/7")
            assert (reply[0], reply[2]) == (200, sent)
            assert (await send(http, b"", FORM, "/animals/7"))[0] == 400
            assert (await send(http, b"x", "application/x-protobuf", "/animals/7"))[0] == 415
