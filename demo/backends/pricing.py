"""The pricing service: Thrift, by thriftpy2."""

from typing import Any

import thriftpy2
from thriftpy2.contrib.aio.processor import TAsyncProcessor
from thriftpy2.contrib.aio.protocol.binary import TAsyncBinaryProtocolFactory
from thriftpy2.contrib.aio.server import TAsyncServer
from thriftpy2.contrib.aio.socket import TAsyncServerSocket
from thriftpy2.contrib.aio.transport.framed import TAsyncFramedTransportFactory

from demo.addresses import split
from demo.backends.goods import GOODS
from demo.backends.inbox import Inbox
from demo.contract import SCHEMAS

DISCOUNT_FROM = 10
DISCOUNT = 0.125


class PricingService:
    """Binary protocol, framed transport."""

    def __init__(self) -> None:
        self.inbox = Inbox("the Thrift pricing service")
        self._types: Any = thriftpy2.load(str(SCHEMAS / "pricing.thrift"))
        self._server: Any = None

    async def start(self, address: str) -> None:
        host, port = split(address)
        # Without None it closes each connection three seconds after it was accepted.
        listener = TAsyncServerSocket(host=host, port=port, client_timeout=None)
        processor = TAsyncProcessor(self._types.Pricing, self)
        server = TAsyncServer(
            processor,
            listener,
            itrans_factory=TAsyncFramedTransportFactory(),
            iprot_factory=TAsyncBinaryProtocolFactory(),
        )
        listener.listen()
        self._server = await listener.accept(server.handle)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def quote(self, sku: str, quantity: int) -> Any:
        """The function of the IDL."""
        await self.inbox.put("quote", f"quote(sku={sku!r}, quantity={quantity})", (sku, quantity))
        if sku not in GOODS:
            raise self._types.UnknownSku(sku=sku)
        discount = DISCOUNT if quantity >= DISCOUNT_FROM else 0.0
        total = round(GOODS[sku].cents * quantity * (1 - discount))
        return self._types.Quote(sku=sku, quantity=quantity, total_cents=total, discount=discount)
