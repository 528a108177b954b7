"""Thrift beside Apache's own implementation for Node, whose calls are side by side on one connection."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from support.node import Node
from support.plain import plain, shown
from support.thrift_apache import compile_idl
from support.thrift_apache_peers import ENCODINGS, TRANSPORTS
from support.thrift_service import EVERYTHING, Caller, served

from gateway.schema.values import struct_of
from gateway.status import Code, Detail, Failure

PLACES = [{"encoding": encoding, "transport": transport} for encoding in ENCODINGS for transport in TRANSPORTS]


NODE = Node("thrift")


@pytest.fixture(scope="module", autouse=True)
def _generated() -> None:
    """The code that peer.js needs."""
    NODE.install()
    folder = NODE.folder / "gen"
    folder.mkdir(exist_ok=True)
    compile_idl("js:node,es6", EVERYTHING, folder)


async def test_clients() -> None:
    """All protocols over all transports at once."""

    def functions(types: dict[str, Any], order: list[int]) -> dict[str, Any]:
        def swap(value: Any) -> Any:
            if value.text == "refuse":
                refused = plain(types["swap"].failure("Refused"), {"message": "so", "color": "GREEN"})
                raise Failure(Code.FAILED_PRECONDITION, "no", details=[Detail("Refused", refused)])
            return value

        done = {number: asyncio.Event() for number in range(6)}
        done[0].set()

        async def add(value: Any) -> Any:
            """The one that came last is answered first."""
            await asyncio.wait_for(done[value.left - 1].wait(), 10)
            done[value.left].set()
            order.append(value.left)
            return plain(types["add"].reply, {"success": value.left + value.right})

        return {"swap": swap, "add": add, "nothing": lambda value: struct_of(types["nothing"].reply)()}

    async with AsyncExitStack() as stack:
        ports = []
        orders: list[list[int]] = [[] for _ in PLACES]
        for place, order in zip(PLACES, orders, strict=True):
            types: dict[str, Any] = {}
            inbound = await stack.enter_async_context(
                served(functions(types, order), thrift=EVERYTHING, path="/rpc", **place)
            )
            types.update(inbound.types)
            ports.append(inbound.port)
        places = [{**place, "port": port} for place, port in zip(PLACES, ports, strict=True)]
        (told,) = await NODE.run("peer.js", "call", places)
    for place, order, one in zip(PLACES, orders, told, strict=True):
        assert one["swapped"], place
        assert one["big"] == "0020000000000001", place
        assert one["sums"] == [6, 5, 4, 3, 2], place
        assert one["refused"] == [True, "so", 2], place
        assert one["unknown"][0] == 1 and "UNIMPLEMENTED" in one["unknown"][1], place
        assert order == [1, 2, 3, 4, 5], f"{place}: calls are served side by side, though 5 came first"


async def test_servers() -> None:
    async with NODE.running("peer.js", "serve", PLACES) as node:
        ports = await node.line()
        for place, port in zip(PLACES, ports, strict=True):
            target = f"http://127.0.0.1:{port}/rpc" if place["transport"] == "http" else f"127.0.0.1:{port}"
            async with Caller(target=target, thrift=EVERYTHING, max_connections=1, **place) as caller:
                contract = caller.contract("swap")
                value = {"big": 2**53 + 1, "text": "näher", "payment": {"card": "4711"}, "names": ["a"], "far": 1}
                assert shown(contract.reply, await caller.call("swap", plain(contract.request, value))) == value, place
                arguments = caller.contract("add").request
                sums = await asyncio.gather(
                    *(caller.call("add", plain(arguments, {"left": one, "right": 1})) for one in range(1, 6))
                )
                assert [one.success for one in sums] == [2, 3, 4, 5, 6], place
                await caller.call("nothing", plain(caller.contract("nothing").request, {}))
                with pytest.raises(Failure) as refused:
                    await caller.call("swap", plain(contract.request, {"text": "refuse"}))
                (detail,) = refused.value.details
                assert (detail.name, detail.value.message, detail.value.color) == ("Refused", "so", "GREEN"), place
