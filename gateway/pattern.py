"""Interaction patterns: how many requests and replies a call has."""

from enum import Enum


class Count(Enum):
    """How many messages go one way."""

    NONE = "none"
    ONE = "one"
    MANY = "many"


class Ends(Enum):
    """Whether the streams of an address come to an end of their own."""

    SURELY = "surely"
    PERHAPS = "perhaps"
    NEVER = "never"


class Pattern(Enum):
    """(requests, replies) of a call, seen from the caller."""

    ONE_WAY = (Count.ONE, Count.NONE)
    REQUEST_REPLY = (Count.ONE, Count.ONE)
    SERVER_STREAM = (Count.ONE, Count.MANY)
    CLIENT_STREAM = (Count.MANY, Count.ONE)
    BIDI = (Count.MANY, Count.MANY)
    SUBSCRIBE = (Count.NONE, Count.MANY)

    @property
    def requests(self) -> Count:
        return self.value[0]

    @property
    def replies(self) -> Count:
        return self.value[1]

    @property
    def unary(self) -> bool:
        """True where Service.call serves it, False where Service.stream does."""
        return self in (Pattern.ONE_WAY, Pattern.REQUEST_REPLY)

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", "-")
