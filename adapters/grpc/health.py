"""grpc.health.v1: https://github.com/grpc/grpc/blob/master/doc/health-checking.md."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

SERVICE: Final = "grpc.health.v1.Health"
_Response: Final[Any] = health_pb2.HealthCheckResponse


class HealthService:
    """Every bound service, and the server as a whole (""), serves until the server drains."""

    def __init__(self) -> None:
        self._services: frozenset[str] = frozenset()
        self._draining = False
        self._changed = asyncio.Event()

    def set_services(self, services: Collection[str]) -> None:
        self._services = frozenset(services)
        self._wake()

    def drain(self) -> None:
        """Everything stops serving; watchers are told and let go."""
        self._draining = True
        self._wake()

    def handlers(self) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
        return {
            f"/{SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, service: str) -> int:
        if service and service not in self._services:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.NOT_SERVING if self._draining else _Response.SERVING)

    async def _check(self, body: bytes, context: Any) -> bytes:
        status = self._status(await _service(body, context))
        if status == _Response.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        reply: bytes = _Response(status=status).SerializeToString()
        return reply

    async def _watch(self, body: bytes, context: Any) -> None:
        service = await _service(body, context)
        last = -1
        while True:
            changed = self._changed
            status = self._status(service)
            if status != last:
                await context.write(_Response(status=status).SerializeToString())
                last = status
            if self._draining:
                return
            await changed.wait()


async def _service(body: bytes, context: Any) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(body).service)
    except DecodeError:
        text = "the bytes are not a grpc.health.v1.HealthCheckRequest"
        raise await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text) from None
