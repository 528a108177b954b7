"""TLS and mutual TLS both ways, against grpcio's own client and server, with certificates made by openssl."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.grpc_orders import OrdersServer, pb2
from support.grpc_ports import ORDERS, FunctionService, calling, service_of, serving

from gateway.message import Context, Message
from gateway.status import Code, Failure


def read(pki: Path, name: str) -> bytes:
    return (pki / name).read_bytes()


async def echo(request: Message, context: Context) -> Message:
    return Message(b"")


async def test_the_inbound_speaks_tls_and_asks_for_certificates(pki: Path) -> None:
    tls: dict[str, Any] = {"certificate": str(pki / "server.pem"), "key": str(pki / "server.key")}

    def call(port: int, *credentials: bytes) -> bytes:
        channel_credentials = grpc.ssl_channel_credentials(read(pki, "ca.pem"), *credentials)
        with grpc.secure_channel(f"127.0.0.1:{port}", channel_credentials) as channel:
            reply: bytes = channel.unary_unary(f"/{ORDERS}/PlaceOrder", None, None)(b"", timeout=5)
            return reply

    services = {f"{ORDERS}/PlaceOrder": FunctionService(echo)}
    async with serving(services, tls=tls) as inbound:
        assert await asyncio.to_thread(call, inbound.port) == b""
    async with serving(services, tls={**tls, "ca": str(pki / "ca.pem")}) as inbound:
        assert await asyncio.to_thread(call, inbound.port, read(pki, "client.key"), read(pki, "client.pem")) == b""
        with pytest.raises(grpc.RpcError):
            await asyncio.to_thread(call, inbound.port)


async def test_the_outbound_verifies_and_shows_its_certificate(pki: Path) -> None:
    pair = [(read(pki, "server.key"), read(pki, "server.pem"))]
    credentials = grpc.ssl_server_credentials(pair, root_certificates=read(pki, "ca.pem"), require_client_auth=True)
    trusted = {"ca": str(pki / "ca.pem"), "certificate": str(pki / "client.pem"), "key": str(pki / "client.key")}
    request = Message(pb2.PlaceOrderRequest(customer_id="ann").SerializeToString())
    with OrdersServer(credentials=credentials) as server:
        for tls in (trusted, {**trusted, "server_name": "server.example"}):
            async with calling(server.port, tls=tls) as outbound:
                service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
                reply = await service.call(request, Context())
            assert pb2.Order.FromString(reply.body).customer_id == "ann"
        for tls in ({}, {"ca": trusted["ca"]}, {**trusted, "server_name": "other.example"}):
            async with calling(server.port, tls=tls) as outbound:
                service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
                with pytest.raises(Failure) as caught:
                    await service.call(request, Context(deadline=asyncio.get_running_loop().time() + 5))
            assert caught.value.code is Code.UNAVAILABLE
            assert "127.0.0.1" not in caught.value.message
