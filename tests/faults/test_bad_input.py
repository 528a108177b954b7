"""Bad input at every door of one running gateway: the protocol's own clear error with the path of the offence, nothing
reaches the backend, and the process goes on."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from lxml import etree
from support.gateway_process import GatewayProcess, running_gateway
from support.grpc_orders import OrdersServer
from support.kafka_brokers import Bootstrap
from support.kafka_peer import create_topic, produce, read
from support.ports import free_port

ROOT = Path(__file__).parents[2]
SERVICE = "shop.orders.v1.Orders"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
ORDERS = "urn:shop:orders:v1"
LIMIT = 64 * 1024


class Doors(NamedTuple):
    gateway: GatewayProcess
    shop: Any
    web: int
    rpc: int
    kafka: Bootstrap
    topic: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory, kafka: Bootstrap) -> AsyncIterator[Doors]:
    web, rpc = free_port(), free_port()
    topic = f"bad-input-{free_port()}"
    create_topic(kafka, topic)
    proto = str(ROOT / "schemas/orders.proto")
    to = {"endpoint": "orders", "method": f"{SERVICE}/PlaceOrder"}
    with OrdersServer() as server:
        routes = {
            "endpoints": {
                "web": {"protocol": "http", "listen": f"127.0.0.1:{web}", "max_body_bytes": LIMIT},
                "soap": {
                    "protocol": "soap",
                    "listen": f"127.0.0.1:{web}",
                    "path": "/soap",
                    "wsdl": str(ROOT / "schemas/orders.wsdl"),
                    "max_message_bytes": LIMIT,
                },
                "rpc": {"protocol": "grpc", "listen": f"127.0.0.1:{rpc}", "proto": proto, "max_message_bytes": LIMIT},
                "topics": {"protocol": "kafka", "bootstrap_servers": str(kafka), "idempotent": kafka.idempotent},
                "orders": {"protocol": "grpc", "target": f"127.0.0.1:{server.port}", "proto": proto},
            },
            "routes": {
                "rest": {"from": {"endpoint": "web", "path": "/orders"}, "to": to},
                "soap": {
                    "from": {"endpoint": "soap", "operation": "PlaceOrder"},
                    "to": to,
                    "request": {
                        "map": {
                            "customer_id": "$.buyer.id",
                            "lines": {"each": "$.items", "map": {"sku": "$.code", "quantity": "$.qty"}},
                        }
                    },
                },
                "rpc": {"from": {"endpoint": "rpc", "method": f"{SERVICE}/PlaceOrder"}, "to": to},
                "kafka": {"from": {"endpoint": "topics", "topic": topic}, "to": to},
            },
        }
        async with running_gateway(tmp_path_factory.mktemp("bad"), routes) as gateway:
            yield Doors(gateway, server.shop, web, rpc, kafka, topic)
            assert gateway.process.returncode is None
            assert "Traceback" not in gateway.log.read_text()


def post(port: int, path: str, body: bytes, content_type: str) -> tuple[int, str, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


GOOD = {"customerId": "ada", "lines": [{"sku": "tea", "quantity": 2}]}
JSON_CASES: dict[str, tuple[bytes, int, str, str]] = {
    "malformed": (b'{"customerId": "x"', 400, "malformed JSON", ""),
    "empty": (b"", 400, "the body is empty", ""),
    "wrong type": (b'{"lines": [{"sku": 5}]}', 400, "a string is expected", "$.lines[0].sku"),
    "out of range": (b'{"lines": [{}, {"quantity": 3000000000}]}', 400, "out of the range", "$.lines[1].quantity"),
    "fraction": (b'{"lines": [{"quantity": 1.5}]}', 400, "not a whole number", "$.lines[0].quantity"),
    "unknown field": (b'{"lines": [{"skew": "x"}]}', 400, "unknown field", "$.lines[0].skew"),
    "not an object": (b"[1]", 400, "an object is expected", "$"),
    "NaN": (b'{"lines": [{"quantity": NaN}]}', 400, "malformed JSON", ""),
    "invalid UTF-8": (b'{"customerId": "\xff"}', 400, "not valid UTF-8", ""),
    "too deep": (b'{"lines":' + b"[" * 100 + b"]" * 100 + b"}", 400, "nested deeper than 64", ""),
    "oversize": (b'{"customerId": "' + b"x" * LIMIT + b'"}', 413, "larger than the limit", ""),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", JSON_CASES)
async def test_rest(doors: Doors, case: str) -> None:
    body, status, message, path = JSON_CASES[case]
    doors.shop.metadata = None
    got, content_type, answer = await asyncio.to_thread(post, doors.web, "/orders", body, "application/json")
    problem = json.loads(answer)
    assert (got, content_type) == (status, "application/problem+json")
    assert message in problem["detail"]
    assert problem.get("path", "").startswith(path)
    assert bool(problem.get("path")) == bool(path)
    await _untouched(doors)


@pytest.mark.asyncio(loop_scope="module")
async def test_rest_wrong_content_type_path_and_method(doors: Doors) -> None:
    got, _, answer = await asyncio.to_thread(post, doors.web, "/orders", b"<a/>", "text/xml")
    assert got == 415
    assert "application/json" in json.loads(answer)["detail"]
    got, content_type, _ = await asyncio.to_thread(post, doors.web, "/nowhere", b"{}", "application/json")
    assert (got, content_type) == (404, "application/problem+json")
    request = urllib.request.Request(f"http://127.0.0.1:{doors.web}/orders", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(urllib.request.urlopen, request, None, 5)
    assert refused.value.code == 405
    assert refused.value.headers["Allow"].startswith("POST")
    await _untouched(doors)


def envelope(content: str, prolog: str = "") -> bytes:
    return (
        f'{prolog}<e:Envelope xmlns:e="{SOAP}"><e:Body><o:PlaceOrder xmlns:o="{ORDERS}">{content}</o:PlaceOrder>'
        f"</e:Body></e:Envelope>"
    ).encode()


def element(name: str, content: str) -> str:
    return f"<o:{name}>{content}</o:{name}>"


BUYER = element("buyer", element("id", "ada"))
SOAP_CASES: dict[str, tuple[bytes, str, str]] = {
    "malformed": (b"<e:Envelope", "XML", ""),
    "no envelope": (b"<a/>", "", ""),
    "doctype": (envelope(BUYER, '<!DOCTYPE a [<!ENTITY x "y">]>'), "DOCTYPE", ""),
    "wrong type": (
        envelope(BUYER + element("items", element("code", "tea") + element("qty", "many"))),
        "many",
        "$.items[0].qty",
    ),
    "missing field": (envelope(BUYER + element("items", element("qty", "1"))), "missing", "$.items[0].code"),
    "unknown field": (envelope(BUYER + element("surprise", "x")), "surprise", "$"),
    "invalid UTF-8": (envelope(BUYER).replace(b"ada", b"\xff\xfe"), "", ""),
    "too deep": (envelope("<a>" * 100 + "</a>" * 100), "deep", ""),
    "unknown operation": (envelope(BUYER).replace(b"PlaceOrder", b"NoOrder"), "NoOrder", ""),
    "oversize": (envelope(element("buyer", element("id", "x" * LIMIT))), "larger than the limit", ""),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", SOAP_CASES)
async def test_soap(doors: Doors, case: str) -> None:
    body, message, path = SOAP_CASES[case]
    doors.shop.metadata = None
    got, content_type, answer = await asyncio.to_thread(post, doors.web, "/soap", body, "text/xml")
    assert got in (400, 413, 500)
    assert content_type.startswith("text/xml")
    fault = etree.fromstring(answer)[0][0]
    assert etree.QName(fault).localname == "Fault"
    assert fault.findtext("faultcode").endswith(":Client")
    told = etree.tostring(fault, encoding="unicode")
    assert message in told
    assert path in told
    await _untouched(doors)


GRPC_CASES: dict[str, tuple[bytes, grpc.StatusCode, str, str]] = {
    "malformed": (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "", ""),
    "truncated": (b"\x12\x7f\x0a", grpc.StatusCode.INVALID_ARGUMENT, "", ""),
    "unknown field": (b"\x12\x02\x78\x01", grpc.StatusCode.INVALID_ARGUMENT, "15", "lines[0]"),
    "invalid UTF-8": (b"\x0a\x01\xff", grpc.StatusCode.INVALID_ARGUMENT, "UTF-8", "customer_id"),
    "oversize": (b"\x0a\x80\x80\x04" + b"x" * LIMIT, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max", ""),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", GRPC_CASES)
async def test_grpc(doors: Doors, case: str) -> None:
    body, code, message, path = GRPC_CASES[case]
    doors.shop.metadata = None
    async with grpc.aio.insecure_channel(f"127.0.0.1:{doors.rpc}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"/{SERVICE}/PlaceOrder")(body, timeout=10)
    assert refused.value.code() is code
    assert message in refused.value.details()
    if path:
        trailers = dict(refused.value.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        violations = error_details_pb2.BadRequest()
        assert status.details[0].Unpack(violations)
        assert violations.field_violations[0].field.startswith(path)
    await _untouched(doors)


@pytest.mark.asyncio(loop_scope="module")
async def test_grpc_unknown_method(doors: Doors) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{doors.rpc}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "Nothing" in refused.value.details()


@pytest.mark.asyncio(loop_scope="module")
async def test_kafka(doors: Doors) -> None:
    """Each record that can't be right is kept as it was, with its reason; the one behind them is served."""
    cases = {name: case for name, case in JSON_CASES.items() if name not in ("oversize", "empty")}
    records = [{"value": body, "key": name.encode()} for name, (body, *_) in cases.items()]
    records.append({"value": json.dumps({"customerId": "last"}).encode(), "key": b"good"})
    doors.shop.metadata = None
    produce(doors.kafka, doors.topic, records)
    letters = await asyncio.to_thread(read, doors.kafka, f"{doors.topic}.dead-letters", len(cases), seconds=40)
    by_key = {letter.key.decode(): letter for letter in letters}
    assert by_key.keys() == cases.keys()
    for name, (body, _, message, path) in cases.items():
        letter = by_key[name]
        headers = {key: value.decode() for key, value in letter.headers.items()}
        assert letter.value == body
        assert message in headers["dead-letter-reason"]
        assert headers["dead-letter-path"].startswith(path)
    for _ in range(200):
        if doors.shop.metadata is not None:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the good record was not served")


async def _untouched(doors: Doors) -> None:
    """The backend saw nothing of it, and the next good request is served."""
    assert doors.shop.metadata is None
    body = json.dumps(GOOD).encode()
    got, _, answer = await asyncio.to_thread(post, doors.web, "/orders", body, "application/json")
    assert got == 200, answer
    doors.shop.metadata = None
