"""Headers as gRPC metadata. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md "Custom-Metadata"."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.message import Header
from gateway.schema.text import parse_bytes
from gateway.status import invalid

Metadata = tuple[Header, ...]

TRACEPARENT: Final = "traceparent"
_NAME: Final = re.compile(r"[0-9a-z_.-]{1,256}")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def to_metadata(headers: Sequence[Header], trace: str) -> Metadata | None:
    """What goes to the wire; None for nothing. Raises Failure for what metadata can't carry."""
    if not headers:
        return ((TRACEPARENT, trace),) if trace else None
    metadata = [_checked(name, value) for name, value in headers]
    if trace:
        metadata.append((TRACEPARENT, trace))
    return tuple(metadata)


def _checked(name: str, value: str | bytes) -> Header:
    if _NAME.fullmatch(name) is None or name.startswith("grpc-"):
        raise invalid(f"the header {name[:80]!r} can't be carried as gRPC metadata")
    if name.endswith("-bin"):
        if isinstance(value, bytes):
            return name, value
        try:
            # Where headers are text, the bytes of a -bin value are base64.
            return name, parse_bytes(value)
        except ValueError:
            raise invalid(f"the header {name[:80]!r} is not base64") from None
    if isinstance(value, bytes) or _VALUE.fullmatch(value) is None:
        raise invalid(f"the value of the header {name[:80]!r} can't be carried as gRPC metadata")
    return name, value


def from_metadata(metadata: Iterable[Header], wanted: frozenset[str]) -> Sequence[Header]:
    """The headers that are wanted, as they come; -bin values are bytes."""
    return [(name, value) for name, value in metadata if name in wanted]
