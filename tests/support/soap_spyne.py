"""An independent SOAP server, run as a program: spyne under wsgiref. Arguments: 1.1 or 1.2. Prints its port.

It describes itself with a WSDL of its own making at ?wsdl.
"""

import sys
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import Application, Array, ComplexModel, Enum, Fault, ServiceBase, Unicode, rpc
from spyne.model.binary import ByteArray
from spyne.model.complex import XmlAttribute
from spyne.model.primitive import Boolean, Date, DateTime, Decimal, Double, Integer32, Integer64
from spyne.protocol.soap import Soap11, Soap12
from spyne.server.wsgi import WsgiApplication

NAMESPACE = "urn:spyne:orders"
Status = Enum("PLACED", "PAID", type_name="Status")


class Item(ComplexModel):
    __namespace__ = NAMESPACE
    code = Unicode(min_occurs=1)
    qty = Integer32(min_occurs=1)
    note = XmlAttribute(Unicode)


class Order(ComplexModel):
    __namespace__ = NAMESPACE
    order_id = Unicode
    status = Status
    total_cents = Integer64
    placed_at = DateTime
    day = Date
    items = Array(Item)
    tags = Unicode(max_occurs="unbounded")
    weight = Double
    price = Decimal
    urgent = Boolean
    photo = ByteArray


class Orders(ServiceBase):
    @rpc(Order, _returns=Order)
    def Echo(ctx: Any, order: Any) -> Any:
        return order

    @rpc(Unicode, _returns=Order)
    def Fail(ctx: Any, how: str) -> Any:
        raise Fault(faultcode=how, faultstring="it failed & so on", detail=None)

    @rpc(Unicode, Integer32, _returns=Unicode)
    def Say(ctx: Any, name: str, times: int) -> str:
        return name * times


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Not to the test's output."""


def application(version: str) -> Any:
    protocol = Soap11 if version == "1.1" else Soap12
    return WsgiApplication(
        Application([Orders], NAMESPACE, name="Orders", in_protocol=protocol(validator="lxml"), out_protocol=protocol())
    )


def main() -> None:
    server = make_server("127.0.0.1", 0, application(sys.argv[1]), handler_class=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
