"""What the SOAP client sends, and what it makes of every answer."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lxml import etree
from support.plain import plain, shown
from support.soap_service import SCHEMAS, Caller, served

from gateway.message import Context
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute, HttpServer
from gateway.schema.types import Record, Type
from gateway.status import Code, Detail, Failure

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
REQUEST = {"buyer": {"id": "b<1>"}, "items": [{"code": "A", "qty": 2}]}
ANSWER = (
    '<PlaceOrderResponse xmlns="urn:shop:orders:v1"><order_id>o-1</order_id><status>PAID</status>'
    "<total_cents>5</total_cents></PlaceOrderResponse>"
)


def envelope(body: str, version: str = SOAP11) -> bytes:
    return f'<s:Envelope xmlns:s="{version}"><s:Header/><s:Body>{body}</s:Body></s:Envelope>'.encode()


class Upstream:
    """Answers what the test says, and keeps what it was sent."""

    def __init__(self) -> None:
        self.reply = HttpReply(200, [("Content-Type", "text/xml")], envelope(ANSWER))
        self.delay = 0.0
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, request: HttpRequest) -> HttpReply:
        self.requests.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.body(10**6))
        )
        await asyncio.sleep(self.delay)
        return self.reply


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    server = HttpServer("127.0.0.1:0")
    peer = Upstream()
    server.mount("peer", [HttpRoute("POST", PathTemplate("/soap"), peer.answer)])
    await server.start()
    peer.url = f"http://127.0.0.1:{server.port}/soap"
    try:
        yield peer
    finally:
        await server.stop()


def request(type_: Type | None, value: dict[str, Any] = REQUEST) -> Any:
    assert type_ is not None
    return plain(type_, value)


async def place(caller: Caller, context: Context | None = None, headers: Any = ()) -> Any:
    contract = caller.contract("PlaceOrder")
    reply = await caller.call("PlaceOrder", request(contract.request), context, headers)
    assert contract.reply is not None
    return shown(contract.reply, reply)


async def failure(caller: Caller, context: Context | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        await place(caller, context)
    return caught.value


async def test_a_request_in_each_version() -> None:
    async with upstream() as peer:
        async with Caller(target=peer.url) as caller:
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            answer = await place(caller, Context(trace=trace), [("x-tenant", "t1")])
            assert answer == {"order_id": "o-1", "status": "PAID", "total_cents": 5}
        headers, body = peer.requests.pop()
        assert headers["content-type"] == "text/xml; charset=utf-8"
        assert headers["soapaction"] == '"urn:shop:orders:v1:PlaceOrder"'
        assert (headers["traceparent"], headers["x-tenant"]) == (trace, "t1")
        root = etree.fromstring(body)
        assert root.tag == f"{{{SOAP11}}}Envelope"
        assert root.findtext(".//{urn:shop:orders:v1}id") == "b<1>"
        peer.reply = HttpReply(200, [("Content-Type", "application/soap+xml")], envelope(ANSWER, SOAP12))
        async with Caller(target=peer.url, version="1.2") as caller:
            await place(caller)
        headers, body = peer.requests.pop()
        assert headers["content-type"] == (
            'application/soap+xml; charset=utf-8; action="urn:shop:orders:v1:PlaceOrder"'
        )
        assert "soapaction" not in headers
        assert etree.fromstring(body).tag == f"{{{SOAP12}}}Envelope"


async def test_one_way_is_done_with_any_empty_success() -> None:
    value = {"order_id": "o", "status": "PAID", "at": 0}
    async with upstream() as peer, Caller(target=peer.url) as caller:
        event = request(caller.contract("RegisterEvent").request, value)
        for status in (200, 202, 204):
            peer.reply = HttpReply(status)
            assert await caller.call("RegisterEvent", event) is None
        peer.reply = HttpReply(500, [], envelope("<s:Fault><faultcode>s:Server</faultcode></s:Fault>"))
        with pytest.raises(Failure):
            await caller.call("RegisterEvent", event)


FAULT = "<s:Fault><faultcode>{code}</faultcode><faultstring>it   is\nso</faultstring>{detail}</s:Fault>"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("s:Client", Code.INVALID_ARGUMENT),
        ("s:Client.Authentication", Code.INVALID_ARGUMENT),
        ("s:Server", Code.INTERNAL),
        ("s:MustUnderstand", Code.UNIMPLEMENTED),
        ("s:VersionMismatch", Code.UNIMPLEMENTED),
        ("x:Strange", Code.UNKNOWN),
        ("", Code.UNKNOWN),
    ],
)
async def test_undeclared_faults_by_their_code(code: str, expected: Code) -> None:
    async with upstream() as peer, Caller(target=peer.url) as caller:
        for status in (500, 200):  # some servers answer faults with 200
            peer.reply = HttpReply(status, [], envelope(FAULT.format(code=code, detail="<detail><a/></detail>")))
            told = await failure(caller)
            assert (told.code, told.message) == (expected, "it is so")


async def test_a_soap_12_fault() -> None:
    fault = (
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>x:y</s:Value></s:Subcode></s:Code>"
        '<s:Reason><s:Text xml:lang="en">no</s:Text></s:Reason></s:Fault>'
    )
    async with upstream() as peer, Caller(target=peer.url) as caller:
        peer.reply = HttpReply(400, [], envelope(fault, SOAP12))
        told = await failure(caller)
        assert (told.code, told.message) == (Code.INVALID_ARGUMENT, "no")


async def test_a_declared_fault_is_a_failed_precondition_with_its_detail() -> None:
    detail = (
        '<detail><o:OutOfStockFault xmlns:o="urn:shop:orders:v1"><o:sku>A</o:sku><o:available>1</o:available>'
        "</o:OutOfStockFault></detail>"
    )
    async with upstream() as peer, Caller(target=peer.url) as caller:
        peer.reply = HttpReply(500, [], envelope(FAULT.format(code="s:Server", detail=detail)))
        told = await failure(caller)
        assert (told.code, told.message) == (Code.FAILED_PRECONDITION, "it is so")
        (found,) = told.details
        record = caller.contract("PlaceOrder").failure("OutOfStock")
        assert record is not None and found.name == record.name == "OutOfStockFault"
        assert shown(record, found.value) == {"sku": "A", "available": 1}
        broken = detail.replace(">1<", ">one<")
        peer.reply = HttpReply(500, [], envelope(FAULT.format(code="s:Server", detail=broken)))
        told = await failure(caller)
        assert told.code is Code.INTERNAL and "not as declared" in told.message


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_from_gateway_to_gateway_a_failure_keeps_its_code_and_path(code: Code) -> None:
    def refuse(value: Any) -> Any:
        raise Failure(code, "so it is", path="$.items[0]", retry_after=3)

    for version in ("1.1", "1.2"):
        async with served({"PlaceOrder": refuse}) as service, Caller(target=service.url, version=version) as caller:
            told = await failure(caller)
            assert (told.code, told.message, told.path, told.retry_after) == (code, "so it is", "$.items[0]", 3.0)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b"<html>fine</html>", Code.INTERNAL),
        (200, b"not xml", Code.INTERNAL),
        (200, b"", Code.INTERNAL),
        (200, b"<!DOCTYPE a><a/>", Code.INTERNAL),
        (200, envelope(""), Code.INTERNAL),
        (200, envelope("<other/>"), Code.INTERNAL),
        (302, b"", Code.UNKNOWN),
        (400, b"", Code.INVALID_ARGUMENT),
        (401, b"<html/>", Code.UNAUTHENTICATED),
        (403, b"", Code.PERMISSION_DENIED),
        (404, b"", Code.UNIMPLEMENTED),
        (418, b"", Code.INVALID_ARGUMENT),
        (429, b"", Code.RESOURCE_EXHAUSTED),
        (500, b"stack trace of /srv/secret", Code.INTERNAL),
        (500, envelope(ANSWER), Code.INTERNAL),
        (502, b"", Code.UNAVAILABLE),
        (503, b"", Code.UNAVAILABLE),
        (504, b"", Code.DEADLINE_EXCEEDED),
    ],
)
async def test_answers_that_are_no_reply(status: int, body: bytes, code: Code) -> None:
    async with upstream() as peer, Caller(target=peer.url) as caller:
        peer.reply = HttpReply(status, [("Retry-After", "7")], body)
        told = await failure(caller)
        assert told.code is code, told
        assert "secret" not in told.text and peer.url not in told.text
        assert told.retry_after == (7.0 if status >= 300 else None)


async def test_a_server_that_is_down_or_slow_or_too_talkative() -> None:
    async with Caller(target="http://127.0.0.1:1/soap") as caller:
        told = await failure(caller)
        assert (told.code, told.sent) == (Code.UNAVAILABLE, False)
    async with upstream() as peer, Caller(target=peer.url, max_message_bytes=2000) as caller:
        peer.delay = 5.0
        told = await failure(caller, Context(deadline=asyncio.get_running_loop().time() + 0.1))
        assert (told.code, told.sent) == (Code.DEADLINE_EXCEEDED, True)
        peer.delay = 0.0
        peer.reply = HttpReply(200, [], envelope(ANSWER + " " * 2000))
        told = await failure(caller)
        assert told.code is Code.INTERNAL and "2000 bytes" in told.message


async def test_declared_faults_from_gateway_to_gateway() -> None:
    def out_of_stock(value: Any) -> Any:
        record = service.handlers["PlaceOrder"].contract.failure("OutOfStock")
        assert isinstance(record, Record)
        raise Failure(
            Code.FAILED_PRECONDITION,
            "none left",
            details=[Detail(record.name, plain(record, {"sku": "A", "available": 0}))],
        )

    async with served({"PlaceOrder": out_of_stock}) as service, Caller(target=service.url) as caller:
        told = await failure(caller)
        assert told.code is Code.FAILED_PRECONDITION and told.details[0].value.available == 0


async def test_rpc_encoded_tells_types_and_its_encoding() -> None:
    answer = (
        '<n:GreetResponse xmlns:n="urn:test:rpc:body" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        '<greeting xsi:type="xsd:string">hi</greeting></n:GreetResponse>'
    )
    endpoint = {"wsdl": str(SCHEMAS / "rpc.wsdl"), "service": "Rpc", "port": "Encoded"}
    async with upstream() as peer, Caller(target=peer.url, **endpoint) as caller:
        peer.reply = HttpReply(200, [], envelope(answer))
        contract = caller.contract("Greet")
        value = request(contract.request, {"person": {"name": "Ann", "age": 7}, "times": None})
        reply = await caller.call("Greet", value)
        assert reply.greeting == "hi"
        root = etree.fromstring(peer.requests.pop()[1])
        assert root[0].get(f"{{{SOAP11}}}encodingStyle") == "http://schemas.xmlsoap.org/soap/encoding/"
        xsi = "{http://www.w3.org/2001/XMLSchema-instance}"
        person, times = root[0][0]
        prefix, _, local = person.get(f"{xsi}type", "").partition(":")
        assert (person.nsmap[prefix], local) == ("urn:test:rpc", "Person")
        assert person[1].get(f"{xsi}type") == "xsd:int" and times.get(f"{xsi}nil") == "true"
        peer.reply = HttpReply(200, [], envelope(answer.replace('xsi:type="xsd:string">hi', 'href="#id1">')))
        with pytest.raises(Failure, match="multi-reference"):
            await caller.call("Greet", value)


async def test_username_tokens() -> None:
    async with upstream() as peer:
        async with Caller(target=peer.url, username="ann", password="s<cret") as caller:
            await place(caller)
        root = etree.fromstring(peer.requests.pop()[1])
        assert root.xpath("string(//*[local-name()='Username'])") == "ann"
        assert root.xpath("string(//*[local-name()='Password'])") == "s<cret"
        async with Caller(target=peer.url, username="ann", password="s<cret", password_digest=True) as caller:
            await place(caller)
        root = etree.fromstring(peer.requests.pop()[1])
        nonce, created, digest = (
            str(root.xpath(f"string(//*[local-name()='{name}'])")) for name in ("Nonce", "Created", "Password")
        )
        expected = hashlib.sha1(base64.b64decode(nonce) + created.encode() + b"s<cret").digest()
        assert base64.b64decode(digest) == expected
