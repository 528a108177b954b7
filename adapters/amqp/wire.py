"""Content properties pass through pamqp unread; gateway.codecs.amqp_properties reads and writes them.

pamqp's own reader ends the connection over a property that it can't read, such as a timestamp far off, and with it
every other queue's; written again, its values come out changed (a double as a float). So a dead letter bears the very
bytes that came, and a message that can't be read is no more than that.
"""

import struct
from contextlib import suppress
from typing import Any

from pamqp import commands

from gateway.codecs.amqp_properties import message_id


class ContentProperties(commands.Basic.Properties):
    """Properties as pamqp is to carry them: unread, unless another user of pamqp in this process asks for one.

    raw: None where such a user made them, and gave them their values.
    """

    raw: bytes | None = None

    def __init__(self, **properties: Any) -> None:
        if properties:
            super().__init__(**properties)

    def __getattr__(self, name: str) -> Any:
        """Called for what has no value yet."""
        if name not in self.flags:
            raise AttributeError(name)
        super().__init__()
        if self.raw is not None:
            with suppress(Exception):  # what pamqp can't read stays None
                super().unmarshal(int.from_bytes(self.raw[:2], "big"), self.raw[2:])
        return getattr(self, name)

    def marshal(self) -> bytes:
        return super().marshal() if self.raw is None else self.raw

    def unmarshal(self, flags: int, data: bytes) -> None:
        self.raw = struct.pack(">H", flags & 0xFFFC) + data
        # aiormq finds by it what was returned.
        self.message_id = message_id(self.raw)


# pamqp makes what this name holds for each content header that it reads.
commands.Basic.Properties = ContentProperties  # type: ignore[misc, assignment]
