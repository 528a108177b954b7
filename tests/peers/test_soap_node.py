"""npm's soap and strong-soap call the gateway with nothing but its ?wsdl."""

from typing import Any

import pytest
from support.node import Node
from support.plain import plain, shown
from support.soap_service import SCHEMAS, served

from gateway.status import Code, Detail, Failure

ORDER = {"order_id": "o-1", "status": "PLACED", "total_cents": 2**53 - 1, "placed_at": 1_700_000_000_000_000_000}
REQUEST = {"buyer": {"id": "b <1> & é"}, "items": [{"code": "A", "qty": 2}]}


NODE = Node("soap")


async def _call(library: str, url: str, operation: str, arguments: Any, version: str = "1.1") -> Any:
    """What the library made of one call: {"result": ...} or {"fault": ..., "message": ...}."""
    return (await NODE.run("call.mjs", library, f"{url}?wsdl", operation, arguments, version))[-1]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize("library", ["soap", "strong-soap"])
async def test_a_call(library: str, version: str) -> None:
    def order(value: Any) -> Any:
        return plain(handler.contract.reply, ORDER)

    async with served({"PlaceOrder": order}) as service:
        handler = service.handlers["PlaceOrder"]
        answer = await _call(library, service.url, "PlaceOrder", REQUEST, version)
        assert "result" in answer, answer
        value, _, _ = handler.calls[0]
        assert shown(handler.contract.request, value) == REQUEST
        result = answer["result"]
        assert (result["order_id"], result["status"]) == ("o-1", "PLACED")
        assert int(result["total_cents"]) == 2**53 - 1
        assert result["placed_at"].startswith("2023-11-14T22:13:20")


@pytest.mark.parametrize("library", ["soap", "strong-soap"])
async def test_a_declared_fault(library: str) -> None:
    def out_of_stock(value: Any) -> Any:
        record = service.handlers["PlaceOrder"].contract.failure("OutOfStock")
        assert record is not None
        raise Failure(
            Code.FAILED_PRECONDITION,
            "none left",
            details=[Detail(record.name, plain(record, {"sku": "A", "available": 1}))],
        )

    async with served({"PlaceOrder": out_of_stock}) as service:
        answer = await _call(library, service.url, "PlaceOrder", REQUEST)
        fault = answer["fault"]
        # strong-soap takes the WSDL's last port, which speaks SOAP 1.2.
        soap12 = "Code" in fault
        text = fault["Reason"]["Text"]["$value"] if soap12 else fault["faultstring"]
        assert (text, soap12) == ("none left", library == "strong-soap"), answer
        detail = fault["Detail" if soap12 else "detail"]["OutOfStockFault"]
        assert (detail["sku"], int(detail["available"])) == ("A", 1)


@pytest.mark.parametrize("library", ["soap", "strong-soap"])
async def test_an_rpc_call(library: str) -> None:
    def greet(value: Any) -> Any:
        return plain(handler.contract.reply, {"greeting": f"{value.person.name} {value.times}"})

    endpoint = {"wsdl": str(SCHEMAS / "rpc.wsdl"), "service": "Rpc", "port": "Literal"}
    async with served({"Greet": greet}, **endpoint) as service:
        handler = service.handlers["Greet"]
        arguments = {"person": {"name": "Ann", "age": 7}, "times": 2}
        answer = await _call(library, service.url, "Greet", arguments)
        assert "result" in answer, answer
        assert answer["result"]["greeting"] == "Ann 2"
