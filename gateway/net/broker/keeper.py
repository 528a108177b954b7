"""Keeper: a client of a peer that is kept up in the background."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import msgspec

from gateway.net.broker.redelivery import backoff
from gateway.net.tasks import end
from gateway.status import Failure

T = TypeVar("T")

RECONNECT_SECONDS: Final = 0.2
MAX_RECONNECT_SECONDS: Final = 5.0
CANCEL_SECONDS: Final = 1.0
RENEW_SECONDS: Final = 2.0  # for which callers wait that come before the first try has ended, or between two clients


class Trouble(msgspec.Struct, frozen=True):
    """Why a client can't work. why: for operators. told: for callers. known: the peer's doing, and no bug of ours."""

    why: str
    told: Failure
    known: bool = True


class Keeper(ABC, Generic[T]):
    """Base of a Worker that keeps one client after the other.

    what: for operators, such as "publishers of bus".
    gone: what callers are told where nothing else is known.
    client: the one that works.
    trouble: why there is none; empty when there is one, and between two of them.
    """

    def __init__(self, what: str, gone: Failure, log: logging.Logger) -> None:
        self.client: T | None = None
        self.what = what
        self.trouble = "not connected yet"
        self._gone = gone
        self._log = log
        self._refusal: Failure | None = None
        self._attempt = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._current: T | None = None
        self._renewed: asyncio.Future[None] | None = None

    @abstractmethod
    async def open(self) -> T:
        """A new client, which close() will be called with."""

    @abstractmethod
    async def serve(self, client: T) -> None:
        """Connect it, call up() with it, and return or raise when it has ended.

        It is cancelled when the client is to be renewed. After that, or after it returned, callers wait for the next
        client, which is opened at once unless this one was short-lived; after it raised, they are refused until there
        is one.
        """

    @abstractmethod
    async def close(self, client: T) -> None:
        """Release it, within bounds; also when `serve` was cancelled."""

    @abstractmethod
    async def explain(self, error: BaseException) -> Trouble:
        """What open() or serve() raised. That may be a CancelledError, which some libraries raise when a connection
        ends."""

    @property
    def unready(self) -> str:
        """Why its client does not work; empty when it does."""
        return self.trouble and f"{self.what}: {self.trouble}"

    def start(self) -> None:
        """Have a client in the background."""
        if self._task is None:
            self.trouble, self._refusal = "not connected yet", None
            self._task = asyncio.create_task(self._run(), name=self.what)

    async def stop(self) -> None:
        """Release the client. Safe at any time."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])
        self.trouble = "stopped"
        self._change(None, self._gone)

    def up(self, client: T) -> None:
        """It works, again perhaps."""
        if self.client is client or self._current is not client:
            return
        self._log.info("%s: connected", self.what)
        self.trouble, self._attempt = "", 0
        self._change(client, None)

    def down(self, why: str, told: Failure | None = None) -> None:
        """It doesn't work now, and callers are refused until it is up()."""
        if why != self.trouble:
            self._log.warning("%s: %s", self.what, why)
        self.trouble = why
        self._change(None, told or self._gone)

    def renew(self, client: T, why: object) -> None:
        """Give this client to nobody any more, end its serving, and let callers wait for the next one."""
        if self._current is client and self._renewed is not None:
            self._log.warning("%s: renewed after: %s", self.what, why)
            self._current = None
            self._withdraw()
            self._renewed.set_result(None)

    async def get(self) -> T:
        """The client that works. Raises Failure while there is none, nothing having been sent."""
        if self.client is None and self._refusal is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    while self.client is None and self._refusal is None:
                        await self._changed.wait()
        if self.client is None:
            refusal = self._refusal or self._gone
            raise Failure(refusal.code, refusal.message, sent=False)
        return self.client

    async def opened(self) -> T:
        """The client, as soon as there is one that works."""
        while self.client is None:
            await self._changed.wait()
        return self.client

    def _withdraw(self) -> None:
        if self.client is not None:
            self._change(None, None)

    def _change(self, client: T | None, refusal: Failure | None) -> None:
        self.client, self._refusal = client, refusal
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _run(self) -> None:
        while not cancelled():  # which the client's library may have swallowed
            pause = await self._have_one()
            await asyncio.sleep(pause)

    async def _have_one(self) -> float:
        """Keep one client. Returns how long to wait for the next one, in seconds."""
        clock = asyncio.get_running_loop().time
        began = clock()
        client: T | None = None
        try:
            client = await self.open()
            if cancelled():
                raise asyncio.CancelledError
            await self._serve_one(client)
        except (Exception, asyncio.CancelledError) as error:
            if cancelled():  # which some libraries tell as an error of their own
                raise asyncio.CancelledError from error
            self._attempt += 1
            await self._tell(error)
            return backoff(self._attempt, RECONNECT_SECONDS, MAX_RECONNECT_SECONDS)
        else:
            return 0.0 if clock() - began > RENEW_SECONDS else RECONNECT_SECONDS
        finally:
            if client is not None:
                self._withdraw()
                await self._release(client)

    async def _serve_one(self, client: T) -> None:
        self._current = client
        renewed = self._renewed = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(self.serve(client), name=self.what)
        try:
            await asyncio.wait((serving, renewed), return_when=asyncio.FIRST_COMPLETED)
            if self._current is client:
                await serving
        finally:
            self._current = self._renewed = None
            await insist(serving)

    async def _tell(self, error: BaseException) -> None:
        self._withdraw()
        try:
            trouble = await self.explain(error)
        except Exception as bug:
            trouble = Trouble(str(bug) or type(bug).__name__, self._gone, known=False)
        if not trouble.known:
            self._log.error("%s: bug", self.what, exc_info=error)
        self.down(trouble.why, trouble.told)

    async def _release(self, client: T) -> None:
        try:
            await self.close(client)
        except Exception:
            self._log.exception("%s: not closed", self.what)


def cancelled() -> bool:
    """Whether the running task itself was cancelled, and not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def unhurried(opening: Awaitable[Any], seconds: float) -> None:
    """Await what opens something; cancelled, leave it so long to end, because what it opens would stay open."""
    task = asyncio.ensure_future(opening)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await bounded(task, seconds)
        raise


async def bounded(closing: Awaitable[Any], seconds: float, *, lingers: bool = False) -> None:
    """Await it, for so long at most, whatever it raises.

    lingers: after that it is not cancelled, because what it closes would stay open.
    """
    task = asyncio.ensure_future(closing)
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if not done and lingers:
        task.add_done_callback(lambda closed: closed.cancelled() or closed.exception())
        return
    await insist(task)


async def insist(task: "asyncio.Future[Any]") -> None:
    """Cancel it until it has ended, whatever it raises: some libraries swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=CANCEL_SECONDS)
    if not task.cancelled():
        task.exception()
