"""Consumers: replaced as a whole, the leaving ones not forgotten."""

import asyncio
from functools import partial

from gateway.net.consumers import Consumers


class Toy:
    def __init__(self, name: str) -> None:
        self.name = name
        self.unready = f"{name} is not ready"
        self.log: list[str] = []
        self.drained = asyncio.Event()

    def start(self) -> None:
        self.log.append("start")

    async def drain(self) -> None:
        self.log.append("drain")
        await self.drained.wait()

    async def stop(self) -> None:
        self.log.append("stop")


def wanted(*names: str) -> dict[str, partial[Toy]]:
    return {name: partial(Toy, name) for name in names}


async def test_those_that_stay_go_on_and_the_others_leave() -> None:
    consumers: Consumers[str, Toy] = Consumers()
    first = dict(consumers.replace(wanted("a", "b")))
    assert (first["a"].log, len(consumers)) == ([], 2)
    consumers.start()
    second = consumers.replace(wanted("b", "c"))
    assert second["b"] is first["b"]
    assert consumers.unready == "b is not ready; c is not ready"
    await asyncio.sleep(0)
    assert [first["a"].log, first["b"].log, second["c"].log] == [["start", "drain"], ["start"], ["start"]]
    draining = asyncio.create_task(consumers.drain())
    for consumer in second.values():
        consumer.drained.set()
    await asyncio.sleep(0.01)
    assert not draining.done(), "a leaving one is waited for"
    first["a"].drained.set()
    async with asyncio.timeout(5):
        await draining
    assert first["a"].log == ["start", "drain", "stop"]
    await consumers.stop()
    assert second["c"].log == ["start", "drain", "stop"]


async def test_stop_ends_those_that_are_leaving() -> None:
    consumers: Consumers[str, Toy] = Consumers()
    leaving = consumers.replace(wanted("a"))["a"]
    await consumers.stop()
    consumers.start()
    consumers.replace({})
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await consumers.stop()
    assert leaving.log == ["stop", "start", "drain", "stop"]
