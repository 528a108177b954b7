"""Failures as google.rpc.Status in grpc-status-details-bin, both ways.

https://google.aip.dev/193, google/rpc/status.proto, google/rpc/error_details.proto.
"""

import base64
import json
import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
import msgspec
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from adapters.grpc.status import FROM_WIRE, TO_WIRE
from gateway.codecs.format import Unknown
from gateway.codecs.protobuf import ProtobufFormat
from gateway.schema.idl.proto import ProtoSchema
from gateway.status import Code, Detail, Failure

log = logging.getLogger("gateway.grpc")

KEY: Final = "grpc-status-details-bin"
# Together less than the 8 KiB of trailers that peers take, percent-encoding and base64 included.
_MAX_MESSAGE: Final = 1000
_MAX_DETAILS: Final = 2700
_STANDARD: Final[dict[str, Any]] = {
    f"google.rpc.{name}": getattr(error_details_pb2, name)
    for name in error_details_pb2.DESCRIPTOR.message_types_by_name
}
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


class Details:
    """The failure details of one contract."""

    def __init__(self, schema: ProtoSchema, format_: ProtobufFormat) -> None:
        self._schema = schema
        self._format = format_
        self._encoders: dict[str, Callable[[Any], bytes]] = {}
        self._decoders: dict[str, Callable[[bytes], Any]] = {}

    def write(self, failure: Failure, context: Any) -> None:
        """Ends the call of a grpc.aio servicer context with this failure."""
        status = TO_WIRE[failure.code]
        message = _clean(failure.text)
        context.set_code(status)
        context.set_details(message)
        if not (failure.path or failure.details or failure.retry_after is not None):
            return
        wire = status_pb2.Status(code=failure.code.value, message=message)
        size = 0
        for packed in self._pack(failure):
            size += packed.ByteSize()
            if size > _MAX_DETAILS:
                size -= packed.ByteSize()
                log.warning("a failure detail of type %s is too large to be told", packed.type_url)
                continue
            wire.details.append(packed)
        context.set_trailing_metadata(((KEY, wire.SerializeToString()),))

    def _pack(self, failure: Failure) -> Sequence[AnyMessage]:
        packed = []
        if failure.path and not any(detail.name == "google.rpc.BadRequest" for detail in failure.details):
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=_clean(failure.path.removeprefix("$").removeprefix(".")), description=_clean(failure.message)
            )
            packed.append(_any(error_details_pb2.BadRequest(field_violations=[violation])))
        if failure.retry_after is not None and math.isfinite(failure.retry_after):
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(round(failure.retry_after * 1e9))
            packed.append(_any(retry))
        packed.extend(self._pack_detail(detail) for detail in failure.details)
        return packed

    def _pack_detail(self, detail: Detail) -> AnyMessage:
        name, value = detail.name, detail.value
        record = self._schema.failure(name)
        try:
            if record is not None and isinstance(value, msgspec.Struct):
                encode = self._encoders.get(record.name)
                if encode is None:
                    encode = self._encoders[record.name] = self._format.encoder(record)
                return AnyMessage(type_url=f"type.googleapis.com/{record.name}", value=encode(value))
            standard = self._schema.message_class(record) if record is not None else _STANDARD.get(name)
            if standard is not None and isinstance(value, dict):
                return _any(json_format.ParseDict(value, standard(), descriptor_pool=self._schema.pool))
        except (Failure, json_format.Error, TypeError, ValueError):
            pass  # not a value of that message after all: say it loosely
        values = value if isinstance(value, dict) else {"value": value}
        return _any(
            error_details_pb2.ErrorInfo(
                reason=_clean(name), metadata={_clean(str(k)): _text(v) for k, v in values.items()}
            )
        )

    def read(self, error: grpc.aio.AioRpcError) -> Failure:
        """The failure that a peer, or the connection to it, answered with."""
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
        for key, value in trailers:
            if key == KEY and isinstance(value, bytes):
                return self._unpack(code, message, value)
        return Failure(code, message)

    def _unpack(self, code: Code, message: str, data: bytes) -> Failure:
        try:
            wire = status_pb2.Status.FromString(data)
        except DecodeError:
            return Failure(code, message)
        path, retry_after = "", None
        details: list[Detail] = []
        for packed in wire.details:
            name = packed.type_url.rpartition("/")[2]
            if name == "google.rpc.BadRequest" and not path:
                bad = error_details_pb2.BadRequest()
                if packed.Unpack(bad) and bad.field_violations and bad.field_violations[0].field:
                    path = _path(bad.field_violations[0].field)
                    if len(bad.field_violations) == 1:
                        continue
            elif name == "google.rpc.RetryInfo" and retry_after is None:
                retry = error_details_pb2.RetryInfo()
                if packed.Unpack(retry):
                    retry_after = retry.retry_delay.ToNanoseconds() / 1e9
                    continue
            details.append(self._unpack_detail(name, packed))
        if path:
            message = message.removesuffix(f" at {path}")  # as write() tells it
        return Failure(code, message, path=path, details=details, retry_after=retry_after)

    def _unpack_detail(self, name: str, packed: AnyMessage) -> Detail:
        try:
            if name in self._schema.schema.types:
                decode = self._decoders.get(name)
                if decode is None:
                    decode = self._decoders[name] = self._format.decoder(self._schema.record(name), Unknown.DROP)
                return Detail(name, decode(packed.value))
            standard = _STANDARD.get(name)
            if standard is not None:
                return Detail(name, json_format.MessageToDict(standard.FromString(packed.value)))
        except (Failure, DecodeError, KeyError, ValueError, json_format.Error):
            pass  # the bytes are not what their type says: pass them on as they are
        value = base64.b64encode(packed.value).decode()
        return Detail("google.protobuf.Any", {"@type": packed.type_url, "value": value})


def _any(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode(errors="replace").decode()


def _clean(text: str) -> str:
    """Unicode of a bounded length in bytes."""
    return text.encode(errors="replace")[:_MAX_MESSAGE].decode(errors="ignore")


def _path(field: str) -> str:
    return f"${field}" if field.startswith("[") else f"$.{field.removeprefix('$').removeprefix('.')}"
