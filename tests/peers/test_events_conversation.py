"""A chat: callers of four kinds who publish and subscribe in one call each."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import grpc
import pytest
from support.events_gateway import Places, serving
from support.ports import free_port
from support.specimen_proto import PACKAGE, Messages
from support.until import until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.net.http import connection

PROTO = (
    f'syntax = "proto3"; package {PACKAGE};'
    "message Said { string guest = 1; string text = 2; }"
    "service Rooms { rpc Chat(stream Said) returns (stream Said); }"
)
STALL_SECONDS = 4.0


class Rooms:
    """A gateway's rooms, at an address of each protocol."""

    def __init__(self, folder: Path, store: str = "memory", **talk: Any) -> None:
        self.folder = folder
        self.places = Places()
        self.sockets, self.rpc, self.lines = (f"127.0.0.1:{free_port()}" for _ in range(3))
        (folder / "rooms.proto").write_text(PROTO)
        self.messages = Messages(folder, "rooms.proto")
        self.endpoints = self.places.endpoints(store=store, max_message_bytes=256 * 1024) | {
            "sockets": {"protocol": "websocket", "listen": self.sockets, "forward_headers": ["message-id"]},
            "rpc": {"protocol": "grpc", "listen": self.rpc, "proto": "rooms.proto"},
            "lines": {"protocol": "tcp", "listen": self.lines},
        }
        self.endpoints["events"]["forward_headers"] = ["message-id"]

        def to(room: str, guest: str) -> dict[str, Any]:
            topics = {"topic": f"chat.{room}.{guest}", "subscribe": f"chat.{room}.*"}
            return {"endpoint": "events", "mode": "converse", **topics, **talk}

        socket = {"endpoint": "sockets", "path": "/{room}/{guest}", "mode": "stream"}
        self.routes: dict[str, Any] = {
            "sockets": {
                "from": socket,
                "to": to("{$params.room}", "{$params.guest}"),
                "request": {"map": {"guest": "$params.guest", "text": "$.text"}},
            },
            "rpc": {
                "from": {"endpoint": "rpc", "method": f"{PACKAGE}.Rooms/Chat"},
                "to": to("{$headers.room}", "{$.guest}"),
            },
            "lines": {"from": {"endpoint": "lines", "pattern": "stream"}, "to": to("tea", "{$.guest}")},
        }

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with serving(self.folder, self.endpoints, self.routes):
            yield


class Guest(Protocol):
    """Who talks in the room tea."""

    async def say(self, text: str) -> None: ...

    async def hear(self) -> tuple[str, str]:
        """(guest, text)"""
        ...

    async def fall_silent(self) -> None:
        """Tell that nothing more will be said."""
        ...


class AiohttpGuest:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def say(self, text: str) -> None:
        await self._socket.send_json({"text": text})

    async def hear(self) -> tuple[str, str]:
        said = await self._socket.receive_json()
        return said["guest"], said["text"]

    async def fall_silent(self) -> None:
        await self._socket.send_str("")


class WebsocketsGuest:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, text: str) -> None:
        await self._socket.send(json.dumps({"text": text}))

    async def hear(self) -> tuple[str, str]:
        said = json.loads(await self._socket.recv())
        return said["guest"], said["text"]

    async def fall_silent(self) -> None:
        await self._socket.send("")


class GrpcGuest:
    def __init__(self, name: str, call: Any, said: Any) -> None:
        self._name, self._call, self._said = name, call, said

    async def say(self, text: str) -> None:
        await self._call.write(self._said(guest=self._name, text=text))

    async def hear(self) -> tuple[str, str]:
        said = await self._call.read()
        return said.guest, said.text

    async def fall_silent(self) -> None:
        await self._call.done_writing()


class LineGuest:
    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name, self._reader, self._writer = name, reader, writer

    async def say(self, text: str) -> None:
        self._writer.write(json.dumps({"guest": self._name, "text": text}).encode() + b"\n")
        await self._writer.drain()

    async def hear(self) -> tuple[str, str]:
        said = json.loads(await self._reader.readline())
        return said["guest"], said["text"]

    async def fall_silent(self) -> None:
        self._writer.write_eof()


