"""Thrift beside Apache's own implementation for Python: its clients call the gateway, the gateway calls its servers."""

import asyncio
from typing import Any

import pytest
from support.plain import plain, shown
from support.thrift_apache import EVERYTHING as IDL
from support.thrift_apache import generated, to_apache
from support.thrift_apache_peers import ENCODINGS, TRANSPORTS, client, server
from support.thrift_service import EVERYTHING, Caller, served

from gateway.schema.idl.thrift.reader import ThriftSchema
from gateway.schema.values import struct_of
from gateway.status import Code, Detail, Failure

COMBINATIONS = [(encoding, transport) for encoding in ENCODINGS for transport in TRANSPORTS]
FULL: dict[str, Any] = {
    "flag": True,
    "tiny": -128,
    "octet": 127,
    "small": -(2**15),
    "medium": 2**31 - 1,
    "big": -(2**63),
    "ratio": 0.1,
    "text": 'näher \U0001f980 "quoted" \\ \n',
    "blob": bytes(range(256)),
    "color": "DARK_BLUE",
    "amount": {"currency": "EUR", "units": 2**53 + 1},
    "names": ["", "a", "b"],
    "numbers": [1, -1, 2**31 - 1],
    "flags": [True, False],
    "matrix": [[], [1, 2**62]],
    "tags": ["only"],
    "counts": {"x": 1, "": 0},
    "labels": {5: "five", -5: ""},
    "odds": {True: 0.5, False: -1.5},
    "colors": {"RED": {"free": True}},
    "doubles": [{"key": 1.5, "value": "x"}],
    "payment": {"cash": {"currency": "CHF", "units": 0}},
    "tree": {"name": "root", "children": [{"name": "leaf", "children": []}], "sibling": {"name": "next"}},
    "palette": ["RED", 77],
    "ratios": [0.0, 1e300, 5e-324],
    "chunks": [b"", b"\x00\xff"],
    "unique": [7],
    "deep": [{"k": [{"name": "n"}]}],
    "late": False,
    "far": 1,
}


@pytest.fixture(scope="module")
def modules() -> dict[str, Any]:
    service, types, common = generated(IDL, "everything.Everythings", "everything.ttypes", "common.ttypes")
    return {"service": service, "": types, "common": common}


def full(record: Any) -> Any:
    return plain(record, FULL)


@pytest.mark.parametrize(("encoding", "transport"), COMBINATIONS)
async def test_apache_client(modules: dict[str, Any], encoding: str, transport: str) -> None:
    notified = asyncio.Event()

    def swap(value: Any) -> Any:
        if value.text == "refuse":
            refused = contract.failure("Refused")
            raise Failure(
                Code.FAILED_PRECONDITION,
                "no",
                details=[Detail("Refused", plain(refused, {"message": "so", "color": "GREEN"}))],
            )
        if value.text == "break":
            raise Failure(Code.NOT_FOUND, "it is not there", path="$.text")
        return value

    functions = {
        "swap": swap,
        "add": lambda value: plain(served_.types["add"].reply, {"success": value.left + value.right}),
        "nodes": lambda value: plain(
            served_.types["nodes"].reply, {"success": [{"name": name} for name in value.names]}
        ),
        "nothing": lambda value: struct_of(served_.types["nothing"].reply)(),
        "ping": lambda value: struct_of(served_.types["ping"].reply)(),
        "notify": lambda value: notified.set(),
    }
    types = modules[""]
    async with served(functions, thrift=EVERYTHING, encoding=encoding, transport=transport) as served_:
        contract = served_.types["swap"]
        value = to_apache(
            ThriftSchema.load(IDL).operation("Everythings", "swap").wire.result.type, full(contract.request), modules
        )
        address = served_.url if transport == "http" else f"127.0.0.1:{served_.port}"

        def talk() -> None:
            from thrift.Thrift import TApplicationException

            with client(modules["service"], address, encoding, transport) as calls:
                assert calls.swap(value) == value
                assert calls.add(2**31 - 2, 1) == 2**31 - 1
                assert calls.nodes(["a", "b"]) == [types.Node(name="a"), types.Node(name="b")]
                assert calls.nothing() is None
                assert calls.ping() is None
                calls.notify("x", 5)
                with pytest.raises(types.Refused) as refused:
                    calls.swap(types.Everything(text="refuse"))
                assert (refused.value.message, refused.value.color) == ("so", 2)
                with pytest.raises(TApplicationException, match=r"NOT_FOUND: it is not there at \$\.text") as broken:
                    calls.swap(types.Everything(text="break"))
                assert broken.value.type == TApplicationException.INTERNAL_ERROR
                with pytest.raises(TApplicationException, match="echo") as unknown:
                    calls.echo("no route")
                assert unknown.value.type == TApplicationException.UNKNOWN_METHOD
                # An argument that the contract wants and that did not come.
                with pytest.raises(TApplicationException, match="INVALID_ARGUMENT") as invalid:
                    calls.swap(types.Everything(amount=modules["common"].Money(currency="EUR")))
                assert invalid.value.type == TApplicationException.PROTOCOL_ERROR
                assert calls.swap(value) == value  # the connection is as good as before

        await asyncio.to_thread(talk)
        assert notified.is_set()


