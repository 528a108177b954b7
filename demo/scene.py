"""Scene: what a step of the tour plays with."""

from demo.backends.inbox import Inbox, Received
from demo.caller import Caller
from demo.report import Report
from demo.stage import Stage


class SkippedError(Exception):
    """A step can't run here; the text says what is missing."""


class Scene:
    """order_id: of the order that an earlier step placed."""

    def __init__(self, stage: Stage, caller: Caller) -> None:
        self.stage = stage
        self.caller = caller
        self.order_id = ""

    @property
    def report(self) -> Report:
        """The step's."""
        return self.caller.report

    async def arrived(self, inbox: Inbox, operation: str, language: str = "text") -> Received:
        """What the service got, put into the report before the caller's reply."""
        received = await inbox.take(operation)
        self.report.arrived(f"{inbox.name} received {operation}", received.text, language)
        return received