@asynccontextmanager
async def guests(rooms: Rooms) -> AsyncIterator[dict[str, Guest]]:
    """One of each kind, in the room tea, who have heard of each other."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        headers = {"message-id": "m-1"}  # of the connection, not of what is said on it
        ada = await stack.enter_async_context(session.ws_connect(f"http://{rooms.sockets}/tea/ada", headers=headers))
        bob = await stack.enter_async_context(connect(f"ws://{rooms.sockets}/tea/bob"))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(rooms.rpc))
        said = rooms.messages["Said"]
        method = channel.stream_stream(f"/{PACKAGE}.Rooms/Chat", said.SerializeToString, said.FromString)
        host, _, port = rooms.lines.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        stack.callback(writer.close)
        found: dict[str, Guest] = {
            "ada": AiohttpGuest(ada),
            "bob": WebsocketsGuest(bob),
            "cyd": GrpcGuest("cyd", method(metadata=[("room", "tea")], timeout=60), said),
            "dan": LineGuest("dan", reader, writer),
        }
        yield found


async def greet(everybody: dict[str, Guest]) -> None:
    """Each hears itself, so that all are in the room; what they hear before that is passed over."""
    for name, guest in everybody.items():
        await guest.say("hello")
        while await guest.hear() != (name, "hello"):
            pass
    await everybody["ada"].say("all here")
    for guest in everybody.values():
        while await guest.hear() != ("ada", "all here"):
            pass


@pytest.mark.parametrize("store", ["memory", "events.db"])
async def test_all_hear_all_in_the_same_order(tmp_path: Path, store: str) -> None:
    rooms, count = Rooms(tmp_path, store), 25
    async with asyncio.timeout(60), rooms.serving(), guests(rooms) as everybody:
        await greet(everybody)

        async def talk(guest: Guest) -> None:
            for number in range(count):
                await guest.say(f"{number}")

        async def listen(guest: Guest) -> list[tuple[str, str]]:
            return [await guest.hear() for _ in range(count * len(everybody))]

        talking = asyncio.gather(*(talk(guest) for guest in everybody.values()))
        first, *others = await asyncio.gather(*(listen(guest) for guest in everybody.values()))
        await talking
        assert all(heard == first for heard in others)
        for name in everybody:
            assert [text for guest, text in first if guest == name] == [f"{number}" for number in range(count)]


async def test_who_has_said_all_goes_on_listening(tmp_path: Path) -> None:
    rooms = Rooms(tmp_path)
    async with asyncio.timeout(60), rooms.serving(), guests(rooms) as everybody:
        await greet(everybody)
        silent = dict(everybody)
        speaker = silent.pop("bob")
        for guest in silent.values():
            await guest.fall_silent()
        await until(lambda: _talking() == 1, lambda: f"{_talking()} still talk")
        await speaker.say("anybody there?")
        for guest in silent.values():
            assert await guest.hear() == ("bob", "anybody there?")
    # Who leaves ends both.
    assert _talking() == 0


def _talking() -> int:
    """Conversations whose caller may still send."""
    return sum(task.get_name() == "events conversation" for task in asyncio.all_tasks())


async def test_who_leaves_ends_its_own_conversation(tmp_path: Path) -> None:
    rooms = Rooms(tmp_path)
    async with asyncio.timeout(60), rooms.serving():
        async with guests(rooms) as everybody:
            await greet(everybody)
            assert _talking() == len(everybody)
        await until(lambda: _talking() == 0, lambda: f"{_talking()} still talk")


async def test_without_echo(tmp_path: Path) -> None:
    rooms = Rooms(tmp_path, echo=False)
    async with asyncio.timeout(60), rooms.serving(), guests(rooms) as everybody:
        # Who comes first hears all that follow; the last one is known to be there once it heard something.
        ada, dan = everybody["ada"], everybody["dan"]
        heard = asyncio.create_task(dan.hear())
        while not heard.done():
            await ada.say("dan?")
            await asyncio.sleep(0.05)
        await dan.say("yes")
        assert await ada.hear() == ("dan", "yes")
        await ada.say("good")
        while (said := await dan.hear()) != ("ada", "good"):
            assert said == ("ada", "dan?")


@pytest.mark.parametrize(
    ("path", "message", "close", "reason"),
    [
        ("tea/eve", json.dumps({"text": "x" * 300_000}), 1007, "the limit of 262144 bytes"),
        ("tea/eve", '{"text": ', 1007, "malformed JSON"),
        ("tea/e.v.e", '{"text": "hi"}', 1007, "one level of a topic is expected"),
    ],
)
async def test_what_can_not_be_published_ends_the_stream(
    tmp_path: Path, path: str, message: str, close: int, reason: str
) -> None:
    """Though nobody says anything. Others go on."""
    rooms = Rooms(tmp_path)
    async with asyncio.timeout(30), rooms.serving(), connect(f"ws://{rooms.sockets}/tea/bob") as bob:
        async with connect(f"ws://{rooms.sockets}/{path}") as eve:
            await eve.send(message)
            assert reason in json.loads(await eve.recv())["error"]["detail"]
            with pytest.raises(ConnectionClosed):
                await eve.recv()
            assert eve.close_code == close
        await bob.send('{"text": "still here"}')
        assert json.loads(await bob.recv())["text"] == "still here"


async def test_a_room_that_is_none(tmp_path: Path) -> None:
    """The subscription's own address is looked at before any message."""
    rooms = Rooms(tmp_path)
    async with asyncio.timeout(30), rooms.serving(), grpc.aio.insecure_channel(rooms.rpc) as channel:
        call = channel.stream_stream(f"/{PACKAGE}.Rooms/Chat")(timeout=10)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "$headers.room" in await call.details()


