"""SOAP to gRPC by hand: lxml reads the envelope into protoc's classes, and writes the reply from them."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import bench_pb2
import bench_pb2_grpc
import grpc
from fastapi import FastAPI, Request, Response
from lxml import etree

SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
NS = "{urn:bench:v1}"
parser = etree.XMLParser(resolve_entities=False, no_network=True)


def read_small(element: Any) -> Any:
    return bench_pb2.Small(
        order_id=element.findtext(f"{NS}orderId"),
        customer_id=element.findtext(f"{NS}customerId"),
        quantity=int(element.findtext(f"{NS}quantity")),
        total_cents=int(element.findtext(f"{NS}totalCents")),
        paid=element.findtext(f"{NS}paid") == "true",
        status=element.findtext(f"{NS}status"),
    )


def read_line(element: Any) -> Any:
    return bench_pb2.Line(
        sku=element.findtext(f"{NS}sku"),
        title=element.findtext(f"{NS}title"),
        quantity=int(element.findtext(f"{NS}quantity")),
        unit_cents=int(element.findtext(f"{NS}unitCents")),
        weight=float(element.findtext(f"{NS}weight")),
        gift=element.findtext(f"{NS}gift") == "true",
        status=element.findtext(f"{NS}status"),
        lots=[int(lot.text) for lot in element.findall(f"{NS}lots")],
    )


def read_order(element: Any) -> Any:
    return bench_pb2.Order(
        order_id=element.findtext(f"{NS}orderId"),
        customer_id=element.findtext(f"{NS}customerId"),
        total_cents=int(element.findtext(f"{NS}totalCents")),
        discount=float(element.findtext(f"{NS}discount")),
        paid=element.findtext(f"{NS}paid") == "true",
        status=element.findtext(f"{NS}status"),
        notes=[note.text for note in element.findall(f"{NS}notes")],
        labels={
            entry.findtext(f"{NS}key"): entry.findtext(f"{NS}value")
            for entry in element.iterfind(f"{NS}labels/{NS}entry")
        },
        lines=[read_line(line) for line in element.findall(f"{NS}lines")],
    )


def add(parent: Any, name: str, text: str) -> None:
    etree.SubElement(parent, NS + name).text = text


def write_small(parent: Any, reply: Any) -> None:
    add(parent, "orderId", reply.order_id)
    add(parent, "customerId", reply.customer_id)
    add(parent, "quantity", str(reply.quantity))
    add(parent, "totalCents", str(reply.total_cents))
    add(parent, "paid", "true" if reply.paid else "false")
    add(parent, "status", bench_pb2.Status.Name(reply.status))


def write_line(parent: Any, line: Any) -> None:
    add(parent, "sku", line.sku)
    add(parent, "title", line.title)
    add(parent, "quantity", str(line.quantity))
    add(parent, "unitCents", str(line.unit_cents))
    add(parent, "weight", repr(line.weight))
    add(parent, "gift", "true" if line.gift else "false")
    add(parent, "status", bench_pb2.Status.Name(line.status))
    for lot in line.lots:
        add(parent, "lots", str(lot))


def write_order(parent: Any, reply: Any) -> None:
    add(parent, "orderId", reply.order_id)
    add(parent, "customerId", reply.customer_id)
    add(parent, "totalCents", str(reply.total_cents))
    add(parent, "discount", repr(reply.discount))
    add(parent, "paid", "true" if reply.paid else "false")
    add(parent, "status", bench_pb2.Status.Name(reply.status))
    for note in reply.notes:
        add(parent, "notes", note)
    labels = etree.SubElement(parent, NS + "labels")
    for key, value in reply.labels.items():
        entry = etree.SubElement(labels, NS + "entry")
        add(entry, "key", key)
        add(entry, "value", value)
    for line in reply.lines:
        write_line(etree.SubElement(parent, NS + "lines"), line)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(os.environ["BENCH_BACKEND"]) as channel:
        stub = bench_pb2_grpc.EchoStub(channel)
        app.state.operations = {
            f"{NS}EchoSmall": (read_small, stub.EchoSmall, write_small),
            f"{NS}EchoOrder": (read_order, stub.EchoOrder, write_order),
        }
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/soap")
async def soap(request: Request) -> Response:
    try:
        root = etree.fromstring(await request.body(), parser)
        operation = root[-1][0]
        read, method, write = app.state.operations[operation.tag]
        message = read(operation)
    except (etree.XMLSyntaxError, TypeError, ValueError, KeyError, IndexError):
        return fault("Client", "the request can't be read")
    try:
        reply = await method(message, timeout=30)
    except grpc.aio.AioRpcError as error:
        return fault("Server", error.code().name)

    def fill(body: Any) -> None:
        write(etree.SubElement(body, operation.tag + "Response"), reply)

    return envelope(fill, 200)


def fault(code: str, text: str) -> Response:
    def fill(body: Any) -> None:
        element = etree.SubElement(body, SOAP + "Fault")
        etree.SubElement(element, "faultcode").text = f"soap:{code}"
        etree.SubElement(element, "faultstring").text = text

    return envelope(fill, 500)


def envelope(fill: Callable[[Any], None], status: int) -> Response:
    root = etree.Element(SOAP + "Envelope", nsmap={"soap": SOAP[1:-1], "b": NS[1:-1]})
    fill(etree.SubElement(root, SOAP + "Body"))
    return Response(etree.tostring(root, xml_declaration=True, encoding="utf-8"), status, media_type="text/xml")
