"""SOAP dialogues as bytes: what a caller sends and gets, over a real socket."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from lxml import etree
from support.plain import plain, shown
from support.soap_service import SCHEMAS, served

from adapters.soap.status import TO_WIRE
from adapters.soap.wire import FAILURE_NAMESPACE
from gateway.net.http.client import HttpAnswer, HttpClient
from gateway.schema.types import Record
from gateway.status import Code, Detail, Failure

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
BODY = (
    '<p:PlaceOrder xmlns:p="urn:shop:orders:v1"><p:buyer><p:id>b-1</p:id></p:buyer>'
    "<p:items><p:code>A</p:code><p:qty>2</p:qty></p:items></p:PlaceOrder>"
)
ORDER = {"order_id": "o-1", "status": "PLACED", "total_cents": 1250, "placed_at": 1_700_000_000_000_000_000}


def envelope(body: str, version: str = SOAP11, header: str = "") -> bytes:
    head = f"<s:Header>{header}</s:Header>" if header else ""
    return f'<s:Envelope xmlns:s="{version}">{head}<s:Body>{body}</s:Body></s:Envelope>'.encode()


def content(version: str = SOAP11) -> str:
    return "text/xml; charset=utf-8" if version == SOAP11 else "application/soap+xml; charset=utf-8"


async def post(
    url: str, body: bytes, content_type: str = content(), headers: Sequence[tuple[str, str]] = ()
) -> HttpAnswer:
    client = HttpClient(1_000_000)
    try:
        return await client.request("POST", url, [("Content-Type", content_type), *headers], body)
    finally:
        await client.close()


async def get(url: str) -> HttpAnswer:
    client = HttpClient(1_000_000)
    try:
        return await client.request("GET", url)
    finally:
        await client.close()


def text_of(answer: HttpAnswer, path: str) -> str:
    """The text at a path of local names in the answer's envelope."""
    steps = "/".join(f"*[local-name()='{name}']" for name in path.split("/"))
    found = etree.fromstring(answer.body).xpath(f"string(/*/*[local-name()='Body']/{steps})")
    return str(found)


def order(request: Any) -> Any:
    raise AssertionError("set by the test")


def replying(types: dict[str, Record], value: dict[str, Any]) -> Any:
    return lambda request: plain(types["reply"], value)


def raising(failure: Failure) -> Any:
    def raise_it(request: Any) -> Any:
        raise failure

    return raise_it


async def test_a_call_in_both_versions() -> None:
    types: dict[str, Record] = {}
    async with served({"PlaceOrder": replying(types, ORDER)}) as service:
        handler = service.handlers["PlaceOrder"]
        types["reply"] = handler.contract.reply
        for version in (SOAP11, SOAP12):
            answer = await post(service.url, envelope(BODY, version), content(version))
            assert answer.status == 200
            assert answer.headers["content-type"] == content(version)
            root = etree.fromstring(answer.body)
            assert root.tag == f"{{{version}}}Envelope"
            assert root[0][0].tag == "{urn:shop:orders:v1}PlaceOrderResponse"
            assert text_of(answer, "PlaceOrderResponse/placed_at") == "2023-11-14T22:13:20Z"
            assert text_of(answer, "PlaceOrderResponse/status") == "PLACED"
        value, _, _ = handler.calls[0]
        assert shown(handler.contract.request, value) == {"buyer": {"id": "b-1"}, "items": [{"code": "A", "qty": 2}]}


async def test_a_one_way_call_is_accepted_without_a_body() -> None:
    body = (
        '<RegisterEvent xmlns="urn:shop:orders:v1"><order_id>o</order_id><status>PAID</status>'
        "<at>2026-01-31T13:30:00+01:00</at></RegisterEvent>"
    )
    async with served({"RegisterEvent": lambda request: None}) as service:
        answer = await post(service.url, envelope(body))
        assert (answer.status, answer.body) == (202, b"")
        value, _, _ = service.handlers["RegisterEvent"].calls[0]
        assert value.at == 1_769_862_600_000_000_000


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (BODY.replace("2<", "many<"), "$.items[0].qty", "not a whole number"),
        (BODY.replace("<p:buyer><p:id>b-1</p:id></p:buyer>", ""), "$.buyer", "buyer is missing"),
        (BODY.replace("</p:items>", "<p:colour/></p:items>"), "$.items[0].colour", "no member colour"),
    ],
)
async def test_an_invalid_request_is_the_senders_fault_with_the_path(body: str, path: str, words: str) -> None:
    async with served({"PlaceOrder": order}) as service:
        answer = await post(service.url, envelope(body))
        assert (answer.status, text_of(answer, "Fault/faultcode")) == (500, "soap:Client")
        assert words in text_of(answer, "Fault/faultstring") and path in text_of(answer, "Fault/faultstring")
        assert text_of(answer, "Fault/detail/failure/path") == path
        assert text_of(answer, "Fault/detail/failure/code") == "INVALID_ARGUMENT"
        answer = await post(service.url, envelope(body, SOAP12), content(SOAP12))
        assert (answer.status, text_of(answer, "Fault/Code/Value")) == (400, "soap:Sender")
        assert words in text_of(answer, "Fault/Reason/Text")
        assert text_of(answer, "Fault/Detail/failure/path") == path


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_every_code_is_a_fault(code: Code) -> None:
    failure = Failure(code, "so it is & so <it> \x00stays", retry_after=2.0)
    async with served({"PlaceOrder": raising(failure)}) as service:
        answer = await post(service.url, envelope(BODY))
        assert answer.status == 500 and answer.headers["retry-after"] == "2"
        assert text_of(answer, "Fault/faultcode") == f"soap:{TO_WIRE[code].value[0]}"
        assert text_of(answer, "Fault/faultstring") == "so it is & so <it> \ufffdstays"
        assert text_of(answer, "Fault/detail/failure/code") == code.name
        answer = await post(service.url, envelope(BODY, SOAP12), content(SOAP12))
        assert text_of(answer, "Fault/Code/Subcode/Value").endswith(f":{code.name}")