async def test_who_was_away_goes_on(tmp_path: Path) -> None:
    rooms = Rooms(tmp_path, "events.db", start="earliest")
    rooms.routes["sockets"]["reply"] = {"map": {"guest": "$.guest", "text": "$.text", "at": "$params.position"}}
    async with asyncio.timeout(30), rooms.serving():
        async with connect(f"ws://{rooms.sockets}/tea/ada") as ada:
            for text in ("one", "two", "three"):
                await ada.send(json.dumps({"text": text}))
            said = [json.loads(await ada.recv()) for _ in range(3)]
            assert [message["text"] for message in said] == ["one", "two", "three"]
        async with connect(f"ws://{rooms.sockets}/tea/ada", additional_headers={"Last-Event-ID": "2"}) as ada:
            assert json.loads(await ada.recv()) == {"guest": "ada", "text": "three", "at": "3"}
        async with connect(f"ws://{rooms.sockets}/tea/bob") as bob:
            assert json.loads(await bob.recv())["at"] == "1"


async def test_a_frozen_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slows nobody, and is cut off."""
    monkeypatch.setattr(connection, "STALL_SECONDS", STALL_SECONDS)
    rooms, count, text = Rooms(tmp_path), 300, "x" * 60_000
    async with asyncio.timeout(60), rooms.serving():
        socket = f"ws://{rooms.sockets}/tea"
        async with (
            connect(f"{socket}/ada") as ada,
            connect(f"{socket}/bob") as bob,
            connect(f"{socket}/eve", compression=None) as eve,
        ):
            everybody: dict[str, Guest] = {"ada": WebsocketsGuest(ada), "bob": WebsocketsGuest(bob)}
            await greet(everybody | {"eve": WebsocketsGuest(eve)})
            eve.transport.pause_reading()
            start = time.monotonic()
            worst = 0.0
            for _ in range(count):
                said = time.monotonic()
                await everybody["ada"].say(text)
                for guest in everybody.values():
                    assert await guest.hear() == ("ada", text)
                worst = max(worst, time.monotonic() - said)
            assert worst < STALL_SECONDS, "one message waited for the frozen guest"
            await until(lambda: _talking() == 2, lambda: "the frozen guest is not cut off")
            assert time.monotonic() - start < STALL_SECONDS + 15
            eve.transport.resume_reading()
            taken = 0
            with suppress(ConnectionClosed):
                while taken < count and await eve.recv():
                    taken += 1
            assert taken < count
            assert eve.close_code != 1000
            await everybody["bob"].say("bye")
            assert await everybody["ada"].hear() == ("bob", "bye")
