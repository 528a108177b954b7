"""Workers and consumers: begun together, replaced as a whole, the leaving ones not forgotten."""

import asyncio

import pytest

from gateway.net.broker.workers import Consumers, Workers


class Toy:
    def __init__(self, name: str) -> None:
        self.binding = self.name = name
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


class Toys:
    """Consumers of toys, and all that were made."""

    def __init__(self) -> None:
        self.consumers: Consumers[str, Toy] = Consumers()
        self.made: dict[str, Toy] = {}

    def bind(self, **bindings: str) -> None:
        self.consumers.bind({key: f"{key} {text}" for key, text in bindings.items()}, self._make)

    def _make(self, binding: str) -> Toy:
        name = binding.split()[0]
        assert name not in self.made
        toy = self.made[name] = Toy(name)
        return toy


async def test_workers_are_made_once_and_started_with_the_others() -> None:
    workers: Workers[str, Toy] = Workers()
    first = workers.obtain("a", lambda: Toy("a"))
    assert workers.obtain("a", lambda: Toy("another")) is first
    assert (first.log, len(workers)) == ([], 1)
    workers.start()
    second = workers.obtain("b", lambda: Toy("b"))
    assert workers.unready == "a is not ready; b is not ready"
    await workers.stop()
    assert first.log == second.log == ["start", "stop"]


async def test_what_lies_beneath_begins_first_and_ends_last() -> None:
    order: list[str] = []

    class Ordered(Toy):
        def start(self) -> None:
            order.append(f"{self.name} starts")

        async def stop(self) -> None:
            await asyncio.sleep(0)
            order.append(f"{self.name} stops")

    consumers: Consumers[str, Toy] = Consumers(Ordered("beneath"))
    consumers.bind({"a": "a", "b": "b"}, lambda binding: Ordered(binding))
    assert (consumers.unready, len(consumers)) == ("beneath is not ready; a is not ready; b is not ready", 2)
    consumers.start()
    consumers.bind({"b": "b"}, lambda binding: Ordered(binding))
    await consumers.stop()
    assert (order[0], order[-1]) == ("beneath starts", "beneath stops")
    assert order[3:-1] == ["a stops", "b stops"], "a leaving one, too"


async def test_those_that_stay_go_on_and_the_others_leave() -> None:
    toys = Toys()
    toys.bind(a="one", b="one")
    assert toys.made["a"].log == []
    toys.consumers.start()
    toys.bind(b="two", c="two")
    a, b, c = (toys.made[name] for name in "abc")
    assert [toy.binding for toy in (a, b, c)] == ["a one", "b two", "c two"]
    assert toys.consumers.unready == "b is not ready; c is not ready"
    await asyncio.sleep(0)
    assert [a.log, b.log, c.log] == [["start", "drain"], ["start"], ["start"]]
    draining = asyncio.create_task(toys.consumers.drain())
    b.drained.set()
    c.drained.set()
    await asyncio.sleep(0.01)
    assert not draining.done(), "a leaving one is waited for"
    a.drained.set()
    async with asyncio.timeout(5):
        await draining
    assert a.log == ["start", "drain", "stop"]
    await toys.consumers.stop()
    assert c.log == ["start", "drain", "stop"]


@pytest.mark.parametrize("begun", [True, False], ids=["while it drains", "before it begins to"])
async def test_stop_ends_those_that_are_leaving(*, begun: bool) -> None:
    toys = Toys()
    toys.bind(a="one")
    await toys.consumers.stop()
    toys.consumers.start()
    toys.bind()
    if begun:
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await toys.consumers.stop()
    first, *drained, last = toys.made["a"].log[1:]
    assert (first, last) == ("start", "stop")
    assert ("drain" in drained) is begun