@pytest.mark.parametrize(("encoding", "transport"), COMBINATIONS)
async def test_apache_server(modules: dict[str, Any], encoding: str, transport: str) -> None:
    types = modules[""]
    notified: list[Any] = []

    class Handler:
        def swap(self, value: Any) -> Any:
            if value.text == "refuse":
                raise types.Refused(message="so", color=2)
            if value.text == "break":
                raise RuntimeError("a bug")
            return value

        def add(self, left: int, right: int) -> int:
            return left + right

        def nodes(self, names: list[str]) -> Any:
            return [types.Node(name=name) for name in names]

        def nothing(self) -> None:
            pass

        def notify(self, what: str, number: int) -> None:
            notified.append((what, number))

        def times(self, value: Any) -> Any:
            return value

    processor = modules["service"].Processor(Handler())
    with server(processor, encoding, transport) as address:
        async with Caller(target=address, thrift=EVERYTHING, encoding=encoding, transport=transport) as caller:
            contract = caller.contract("swap")
            value = full(contract.request)
            assert shown(contract.reply, await caller.call("swap", value)) == FULL
            arguments = caller.contract("add").request
            sums = await asyncio.gather(
                *(caller.call("add", plain(arguments, {"left": one, "right": 1})) for one in range(30))
            )
            assert [one.success for one in sums] == list(range(1, 31))
            found = await caller.call("nodes", plain(caller.contract("nodes").request, {"names": ["a", "b"]}))
            assert [node.name for node in found.success] == ["a", "b"]
            await caller.call("nothing", plain(caller.contract("nothing").request, {}))
            await caller.call("notify", plain(caller.contract("notify").request, {"what": "x", "number": 5}))
            with pytest.raises(Failure) as refused:
                await caller.call("swap", plain(contract.request, {"text": "refuse"}))
            assert (refused.value.code, refused.value.message) == (Code.FAILED_PRECONDITION, "so")
            (detail,) = refused.value.details
            assert (detail.name, detail.value.color) == ("Refused", "GREEN")
            with pytest.raises(Failure) as broken:
                await caller.call("swap", plain(contract.request, {"text": "break"}))
            assert broken.value.code is Code.INTERNAL and "a bug" not in broken.value.message
            assert notified == [("x", 5)]
            times = caller.contract("times").request
            sent = {"at": 1_700_000_000_123_000_000, "floor": -1, "took": -5_000, "many": [0]}
            told = shown(times, await caller.call("times", plain(times, sent)))
            assert told == {**sent, "floor": -(10**9)}
            with pytest.raises(Failure, match="finer") as finer:
                await caller.call("times", plain(times, {"at": 1}))
            assert finer.value.path == "$.at"


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_multiplexed(modules: dict[str, Any], encoding: str) -> None:
    from thrift.TMultiplexedProcessor import TMultiplexedProcessor

    functions = {
        "add": lambda value: plain(served_.types["add"].reply, {"success": value.left + value.right}),
        "Everythings:nothing": lambda value: struct_of(served_.types["Everythings:nothing"].reply)(),
    }
    options = {"thrift": EVERYTHING, "encoding": encoding, "transport": "framed", "multiplexed": True}
    async with served(functions, **options) as served_:
        address = f"127.0.0.1:{served_.port}"

        def talk() -> None:
            from thrift.Thrift import TApplicationException

            with client(modules["service"], address, encoding, "framed", multiplexed="Everythings") as calls:
                assert calls.add(1, 2) == 3
                assert calls.nothing() is None
            with client(modules["service"], address, encoding, "framed") as calls:
                assert calls.add(3, 4) == 7  # the default service
            with client(modules["service"], address, encoding, "framed", multiplexed="Other") as calls:
                with pytest.raises(TApplicationException, match="Other:add") as unknown:
                    calls.add(1, 2)
                assert unknown.value.type == TApplicationException.UNKNOWN_METHOD

        await asyncio.to_thread(talk)

    class Handler:
        def add(self, left: int, right: int) -> int:
            return left + right

    processor = TMultiplexedProcessor()
    processor.registerProcessor("Everythings", modules["service"].Processor(Handler()))
    with server(processor, encoding, "framed") as address:
        async with Caller(target=address, **options) as caller:
            arguments = plain(caller.contract("add").request, {"left": 1, "right": 2})
            assert (await caller.call("add", arguments)).success == 3


async def test_messages_without_a_version(modules: dict[str, Any]) -> None:
    """TBinaryProtocol as it was before versions, in both directions."""

    class Handler:
        def add(self, left: int, right: int) -> int:
            return left + right

    functions = {"add": lambda value: plain(served_.types["add"].reply, {"success": value.left + value.right})}
    for transport in ("buffered", "framed"):
        async with served(functions, thrift=EVERYTHING, transport=transport) as served_:

            def talk(port: int = served_.port, transport: str = transport) -> None:
                with client(modules["service"], f"127.0.0.1:{port}", "binary", transport, strict=False) as calls:
                    assert calls.add(1, 2) == 3

            await asyncio.to_thread(talk)
        with server(modules["service"].Processor(Handler()), "binary", transport, strict=False) as address:
            async with Caller(target=address, thrift=EVERYTHING, transport=transport, strict=False) as caller:
                arguments = plain(caller.contract("add").request, {"left": 1, "right": 2})
                assert (await caller.call("add", arguments)).success == 3
