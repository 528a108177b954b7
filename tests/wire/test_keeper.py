"""Keeper: a client that comes, goes, comes again, and what callers are told meanwhile."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.net.broker import keeper as keepers
from gateway.net.broker.keeper import Keeper, Trouble, bounded
from gateway.status import Code, Failure

GONE = Failure(Code.UNAVAILABLE, "gone")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(keepers, "MAX_RECONNECT_SECONDS", 0.02)


class Peer(Keeper[int]):
    """Serves numbers as clients: the n-th one ends as the n-th of `ends` says, the last of them over and over."""

    def __init__(self, *ends: Callable[["Peer"], Awaitable[None]]) -> None:
        super().__init__("toy", GONE, logging.getLogger("toy"))
        self.served = 0
        self.closed: list[tuple[int, str]] = []
        self.go = asyncio.Event()
        self._ends = ends

    async def open(self) -> int:
        self.served += 1
        return self.served

    async def serve(self, client: int) -> None:
        await self._ends[min(client, len(self._ends)) - 1](self)

    async def close(self, client: int) -> None:
        assert self.client is None
        self.closed.append((client, self.trouble))

    async def explain(self, error: BaseException) -> Trouble:
        return Trouble(f"told: {error}", Failure(Code.PERMISSION_DENIED, "no entry"), isinstance(error, OSError))


async def works(peer: Peer) -> None:
    peer.up(peer.served)
    await peer.go.wait()
    peer.go.clear()


async def fails(peer: Peer) -> None:
    raise OSError("refused")


@asynccontextmanager
async def kept(*ends: Callable[[Peer], Awaitable[None]]) -> AsyncGenerator[Peer, None]:
    peer = Peer(*ends)
    peer.start()
    try:
        async with asyncio.timeout(20):
            yield peer
    finally:
        await peer.stop()


async def turns(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_callers_wait_for_the_first_try_and_between_two_clients() -> None:
    async with kept(works) as peer:
        assert peer.trouble == "not connected yet"
        assert await peer.get() == 1
        assert peer.trouble == ""
        peer.renew(1, "a refusal")
        peer.up(1)
        assert peer.client is None, "what is renewed is given to nobody any more"
        assert peer.trouble == "", "a client that is replaced is no trouble"
        assert await peer.get() == 2
        peer.renew(1, "a late refusal")
        assert peer.client == 2, "only its own client is taken away"


async def test_callers_are_refused_as_the_peer_refuses_until_it_works(caplog: pytest.LogCaptureFixture) -> None:
    async with kept(fails, fails, fails, works) as peer:
        opened = asyncio.create_task(peer.opened())
        with pytest.raises(Failure, match="no entry") as told:
            await peer.get()
        assert (told.value.code, told.value.sent) == (Code.PERMISSION_DENIED, False)
        assert peer.trouble == "told: refused"
        assert await opened == 4
        assert peer.trouble == ""
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["toy: told: refused"], "what did not change is logged once"
    refused = [(client, "told: refused") for client in (1, 2, 3)]
    assert peer.closed == [*refused, (4, "")], "what is wrong is told before the client is closed"


async def test_a_client_that_is_silent_for_a_while() -> None:
    async with kept(works) as peer:
        client = await peer.get()
        peer.down("silent")
        assert peer.trouble == "silent"
        with pytest.raises(Failure, match="gone"):
            await peer.get()
        peer.up(client)
        assert await peer.get() == client
        assert peer.served == 1


async def test_a_peer_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "RENEW_SECONDS", 0.02)

    async def hangs(peer: Peer) -> None:
        await peer.go.wait()

    async with kept(hangs) as peer:
        with pytest.raises(Failure, match="gone") as told:
            await peer.get()
    assert told.value.sent is False


async def test_a_librarys_own_cancellation_is_an_error_like_any_other() -> None:
    async def cancels(peer: Peer) -> None:
        raise asyncio.CancelledError("heartbeat")

    async with kept(cancels, works) as peer:
        with pytest.raises(Failure, match="no entry"):
            await peer.get()
        assert await peer.opened() == 2


async def test_a_bug_is_logged_with_its_traceback_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def bug(peer: Peer) -> None:
        raise KeyError("bug")

    async with kept(bug, works) as peer:
        assert await peer.opened() == 2
    assert any(record.exc_info for record in caplog.records)


async def test_a_bug_in_explaining_ends_nothing() -> None:
    async def breaks(peer: Peer) -> None:
        raise OSError("refused")

    async with kept(breaks, works) as peer:
        peer.explain = None  # type: ignore[assignment]
        with pytest.raises(Failure, match="gone"):
            await peer.get()
        assert "not callable" in peer.trouble
        assert await peer.opened() == 2


async def test_pauses_grow_while_nothing_works_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def backoff(attempt: int, first: float, most: float) -> float:
        attempts.append(attempt)
        return 0.0

    monkeypatch.setattr(keepers, "backoff", backoff)

    async def breaks(peer: Peer) -> None:
        peer.up(peer.served)
        raise OSError("broke")

    async with kept(fails, fails, breaks, fails, works) as peer:
        await turns(lambda: peer.served == 5)
    assert attempts == [1, 2, 1, 2]


async def test_a_client_that_ends_at_once_is_not_replaced_in_a_tight_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "RECONNECT_SECONDS", 0.1)

    async def ends(peer: Peer) -> None:
        peer.up(peer.served)

    async with kept(ends) as peer:
        await asyncio.sleep(0.3)
        assert 1 < peer.served < 20


class Deaf(Peer):
    """Its library swallows the first cancellation of each of these."""

    def __init__(self, *deaf: str) -> None:
        super().__init__(works)
        self.began: list[str] = []
        self._deaf = deaf

    async def _swallow(self, what: str) -> None:
        self.began.append(what)
        if what in self._deaf:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def open(self) -> int:
        await self._swallow("open")
        return await super().open()

    async def serve(self, client: int) -> None:
        self.up(client)
        await self._swallow("serve")
        await super().serve(client)

    async def close(self, client: int) -> None:
        await bounded(self._swallow("close"), 0.01)

    async def explain(self, error: BaseException) -> Trouble:
        await self._swallow("explain")
        return await super().explain(error)


@pytest.mark.parametrize("deaf", [("open",), ("serve",), ("close",), ("serve", "close")])
async def test_a_cancellation_that_a_library_swallows(deaf: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "CANCEL_SECONDS", 0.01)
    peer = Deaf(*deaf)
    peer.start()
    await turns(lambda: deaf[0] in peer.began or peer.client is not None)
    await asyncio.wait_for(peer.stop(), 10)
    assert (peer.client, peer.trouble) == (None, "stopped")


async def test_a_cancellation_that_is_swallowed_while_it_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "CANCEL_SECONDS", 0.01)
    peer = Deaf("explain")
    peer._ends = (fails,)
    peer.start()
    await turns(lambda: "explain" in peer.began)
    await asyncio.wait_for(peer.stop(), 10)
    assert peer.served == 1


async def test_a_client_is_renewed_whatever_its_library_swallows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "CANCEL_SECONDS", 0.01)
    peer = Deaf("serve")
    peer.start()
    assert await peer.get() == 1
    peer.renew(1, "a refusal")
    assert await asyncio.wait_for(peer.get(), 10) == 2
    await peer.stop()


async def test_stop_and_start() -> None:
    peer = Peer(works)
    await peer.stop()
    peer.start()
    assert await peer.get() == 1
    await peer.stop()
    await peer.stop()
    assert peer.trouble == "stopped"
    with pytest.raises(Failure, match="gone"):
        await peer.get()
    peer.start()
    assert await peer.get() == 2
    await peer.stop()


async def swallows(peer: Peer) -> None:
    peer.up(peer.served)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise OSError("the connection is closed") from None


async def test_a_library_that_tells_cancellation_as_an_error_of_its_own_does_not_keep_it_from_ending() -> None:
    async with kept(swallows) as peer:
        await turns(lambda: peer.client == 1)
        async with asyncio.timeout(5):
            await peer.stop()
        assert peer.served == 1


async def test_a_client_that_is_renewed_ends_before_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []

    async def serves(peer: Peer) -> None:
        peer.up(peer.served)
        try:
            await peer.go.wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append(peer.served)

    async with kept(serves) as peer:
        await peer.get()
        peer.down("silent")
        peer.renew(1, "a refusal")
        assert peer.trouble == "silent", "callers are still told"
        assert await peer.opened() == 2
        assert (ended, peer.closed) == ([1], [(1, "silent")])
        peer.renew(1, "late")
    assert [record.message for record in caplog.records if "renewed" in record.message] == [
        "toy: renewed after: a refusal"
    ]


async def test_what_a_renewed_client_raises_while_it_ends_refuses_nobody() -> None:
    async with kept(swallows, works) as peer:
        await turns(lambda: peer.client == 1)
        peer.renew(1, "a refusal")
        assert await peer.get() == 2
