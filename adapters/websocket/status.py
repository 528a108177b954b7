"""Codes as close codes and back."""

from typing import Final

from gateway.net.websocket.status import CLOSE_CODES, CODES

TO_WIRE: Final = CLOSE_CODES
FROM_WIRE: Final = CODES
