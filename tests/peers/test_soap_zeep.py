"""zeep calls the gateway with nothing but its ?wsdl, and judges what our codec writes and reads."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import zeep
from lxml import etree
from support.plain import plain, shown
from support.soap_service import ORDERS, SCHEMAS, served
from zeep.transports import Transport

from gateway.codecs.format import Unknown
from gateway.codecs.xml.format import SoapFormat
from gateway.schema.idl.xml.document import parse_xml
from gateway.schema.idl.xml.wsdl import Wsdl
from gateway.schema.types import Record
from gateway.status import Code, Detail, Failure

ORDER = {"order_id": "o-1", "status": "PLACED", "total_cents": 2**62 + 1, "placed_at": 1_700_000_000_123_000_000}
REQUEST = {"buyer": {"id": "b <1> & é"}, "items": [{"code": "A", "qty": 2}]}


async def zeep_call(url: str, function: Callable[[Any], Any], **client: Any) -> Any:
    """The function with a client of the served WSDL, in a thread: zeep blocks."""

    def run() -> Any:
        with requests.Session() as session:
            session.trust_env = False
            return function(zeep.Client(f"{url}?wsdl", transport=Transport(session=session, timeout=20), **client))

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("port", ["OrdersSoap11", "OrdersSoap12"])
async def test_a_call_in_each_version(port: str) -> None:
    def order(value: Any) -> Any:
        return plain(handler.contract.reply, ORDER)

    async with served({"PlaceOrder": order}) as service:
        handler = service.handlers["PlaceOrder"]
        reply = await zeep_call(service.url, lambda client: client.service.PlaceOrder(**REQUEST), port_name=port)
        value, _, _ = handler.calls[0]
        assert shown(handler.contract.request, value) == REQUEST
        assert (reply.order_id, reply.status, reply.total_cents) == ("o-1", "PLACED", 2**62 + 1)
        assert reply.placed_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)


@pytest.mark.parametrize("port", ["OrdersSoap11", "OrdersSoap12"])
async def test_faults_in_each_version(port: str) -> None:
    def out_of_stock(value: Any) -> Any:
        record = service.handlers["PlaceOrder"].contract.failure("OutOfStock")
        assert record is not None
        detail = Detail(record.name, plain(record, {"sku": "A", "available": 1}))
        raise Failure(Code.FAILED_PRECONDITION, "none left", details=[detail])

    def call(client: Any) -> Any:
        with pytest.raises(zeep.exceptions.Fault) as caught:
            client.service.PlaceOrder(**REQUEST)
        fault = caught.value
        element = client.wsdl.types.get_element("{urn:shop:orders:v1}OutOfStockFault")
        return fault, element.parse(fault.detail[0], client.wsdl.types)

    async with served({"PlaceOrder": out_of_stock}) as service:
        fault, detail = await zeep_call(service.url, call, port_name=port)
        assert fault.message == "none left"
        assert (detail.sku, detail.available) == ("A", 1)


async def test_one_way() -> None:
    async with served({"RegisterEvent": lambda value: None}) as service:
        at = datetime(2026, 1, 31, 13, 30, tzinfo=UTC)
        await zeep_call(service.url, lambda client: client.service.RegisterEvent(order_id="o", status="PAID", at=at))
        assert service.handlers["RegisterEvent"].calls[0][0].at == int(at.timestamp()) * 10**9


async def test_an_rpc_call_with_a_header() -> None:
    def greet(value: Any) -> Any:
        return plain(handler.contract.reply, {"greeting": f"{value.person.name} {value.times}"})

    endpoint = {"wsdl": str(SCHEMAS / "rpc.wsdl"), "service": "Rpc", "port": "Literal"}
    async with served({"Greet": greet}, frozenset({"session"}), **endpoint) as service:
        handler = service.handlers["Greet"]
        reply = await zeep_call(
            service.url,
            lambda client: client.service.Greet(person={"name": "Ann"}, times=2, _soapheaders={"session": "s-1"}),
            service_name="Rpc",
            port_name="Literal",
        )
        # zeep unwraps a reply of one part.
        assert getattr(reply, "greeting", reply) == "Ann 2"
        assert handler.calls[0][1].headers == [("session", "s-1")]


EVERYTHING: dict[str, Any] = {
    "flag": True,
    "int32": -1,
    "int64": 2**62 + 1,
    "uint32": 2**32 - 1,
    "uint64": 2**64 - 1,
    "integer": 10**30,
    "float32": 1.5,
    "float64": 0.1,
    "decimal": Decimal("12345678901234567890.10"),
    "text": 'a <b> & "c"',
    "base64": b"\x00\xff",
    "hex": b"\xab",
    "at": 1_700_000_000_123_000_000,
    "took": 90_000_000_000,
    "colour": "RED",
    "codes": [1, 2],
    "note": None,
    "notes": ["a", "b"],  # zeep drops nil items
    "price": {"value": Decimal("1.50"), "currency": "EUR"},
    "labels": {"k": 1},
    "tree": {"name": "a", "children": [{"name": "b", "children": []}]},
    "part": {"number": 4},
    "remark": "so",
    "by_card": "1234",
    "choice": [{"step": 1}, {"turn": "left"}, {"step": 2}],
    "any": [],
    "pets": [],
    "id": "x",
    "version": "1",
    "lang": "en",
    "priority": 7,
}


def test_zeep_reads_what_our_codec_writes_and_writes_what_it_reads() -> None:
    path = SCHEMAS / "everything.wsdl"
    operation = Wsdl(path).port().operation("Echo")
    record = operation.request
    assert isinstance(record, Record)
    types = zeep.Client(str(path)).wsdl.types
    element = types.get_element("{urn:test:everything}everything")
    text = SoapFormat().encoder(record)(plain(record, EVERYTHING))
    seen = element.parse(parse_xml(text.encode()), types)
    assert (seen.int64, seen.uint64, seen.integer) == (2**62 + 1, 2**64 - 1, 10**30)
    assert (seen.decimal, seen.text, seen.base64, seen.flag) == (
        EVERYTHING["decimal"],
        EVERYTHING["text"],
        b"\x00\xff",
        True,
    )
    assert (seen.price._value_1, seen.price.currency, seen.lang, seen.priority) == (Decimal("1.50"), "EUR", "en", 7)
    assert seen.at == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert seen.tree.children[0].name == "b" and seen.by_card == "1234"
    parent = etree.Element("parent")
    element.render(parent, seen)
    (again,) = parent
    read = SoapFormat().decoder(record, Unknown.REJECT)(parse_xml(etree.tostring(again)))
    assert shown(record, read) == EVERYTHING


def test_zeep_sees_the_same_operations() -> None:
    theirs = zeep.Client(ORDERS).wsdl.services["Orders"].ports
    ours = Wsdl(Path(ORDERS)).services["Orders"]
    assert set(theirs) == set(ours)
    for name, port in ours.items():
        assert set(theirs[name].binding._operations) == set(port.operations)
        for operation in port.operations:
            assert theirs[name].binding.get(operation).soapaction == port.operation(operation).wire.action
