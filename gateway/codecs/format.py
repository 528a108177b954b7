"""Format: a wire format that compiles to one decoder and one encoder per type."""

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from gateway.schema.types import Type

Decode = Callable[[Any], Any]
"""Wire form -> plain value. Raises Failure(INVALID_ARGUMENT) with the path of the offence."""

Encode = Callable[[Any], Any]
"""Plain value -> wire form; may change the value in place. Raises Failure(INVALID_ARGUMENT) with the path."""


class NoFormError(ValueError):
    """A type that a format has no form for; the text says why."""


class Unknown(Enum):
    """What a decoder does with a member that the type does not have."""

    REJECT = "reject"
    DROP = "drop"


UnknownFields = Annotated[
    Literal["reject", "drop"] | None,
    Field(
        description="What to do with fields from the peer that the contract does not have: listen rejects and target "
        "drops them where this is absent."
    ),
]
"""An endpoint's option, as routes.yaml has it."""


class Format(Protocol):
    """A wire format, with all that the endpoint says about it. Compares equal when it writes and reads the same bytes.

    The wire form is bytes, unless the adapter that owns the format hands over something already parsed.

    encoded: the type of what encoders make, which msgspec can write and read, so that a message can be kept.

    decoder() and encoder() raise NoFormError, or TypeError where an adapter never asks for such a type.
    """

    encoded: ClassVar[type]

    @property
    def name(self) -> str:
        """For `explain` and messages: json, protobuf, soap ..."""
        ...

    def decoder(self, type_: Type, unknown: Unknown) -> Decode: ...

    def encoder(self, type_: Type) -> Encode: ...
