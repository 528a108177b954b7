"""What both sides tell grpc core of an endpoint, and a write that core's own API lacks."""

from typing import Any, Final, cast

import grpc

from adapters.grpc.config import Endpoint

EOF: Final[Any] = cast(Any, grpc.aio).EOF  # the type stubs don't know it


def arguments(endpoint: Endpoint) -> list[tuple[str, Any]]:
    """Of a server and a channel alike."""
    common: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", endpoint.max_message_bytes),
        ("grpc.max_send_message_length", endpoint.max_message_bytes),
        ("grpc.max_metadata_size", endpoint.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", endpoint.max_metadata_bytes),
        # Else a window grows to megabytes with the speed at which a stream began, and is held when it is not read.
        ("grpc.http2.bdp_probe", 0),
    ]
    if endpoint.keepalive is not None:
        common += [("grpc.keepalive_time_ms", int(endpoint.keepalive * 1000)), ("grpc.keepalive_timeout_ms", 20_000)]
    return common


def compression(endpoint: Endpoint) -> grpc.Compression | None:
    return grpc.Compression.Gzip if endpoint.compression == "gzip" else None


async def write_message(call: Any, body: bytes) -> None:
    """Raises AioRpcError or grpc.aio.InternalError when the call is over; reading from it tells the peer's status.

    call.write() would put INTERNAL in place of the status that the peer sent, if that has not been read yet.
    """
    await call.wait_for_connection()
    await call._cython_call.send_serialized_message(body)  # noqa: SLF001  see above
