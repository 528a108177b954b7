"""Content properties pass through pamqp unread; gateway.codecs.amqp_properties reads and writes them.

pamqp's own reader ends the connection over a property that it can't read, such as a timestamp far off, and with it
every other queue's; written again, its values come out changed (a double as a float). So a dead letter bears the very
bytes that came, and a message that can't be read is no more than that.
"""

import struct

from pamqp import commands

from gateway.codecs.amqp_properties import WireError, message_id


class ContentProperties(commands.Basic.Properties):
    """Properties as pamqp is to carry them: unread.

    raw: None where another user of pamqp in this process made them, who gave them their values.
    """

    raw: bytes | None = None

    def marshal(self) -> bytes:
        return super().marshal() if self.raw is None else self.raw

    def unmarshal(self, flags: int, data: bytes) -> None:
        self.raw = struct.pack(">H", flags & 0xFFFC) + data
        try:
            # aiormq finds by it what was returned.
            self.message_id = message_id(self.raw)
        except WireError:
            self.message_id = None


# pamqp makes what this name holds for each content header that it reads.
commands.Basic.Properties = ContentProperties  # type: ignore[misc]
