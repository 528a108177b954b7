"""Codes as the `code` of error messages, and back: TCP and UDP have no error codes themselves."""

from collections.abc import Mapping
from typing import Final

from gateway.status import Code

TO_WIRE: Final[Mapping[Code, str]] = {code: code.name for code in Code}
FROM_WIRE: Final[Mapping[str, Code]] = {name: code for code, name in TO_WIRE.items() if code is not Code.OK}
