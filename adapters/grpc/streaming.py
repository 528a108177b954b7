"""Writing to a grpc.aio call that the peer may end at any time."""

from typing import Any


async def write_message(call: Any, body: bytes) -> None:
    """Raises AioRpcError or grpc.aio.InternalError when the call is over; reading from it tells the peer's status.

    call.write() would put INTERNAL in place of the status that the peer sent, if that has not been read yet.
    """
    await call.wait_for_connection()
    await call._cython_call.send_serialized_message(body)  # noqa: SLF001  see above
