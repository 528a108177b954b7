"""Settlement: a consumer's deliveries are handled, and answered where they ask for it, or else buried."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec

from gateway.message import Message
from gateway.net.broker.redelivery import Redelivery, reasons
from gateway.net.broker.reply import Reply, error_reply, reply_of
from gateway.net.counters import Counter, Counters
from gateway.status import Code, Disposition, Failure, disposition, invalid

UNLIMITED: Final = 2**31 - 1
"""Of a dead letter, in bytes: the broker has already taken it, and is to judge its size. Replies have their own limit.
"""


class Delivery(Protocol):
    """name: for operators. asks: whoever sent it wants a reply, until `deadline` on the event loop's clock.
    origin: where it was, for the headers dead-letter-NAME."""

    @property
    def body(self) -> bytes | None: ...
    @property
    def origin(self) -> Mapping[str, str]: ...
    @property
    def name(self) -> str: ...
    @property
    def asks(self) -> bool: ...
    @property
    def deadline(self) -> float: ...


D = TypeVar("D", bound=Delivery)
D_contra = TypeVar("D_contra", bound=Delivery, contravariant=True)


class Settings(Protocol):
    """Of the endpoint. max_message_bytes: of a body either way. content_type: of its replies."""

    @property
    def max_message_bytes(self) -> int: ...
    @property
    def content_type(self) -> str: ...


class Courier(Protocol[D_contra]):
    """What a broker's consumer does with a delivery. All raise Failure."""

    async def deliver(self, delivery: D_contra) -> Message:
        """Call the route, with what is no larger than the limit."""
        ...

    async def bury(self, delivery: D_contra, reason: Sequence[tuple[str, str]]) -> None:
        """Return once the broker has it as a dead letter, as it came and with headers that tell why. Raises
        INVALID_ARGUMENT where it is larger than the broker takes; it is then to be buried once more without reason."""
        ...

    async def answer(self, delivery: D_contra, reply: Reply) -> None:
        """Return once the broker has the reply. Raises INVALID_ARGUMENT where it takes none like this one."""
        ...

    def grave(self, delivery: D_contra) -> str:
        """Where its dead letter goes, for operators."""
        ...


class Counts(msgspec.Struct, frozen=True):
    """undeliverable_replies: those whose address takes none. discarded_replies: nobody asked."""

    dead_letters: Counter
    undeliverable_replies: Counter
    discarded_replies: Counter


def counts_of(counters: Counters, endpoint: str) -> Counts:
    return Counts(*(counters.counter(endpoint, event) for event in Counts.__struct_fields__))


class Settlement:
    """Of one consumer.

    what: the consumer, for logs.
    unready: why a delivery can't be buried, which is tried for ever.
    """

    def __init__(self, what: str, counts: Counts, settings: Settings, log: logging.Logger) -> None:
        self.unready = ""
        self._what = what
        self._counts = counts
        self._limit = settings.max_message_bytes
        self._content_type = settings.content_type
        self._log = log

    async def settle(
        self, courier: Courier[D], delivery: D, redelivery: Redelivery, until: float = float("inf")
    ) -> bool:
        """Whether it is done with: handled and answered, or buried. False: the broker must keep it.

        until: begin no try after this time on the event loop's clock.
        """
        told: Reply | None = None

        async def deliver() -> None:
            nonlocal told
            if len(delivery.body or b"") > self._limit:
                raise invalid(f"the message is larger than the limit of {self._limit} bytes")
            message = await courier.deliver(delivery)
            if delivery.asks:
                told = reply_of(message, self._content_type)
            elif message.body is not None:
                self._counts.discarded_replies.add()

        async def give_up(why: Failure, deliveries: int) -> None:
            nonlocal told
            if delivery.asks:
                told = error_reply(why)
            else:
                await self._bury(courier, delivery, why, deliveries)

        if not delivery.asks:
            return await redelivery.settle(deliver, give_up, until=until)
        settled = await redelivery.settle(deliver, give_up, awaited=True, until=min(until, delivery.deadline))
        if not settled and asyncio.get_running_loop().time() >= delivery.deadline:
            told = error_reply(Failure(Code.DEADLINE_EXCEEDED, "no answer before the request's expiration"))
        if told is None:
            return False
        return await redelivery.persist(partial(self._answer, courier, delivery, told))

    async def refuse(self, courier: Courier[D], delivery: D, why: Failure, redelivery: Redelivery) -> bool:
        """Bury what is not worth a try; as settle()."""
        return await redelivery.persist(partial(self._bury, courier, delivery, why, 0))

    async def _bury(self, courier: Courier[D], delivery: D, why: Failure, deliveries: int) -> None:
        grave = courier.grave(delivery)
        try:
            try:
                origin = [(f"dead-letter-{name}", text) for name, text in delivery.origin.items()]
                await courier.bury(delivery, reasons(why, deliveries) + origin)
            except Failure as trouble:
                if trouble.code is not Code.INVALID_ARGUMENT:
                    raise
                # With the reason it is larger than the broker takes; as it came, it was not.
                await courier.bury(delivery, ())
        except Failure as trouble:
            self.unready = f"{delivery.name} can't be put into {grave}: {trouble}"
            self._log.warning("%s: %s", self._what, self.unready)
            raise
        self.unready = ""
        self._counts.dead_letters.add()
        self._log.warning("%s: %s put into %s: %s", self._what, delivery.name, grave, why)

    async def _answer(self, courier: Courier[D], delivery: D, reply: Reply) -> None:
        if len(reply.body) > self._limit:
            text = f"the reply is larger than the limit of {self._limit} bytes"
            reply = error_reply(Failure(Code.INTERNAL, text))
        try:
            try:
                await courier.answer(delivery, reply)
            except Failure as trouble:
                if trouble.code is not Code.INVALID_ARGUMENT:
                    raise
                told = Failure(Code.INTERNAL, f"the reply can't be sent: {trouble.message}")
                await courier.answer(delivery, error_reply(told))
        except Failure as trouble:
            # Whoever asked chose the address: what is wrong with it must not hold up the others.
            if disposition(trouble.code) is not Disposition.DEAD_LETTER:
                raise
            self._counts.undeliverable_replies.add()
            self._log.info("%s: the reply to %s can't be sent: %s", self._what, delivery.name, trouble)
