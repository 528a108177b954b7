"""Headers as gRPC metadata. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md "Custom-Metadata"."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.message import TRACEPARENT, Header
from gateway.schema.text import parse_bytes
from gateway.status import Code, Failure

Metadata = tuple[Header, ...]

_NAME: Final = re.compile(r"[0-9a-z_.-]{1,256}")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def to_metadata(headers: Sequence[Header], trace: str = "", blame: Code = Code.INVALID_ARGUMENT) -> Metadata | None:
    """What goes to the wire; None for nothing. Raises Failure, with the code of who is to blame, for headers that
    metadata can't carry."""
    if not headers:
        return ((TRACEPARENT, trace),) if trace else None
    try:
        metadata = [_checked(name, value) for name, value in headers]
    except ValueError as error:
        raise Failure(blame, str(error), sent=False) from error
    if trace:
        metadata.append((TRACEPARENT, trace))
    return tuple(metadata)


def _checked(name: str, value: str | bytes) -> Header:
    if _NAME.fullmatch(name) is None or name.startswith("grpc-"):
        raise ValueError(f"the header {name[:80]!r} can't be carried as gRPC metadata")
    if name.endswith("-bin"):
        # Where headers are text, the bytes of a -bin value are base64.
        return name, value if isinstance(value, bytes) else parse_bytes(value)
    if isinstance(value, bytes) or _VALUE.fullmatch(value) is None:
        raise ValueError(f"the value of the header {name[:80]!r} can't be carried as gRPC metadata")
    return name, value


def from_metadata(metadata: Iterable[Header], wanted: frozenset[str]) -> Sequence[Header]:
    """The headers that are wanted, as they come; -bin values are bytes."""
    return [(name, value) for name, value in metadata if name in wanted]
