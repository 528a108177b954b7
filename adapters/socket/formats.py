"""What an endpoint's messages are: the formats of requests and replies, and what failures look like in them."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from adapters.socket.config import CorrelationField, FailureReply, TcpEndpoint, UdpEndpoint
from gateway.codecs.correlation import FieldCorrelation, JsonCorrelation, RecordCorrelation
from gateway.codecs.format import Format, Unknown
from gateway.codecs.json import JsonFormat, read
from gateway.codecs.layout import LayoutError, layout_format, numbers_of, read_layout
from gateway.codecs.raw import DATA, RawFormat
from gateway.codecs.text import TEXT, TextFormat
from gateway.net.json_error import error_message
from gateway.net.network import Network
from gateway.net.tcp.framing import DelimiterFraming
from gateway.port import ContractError
from gateway.schema.types import Record
from gateway.status import Failure


@dataclass(frozen=True, slots=True)
class Formats:
    """request_type, reply_type: None where messages have no type of their own (JSON).

    correlation: how a request and its reply are known by a field; None where their order says it.
    delimiter: what must not be in a JSON message, for it would end it.
    """

    request: Format
    reply: Format
    request_type: Record | None = None
    reply_type: Record | None = None
    correlation: FieldCorrelation | None = None
    delimiter: bytes = b""

    def compact(self, body: bytes) -> bytes:
        """The same message on one line, where its framing needs that: JSON may be written over several."""
        if self.delimiter and self.delimiter in body:
            return msgspec.json.format(body, indent=-1)
        return body


def load_formats(endpoint: TcpEndpoint | UdpEndpoint, network: Network) -> Formats:
    """Raises ContractError."""
    correlation = endpoint.correlation if isinstance(endpoint, TcpEndpoint) else "order"
    field = correlation.field if isinstance(correlation, CorrelationField) else ""
    match endpoint.format:
        case "json":
            json = JsonFormat(endpoint.int64, endpoint.decimal)
            framing = endpoint.framing if isinstance(endpoint, TcpEndpoint) else None
            delimiter = framing.delimiter.encode("latin-1") if isinstance(framing, DelimiterFraming) else b""
            return Formats(json, json, correlation=JsonCorrelation(field) if field else None, delimiter=delimiter)
        case "text":
            text = TextFormat(endpoint.charset)
            return Formats(text, text, TEXT, TEXT)
        case "raw":
            return Formats(RawFormat(), RawFormat(), DATA, DATA)
        case _:
            return _records(endpoint, network, field)


def _records(endpoint: TcpEndpoint | UdpEndpoint, network: Network, field: str) -> Formats:
    layouts = []
    for option, layout in (("record", endpoint.record), ("reply_record", endpoint.reply_record or endpoint.record)):
        try:
            found = read_layout(network.path(layout)) if isinstance(layout, str) else layout
        except LayoutError as error:
            raise ContractError(str(error), field=(option,)) from None
        assert found is not None  # noqa: S101  the endpoint's model demands it
        if field and not numbers_of(found, field):
            raise ContractError(
                f"correlation: {found.name} has no field {field} for whole numbers or text", field=("correlation",)
            )
        layouts.append(found)
    ours, theirs = layouts
    request, reply = layout_format(ours, field), layout_format(theirs, field)
    if not field:
        return Formats(request, reply, request.type, reply.type)
    count = min(numbers_of(layout, field) for layout in layouts)
    if isinstance(endpoint, TcpEndpoint) and count <= endpoint.max_in_flight:
        raise ContractError(
            f"{field} holds the numbers up to {count - 1}, too few for max_in_flight {endpoint.max_in_flight}",
            field=("max_in_flight",),
        )
    correlation = RecordCorrelation(field, layout_format(ours), layout_format(theirs), count)
    return Formats(request, reply, request.type, reply.type, correlation)


def failure_message(on_failure: object, formats: Formats) -> Callable[[Failure], bytes] | None:
    """Makes the message that tells a caller of a failure; None where no message does. Raises ContractError."""
    if on_failure == "error":
        return error_message
    if not isinstance(on_failure, FailureReply):
        return None
    type_ = formats.reply_type
    try:
        if type_ is None:
            fixed: bytes = msgspec.json.encode(on_failure.reply)
        else:
            fixed = formats.reply.encoder(type_)(read(type_, on_failure.reply, Unknown.REJECT))
    except Failure as failure:
        raise ContractError(failure.text, field=("on_failure", "reply")) from None
    return lambda failure: fixed
