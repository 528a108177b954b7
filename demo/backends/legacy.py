"""The legacy order service: SOAP 1.1 and 1.2, the operations of schemas/orders.wsdl."""

from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from aiohttp import web
from lxml import etree

from demo.backends.http_service import HttpService
from demo.backends.inbox import Inbox
from demo.contract import SCHEMAS

NAMESPACE: Final = "urn:shop:orders:v1"
SOAP_11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12: Final = "http://www.w3.org/2003/05/soap-envelope"
OLD_ORDERS: Final = {"L-17": ("SHIPPED", 9_007_199_254_740_993, "1999-12-31T23:59:59.5Z")}
"""Orders that only this service has. The total is the first integer that a JSON number in floating point can't hold."""


class LegacyService(HttpService):
    """One address, operations told apart by the body's element."""

    def __init__(self) -> None:
        self.inbox = Inbox("the legacy SOAP service")
        app = web.Application()
        app.router.add_post("/orders", self._serve)
        app.router.add_get("/orders", self._wsdl)
        super().__init__(app)

    async def _wsdl(self, request: web.Request) -> web.Response:
        return web.Response(body=(SCHEMAS / "orders.wsdl").read_bytes(), content_type="text/xml")

    async def _serve(self, request: web.Request) -> web.Response:
        try:
            envelope = etree.fromstring(await request.read(), etree.XMLParser(resolve_entities=False, no_network=True))
            version = etree.QName(envelope).namespace or ""
            element = envelope.find(f"{{{version}}}Body")[0]  # type: ignore[index]
        except (etree.XMLSyntaxError, TypeError, IndexError):
            return _fault(SOAP_11, "not a SOAP envelope")
        operation = etree.QName(element).localname
        values = {etree.QName(child).localname: child.text or "" for child in element}
        etree.cleanup_namespaces(element)
        await self.inbox.put(operation, etree.tostring(element, encoding="unicode", pretty_print=True).strip(), values)
        match operation:
            case "RegisterEvent":
                return web.Response(status=202)
            case "GetOrder":
                found = OLD_ORDERS.get(values.get("order_id", ""))
                if found is None:
                    return _fault(version, f"no order {values.get('order_id', '')}")
                return _order(version, "GetOrderResponse", values["order_id"], *found)
            case "PlaceOrder":
                now = datetime.now(UTC).isoformat()
                return _order(version, "PlaceOrderResponse", "L-18", "PLACED", 0, now)
            case _:
                return _fault(version, f"no operation {operation}")


def _order(version: str, element: str, order_id: str, status: str, cents: int, placed_at: str) -> web.Response:
    return _envelope(
        version,
        f'<{element} xmlns="{NAMESPACE}"><order_id>{escape(order_id)}</order_id><status>{status}</status>'
        f"<total_cents>{cents}</total_cents><placed_at>{placed_at}</placed_at></{element}>",
        200,
    )


def _fault(version: str, reason: str) -> web.Response:
    if version == SOAP_12:
        fault = (
            "<e:Fault><e:Code><e:Value>e:Sender</e:Value></e:Code>"
            f'<e:Reason><e:Text xml:lang="en">{escape(reason)}</e:Text></e:Reason></e:Fault>'
        )
        return _envelope(version, fault, 400)
    fault = f"<e:Fault><faultcode>e:Client</faultcode><faultstring>{escape(reason)}</faultstring></e:Fault>"
    return _envelope(version, fault, 500)


def _envelope(version: str, body: str, status: int) -> web.Response:
    text = f'<e:Envelope xmlns:e="{version}"><e:Body>{body}</e:Body></e:Envelope>'
    content_type = "application/soap+xml" if version == SOAP_12 else "text/xml"
    return web.Response(text=text, status=status, content_type=content_type)
