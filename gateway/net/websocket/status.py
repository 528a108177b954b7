"""Codes as close codes and back. RFC 6455, 7.4, and the registry of close codes it started; 4000 to 4999 are private.

https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number
"""

from collections.abc import Mapping
from typing import Final

from gateway.status import Code

PRIVATE: Final = 4000

CLOSE_CODES: Final[Mapping[Code, int]] = {
    **{code: PRIVATE + code for code in Code},
    Code.OK: 1000,
    Code.INVALID_ARGUMENT: 1007,
    Code.PERMISSION_DENIED: 1008,
    Code.INTERNAL: 1011,
    Code.UNAVAILABLE: 1013,
}

CODES: Final[Mapping[int, Code]] = {
    **{PRIVATE + code: code for code in Code if code is not Code.OK},
    1000: Code.OK,
    1001: Code.UNAVAILABLE,
    1002: Code.INTERNAL,
    1003: Code.INVALID_ARGUMENT,
    1005: Code.OK,
    1006: Code.UNAVAILABLE,
    1007: Code.INVALID_ARGUMENT,
    1008: Code.PERMISSION_DENIED,
    1009: Code.INVALID_ARGUMENT,
    1010: Code.INTERNAL,
    1011: Code.INTERNAL,
    1012: Code.UNAVAILABLE,
    1013: Code.UNAVAILABLE,
    1014: Code.UNAVAILABLE,
    1015: Code.UNAVAILABLE,
}


def code_of_close(close_code: int) -> Code:
    """Total over close codes; OK where the connection was closed in form."""
    return CODES.get(close_code, Code.UNKNOWN)