async def test_a_declared_fault_is_the_detail() -> None:
    def out_of_stock(request: Any) -> Any:
        record = service.handlers["PlaceOrder"].contract.failure("shop.orders.v1.OutOfStock")
        assert record is not None
        value = plain(record, {"sku": "A", "available": 1})
        raise Failure(Code.FAILED_PRECONDITION, "out of stock", details=[Detail(record.name, value)])

    async with served({"PlaceOrder": out_of_stock}) as service:
        for version, detail in ((SOAP11, "detail"), (SOAP12, "Detail")):
            answer = await post(service.url, envelope(BODY, version), content(version))
            assert text_of(answer, f"Fault/{detail}/OutOfStockFault/sku") == "A"
            assert text_of(answer, f"Fault/{detail}/OutOfStockFault/available") == "1"
            assert FAILURE_NAMESPACE not in etree.fromstring(answer.body).xpath(
                f"string(//{'*'}[local-name()='{detail}'])"
            )


async def test_an_undeclared_detail_is_kept_as_json() -> None:
    failure = Failure(Code.FAILED_PRECONDITION, "no", details=[Detail("Quota", {"left": 0})])
    async with served({"PlaceOrder": raising(failure)}) as service:
        answer = await post(service.url, envelope(BODY))
        assert text_of(answer, "Fault/detail/failure/detail") == '{"left":0}'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("SOAPAction", '"urn:shop:orders:v1:PlaceOrder"')], BODY.replace("urn:shop:orders:v1", "urn:elsewhere", 0)),
        ([], BODY),
        ([("SOAPAction", '""')], BODY),
        ([("SOAPAction", '"urn:something:else"')], BODY),
    ],
)
async def test_the_operation_is_found_by_the_body_whatever_the_action_says(
    headers: list[tuple[str, str]], body: str
) -> None:
    types: dict[str, Record] = {}
    async with served({"PlaceOrder": replying(types, ORDER), "GetOrder": order}) as service:
        types["reply"] = service.handlers["PlaceOrder"].contract.reply
        assert (await post(service.url, envelope(body), headers=headers)).status == 200


async def test_an_operation_without_a_route_is_named() -> None:
    async with served({"PlaceOrder": order}) as service:
        answer = await post(service.url, envelope('<GetOrder xmlns="urn:shop:orders:v1"/>'))
        assert text_of(answer, "Fault/faultcode") == "soap:Client"
        assert "GetOrder is declared and has no route" in text_of(answer, "Fault/faultstring")
        answer = await post(service.url, envelope(""))
        assert "the body is empty" in text_of(answer, "Fault/faultstring")


async def test_must_understand() -> None:
    for version in (SOAP11, SOAP12):
        block = f'<x:lock xmlns:x="urn:x" xmlns:s="{version}" s:mustUnderstand="1"/>'
        async with served({"PlaceOrder": order}) as service:
            answer = await post(service.url, envelope(BODY, version, block), content(version))
            value = text_of(answer, "Fault/faultcode" if version == SOAP11 else "Fault/Code/Value")
            assert value == "soap:MustUnderstand"
            if version == SOAP12:
                (header,) = etree.fromstring(answer.body).findall(f"{{{SOAP12}}}Header/{{{SOAP12}}}NotUnderstood")
                prefix, _, local = header.get("qname", "").partition(":")
                assert (header.nsmap[prefix], local) == ("urn:x", "lock")
            assert not service.handlers["PlaceOrder"].calls


