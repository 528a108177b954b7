"""Channel: a channel that is opened anew whenever it or its connection ends."""

import asyncio
from collections.abc import Awaitable, Callable

from aiormq.abc import AbstractChannel

from adapters.amqp.connection import BROKEN, CLOSE_SECONDS, Connection, log
from adapters.amqp.status import failure, unreachable
from gateway.net.broker.keeper import Keeper, Trouble, bounded, cancelled

Prepare = Callable[[AbstractChannel], Awaitable[None]]
"""Declares and consumes on a new channel. Raises one of BROKEN."""

Lost = Callable[[], None]
"""Called after a channel ended, and after it could not be opened."""


class Channel:
    """The broker ends a channel over each error on it, so there is one for each address."""

    def __init__(
        self,
        connection: Connection,
        what: str,
        prepare: Prepare | None = None,
        lost: Lost | None = None,
        *,
        confirms: bool,
    ) -> None:
        self._connection = connection
        self._prepare = prepare
        self._what = what
        self._confirms = confirms
        self._lost = lost
        self._keeper: Keeper[AbstractChannel] = Keeper(f"amqp {what}", self, self._explain, unreachable(), log)

    @property
    def unready(self) -> str:
        return self._connection.unready or (self._keeper.unready and f"{self._what}: {self._keeper.unready}")

    def start(self) -> None:
        """Open in the background."""
        self._keeper.start()

    async def stop(self) -> None:
        """Close it, within CLOSE_SECONDS."""
        await self._keeper.stop()

    async def get(self) -> AbstractChannel:
        """The open channel. Raises Failure where there is none; one that was just lost is waited for a little."""
        await self._connection.check()
        return self._keeper.client or await self._keeper.get()

    # -- as what its keeper keeps

    async def open(self) -> AbstractChannel:
        return await self._connection.channel(confirms=self._confirms)

    async def serve(self, channel: AbstractChannel) -> None:
        if self._prepare is not None:
            await self._prepare(channel)
        self._keeper.up(channel)
        try:
            await channel.closing
        except (*BROKEN, asyncio.CancelledError) as error:
            if cancelled():
                raise
            log.warning("amqp %s: opened anew after: %s", self._what, error)

    async def close(self, channel: AbstractChannel) -> None:
        if self._lost is not None:
            self._lost()
        await bounded(channel.close(), CLOSE_SECONDS)

    async def _explain(self, error: BaseException) -> Trouble:
        known = isinstance(error, (*BROKEN, asyncio.CancelledError))
        return Trouble(str(error) or type(error).__name__, failure(error, sent=False), known)
