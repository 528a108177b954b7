"""ThriftClient: calls the order service as Thrift clients see it, by thriftpy2."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import thriftpy2
from thriftpy2.protocol import TCyBinaryProtocolFactory
from thriftpy2.rpc import client_context
from thriftpy2.transport import TCyFramedTransportFactory

from demo.addresses import split
from demo.contract import SCHEMAS
from demo.report import Report

TIMEOUT_MS: Final = 10_000


class ThriftClient:
    """A connection for each call."""

    def __init__(self, address: str, report: Report) -> None:
        self._place = split(address)
        self._report = report
        self._types: Any = thriftpy2.load(str(SCHEMAS / "orders.thrift"))

    async def place_order(self, customer_id: str, lines: Mapping[str, int]) -> Any:
        """The order, or the declared exception."""
        types = self._types
        ordered = [types.OrderLine(sku=sku, quantity=quantity) for sku, quantity in lines.items()]
        request = types.PlaceOrderRequest(customer_id=customer_id, lines=ordered, channel="thrift")
        self._report.sent("Thrift PlaceOrder  binary, framed", repr(request), "python")
        self._report.start()
        reply = await asyncio.to_thread(self._call, request)
        self._report.stop()
        self._report.replied("exception" if isinstance(reply, Exception) else "reply", repr(reply), "python")
        return reply

    def _call(self, request: Any) -> Any:
        host, port = self._place
        with client_context(
            self._types.Orders,
            host,
            port,
            proto_factory=TCyBinaryProtocolFactory(),
            trans_factory=TCyFramedTransportFactory(),
            socket_timeout=TIMEOUT_MS,
        ) as client:
            try:
                return client.PlaceOrder(request)
            except self._types.OutOfStock as refused:
                return refused