async def test_headers_that_are_declared_or_for_others_do_not_stop_a_call() -> None:
    types: dict[str, Record] = {}
    header = (
        '<r:session xmlns:r="urn:test:rpc" s:mustUnderstand="1"> s-1 </r:session>'
        '<x:a xmlns:x="urn:x"/><x:b xmlns:x="urn:x" s:mustUnderstand="1" s:actor="urn:somebody"/>'
    )
    body = '<r:Greet xmlns:r="urn:test:rpc:body"><person><name>Ann</name></person><times>2</times></r:Greet>'
    endpoint: dict[str, Any] = {"wsdl": str(SCHEMAS / "rpc.wsdl"), "service": "Rpc", "port": "Literal"}
    wanted = frozenset({"session", "x-id"})
    async with served({"Greet": replying(types, {"greeting": "hi"})}, wanted, **endpoint) as service:
        handler = service.handlers["Greet"]
        types["reply"] = handler.contract.reply
        answer = await post(service.url, envelope(body, header=header), headers=[("X-Id", "7"), ("X-Other", "8")])
        assert answer.status == 200, answer.body
        root = etree.fromstring(answer.body)
        assert root[0][0].tag == "{urn:test:rpc:body}GreetResponse" and root[0][0][0].tag == "greeting"
        _, message, _ = handler.calls[0]
        assert sorted(message.headers) == [("session", "s-1"), ("x-id", "7")]


async def test_version_mismatch_and_what_is_no_envelope() -> None:
    async with served({"PlaceOrder": order}) as service:
        answer = await post(service.url, envelope(BODY, "urn:soap:2.0"))
        assert text_of(answer, "Fault/faultcode") == "soap:VersionMismatch"
        for body, words in (
            (b"<a/>", "a SOAP envelope is expected"),
            (b"", "not well-formed"),
            (f'<s:Envelope xmlns:s="{SOAP11}"/>'.encode(), "no Body"),
            (b"<!DOCTYPE a><a/>", "DOCTYPE"),
            (envelope(BODY).replace(b"b-1", b"\xff"), "not well-formed"),
            (envelope(BODY.replace("b-1", "<a>" * 70 + "</a>" * 70)), "deeper than 64"),
        ):
            answer = await post(service.url, body)
            assert (answer.status, text_of(answer, "Fault/faultcode")) == (500, "soap:Client")
            assert words in text_of(answer, "Fault/faultstring")


async def test_content_types_and_sizes() -> None:
    async with served({"PlaceOrder": order}, max_message_bytes=1000) as service:
        answer = await post(service.url, envelope(BODY), "application/json")
        assert answer.status == 415 and "application/json" in text_of(answer, "Fault/faultstring")
        answer = await post(service.url, envelope(BODY.replace("b-1", "b" * 1000)))
        assert answer.status == 413 and "1000 bytes" in text_of(answer, "Fault/faultstring")
        answer = await post(service.url, envelope(BODY), headers=[("Content-Encoding", "compress")])
        assert answer.status == 415 and "compress is not read" in text_of(answer, "Fault/faultstring")
        assert "gzip" in answer.headers["accept-encoding"]
        answer = await get(service.url)
        assert answer.status == 404


async def test_the_trace_context_reaches_the_route() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with served({"PlaceOrder": raising(Failure(Code.ABORTED, "seen"))}) as service:
        await post(service.url, envelope(BODY), headers=[("traceparent", trace)])
        _, _, context = service.handlers["PlaceOrder"].calls[0]
        assert (context.trace, context.peer) == (trace, "127.0.0.1")


async def test_the_wsdl_is_served_with_the_address_that_was_asked() -> None:
    async with served({"PlaceOrder": order}) as service:
        answer = await get(service.url + "?wsdl")
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/xml")
        addresses = etree.fromstring(answer.body).xpath("//*[local-name()='address']/@location")
        assert addresses == [service.url, service.url]


async def test_imported_schemas_are_served_too() -> None:
    async with served({"Echo": order}, wsdl=str(SCHEMAS / "everything.wsdl")) as service:
        root = etree.fromstring((await get(service.url + "?WSDL")).body)
        (location,) = root.xpath("//*[local-name()='import']/@schemaLocation")
        assert location == f"{service.url}?xsd=everything.xsd"
        (inner,) = etree.fromstring((await get(location)).body).xpath("//*[local-name()='import']/@schemaLocation")
        assert etree.fromstring((await get(inner)).body).get("targetNamespace") == "urn:test:parts"
        for outside in ("?xsd=../../pyproject.toml", "?xsd=%2Fetc%2Fpasswd", "?xsd=orders.wsdl", "?other"):
            assert (await get(service.url + outside)).status == 404


async def test_a_bare_message_of_simple_type() -> None:
    types: dict[str, Record] = {}
    endpoint = {"wsdl": str(SCHEMAS / "rpc.wsdl"), "service": "Bare"}
    async with served({"GetPrice": replying(types, {"value": Decimal("9.90")})}, **endpoint) as service:
        handler = service.handlers["GetPrice"]
        types["reply"] = handler.contract.reply
        answer = await post(service.url, envelope('<Sku xmlns="urn:test:rpc">A-1</Sku>'))
        assert text_of(answer, "Price") == "9.90"
        assert handler.calls[0][0].value == "A-1"
