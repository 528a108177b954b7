"""Failures as gRPC has them: the same sixteen codes, and google.rpc.Status in a trailer."""

import re
from collections.abc import Mapping
from typing import Any, Final

import grpc

from gateway.codecs.protobuf.google_status import GoogleStatus
from gateway.status import Code, Failure

TO_WIRE: Final[Mapping[Code, grpc.StatusCode]] = {Code(status.value[0]): status for status in grpc.StatusCode}
FROM_WIRE: Final[Mapping[grpc.StatusCode, Code]] = {status: code for code, status in TO_WIRE.items()}

MAX_MESSAGE: Final = 1000
MAX_DETAILS: Final = 2700
"""Bytes. Together less than the 8 KiB of trailers that peers take, percent-encoding and base64 included."""

_DETAILS: Final = "grpc-status-details-bin"
# How grpc core begins its own texts; they go on with addresses, which are not the caller's business.
_UNREACHABLE: Final = (
    "connections to all backends failing",
    "failed to connect to all addresses",
    "errors resolving",
    "DNS resolution failed",
    "empty address list",
)
_BROKEN: Final = (
    "Socket closed",
    "Cancelling all calls",
    "Connection reset",
    "GOAWAY",
    "recvmsg",
    "sendmsg",
    "Stream removed",
)
_ADDRESS: Final = re.compile(r"\b(ipv4|ipv6|unix|dns|vsock):\S+")


def write_failure(failure: Failure, format_: GoogleStatus, context: Any) -> None:
    """Ends the call of a grpc.aio servicer context with this failure."""
    context.set_code(TO_WIRE[failure.code])
    context.set_details(format_.message(failure))
    status = format_.encode(failure)
    if status is not None:
        context.set_trailing_metadata(((_DETAILS, status),))


def read_failure(error: grpc.aio.AioRpcError, format_: GoogleStatus) -> Failure:
    """What a peer, or the connection to it, answered with."""
    code = FROM_WIRE[error.code()]
    message = error.details() or ""
    if code is Code.UNAVAILABLE and message.startswith(_UNREACHABLE):
        return Failure(code, "the upstream can't be reached", sent=False)
    if code is Code.UNAVAILABLE and message.startswith(_BROKEN):
        return Failure(code, "the connection to the upstream broke")
    if message.startswith("CLIENT: Sent message larger than max"):
        return Failure(code, "the message is larger than the upstream's endpoint allows", sent=False)
    message = _ADDRESS.sub("the upstream", message) or f"the upstream answered {code.name}"
    trailers: Any = error.trailing_metadata() or ()
    status = next((value for key, value in trailers if key == _DETAILS and isinstance(value, bytes)), None)
    return Failure(code, message) if status is None else format_.decode(status, code, message)
