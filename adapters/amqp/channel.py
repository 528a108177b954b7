"""Channel: a channel that is opened anew whenever it or its connection ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiormq.abc import AbstractChannel

from adapters.amqp.connection import (
    BROKEN,
    CLOSE_SECONDS,
    MAX_RECONNECT_SECONDS,
    RECONNECT_SECONDS,
    Connection,
    bounded,
    cancelled,
)
from adapters.amqp.status import failure, reply_code, unreachable
from gateway.net.redelivery import backoff
from gateway.status import Failure

RENEW_SECONDS: Final = 2.0  # for which callers wait while a channel is opened anew

log = logging.getLogger("gateway.amqp")

Prepare = Callable[[AbstractChannel], Awaitable[None]]
"""Declares and consumes on a new channel. Raises one of BROKEN."""


class Channel:
    """The broker ends a channel over each error on it, so there is one for each address.

    lost: called after it ended.
    """

    def __init__(
        self,
        connection: Connection,
        prepare: Prepare,
        what: str,
        *,
        confirms: bool,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._prepare = prepare
        self._what = what
        self._confirms = confirms
        self._lost = lost
        self._current: AbstractChannel | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._trouble = ""
        self._refusal: Failure | None = None

    @property
    def unready(self) -> str:
        if not self._connection.up:
            return self._connection.unready
        if self._trouble:
            return f"{self._what}: {self._trouble}"
        return self._connection.unready or ("" if self._current else f"{self._what}: not open yet")

    def start(self) -> None:
        """Open in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"amqp {self._what}")

    async def stop(self) -> None:
        """Close it, within CLOSE_SECONDS."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def get(self) -> AbstractChannel:
        """The open channel. Raises Failure where there is none; one that was just lost is waited for a little."""
        if self._current is None:
            if not self._connection.up:
                raise self._connection.refusal
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._tried.wait()
            except TimeoutError:
                raise unreachable() from None
        if self._current is None:
            refusal = self._refusal or unreachable()
            raise Failure(refusal.code, refusal.message, sent=False)
        return self._current

    async def _keep(self) -> None:
        attempt = 0
        while True:
            served = False
            try:
                channel = await self._connection.channel(confirms=self._confirms)
                try:
                    await self._prepare(channel)
                    served, attempt = True, 0
                    self._try(channel, None)
                    await channel.closing
                finally:
                    if served:
                        self._current = None
                        self._tried.clear()
                        self._lost()
                    await bounded(channel.close(), CLOSE_SECONDS)
            except asyncio.CancelledError:
                if cancelled():
                    raise
            except Exception as error:
                if not isinstance(error, BROKEN):
                    log.exception("amqp %s: bug in the channel", self._what)
                elif served:
                    log.warning("amqp %s: opened anew after: %s", self._what, error)
                elif reply_code(error):
                    self._try(None, error)
            attempt += 1
            await asyncio.sleep(backoff(attempt, RECONNECT_SECONDS, MAX_RECONNECT_SECONDS))

    def _try(self, channel: AbstractChannel | None, refused: Exception | None) -> None:
        """What came of the last try to open it."""
        trouble = "" if refused is None else str(refused)
        if trouble and trouble != self._trouble:
            log.warning("amqp %s: %s", self._what, trouble)
        self._current = channel
        self._trouble = trouble
        self._refusal = None if refused is None else failure(refused, sent=False)
        self._tried.set()
