"""Codes as `extensions.code` and back."""

from typing import Final

from gateway.codecs.graphql.error import FROM_EXTENSION, TO_EXTENSION

TO_WIRE: Final = TO_EXTENSION
FROM_WIRE: Final = FROM_EXTENSION
