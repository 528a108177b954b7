"""How an endpoint's JSON is read and written, as routes.yaml says it."""

from typing import Literal

from pydantic import BaseModel, Field

from gateway.codecs.format import Unknown
from gateway.codecs.json.format import JsonFormat


class JsonOptions(BaseModel):
    """Of endpoints that may speak JSON."""

    unknown_fields: Literal["reject", "drop"] = Field(
        default="reject",
        description="Inbound: what to do with members that the message's type does not have. reject: refuse the "
        "message, dead-letter it where nobody waits for an answer, or end the stream that it came in.",
    )
    int64: Literal["string", "number"] = Field(
        default="string",
        description="How 64-bit integers are written where no document says it; both forms are read.",
    )
    decimal: Literal["string", "number"] = Field(
        default="string", description="How decimals are written where no document says it; both forms are read."
    )

    @property
    def json_format(self) -> JsonFormat:
        """How JSON messages are written and read."""
        return JsonFormat(self.int64, self.decimal)

    @property
    def unknown(self) -> Unknown:
        """What to do with unknown members that come in."""
        return Unknown(self.unknown_fields)


class JsonSettings(JsonOptions):
    """Of endpoints that speak JSON alone."""

    @property
    def format(self) -> JsonFormat:
        """How messages are written and read."""
        return self.json_format
