"""Inbound: durable subscriptions that call routes."""

import asyncio
from collections.abc import Sequence
from typing import Final

from adapters.events.attributes import METADATA, UNCERTAIN, headers_of, key_of, params_of, present
from adapters.events.config import Endpoint, Source
from adapters.events.hub import shared_hub
from gateway.codecs.cloudevents import CloudEvent, traceparent
from gateway.journal.entry import Entry
from gateway.journal.subscription import Deliver
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Bus, Contract, ContractError

PATTERNS: Final = frozenset({Pattern.ONE_WAY})


class EventsInbound:
    """One durable subscription per route."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network, bus: Bus | None = None) -> None:
        self._name = name
        self._endpoint = endpoint
        self._hub = shared_hub(name, endpoint, network, bus)
        self._log = self._hub.log
        self._subscriptions = self._log.subscriptions()
        self._started = False

    async def load(self) -> None:
        """Without a contract of its own: that is the upstream's."""
        self._hub.load(self._endpoint)

    def contract(self, address: Source) -> Contract:
        endpoint = self._endpoint
        if any(webhook.subscription == address.subscription for webhook in endpoint.webhooks):
            raise ContractError(f"{address.subscription} is a webhook's subscription", field=("subscription",))
        self._log.check(address)
        topics = ", ".join(address.topic)
        return Contract(
            patterns=PATTERNS,
            format=endpoint.format,
            unknown=endpoint.unknown,
            metadata=present(METADATA, self._log),
            uncertain=UNCERTAIN,
            headers=endpoint.forwarded,
            claim=f"subscription {address.subscription} of {self._name}",
            holds=self._hub.holds(endpoint),
            describe=f"consumes {topics} as subscription {address.subscription} from the {address.start} on; "
            f"dead letters go {self._log.letters(address)}",
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        """A route whose address stays goes on undisturbed."""
        self._subscriptions.replace({binding.address: _deliverer(binding) for binding in bindings})

    async def start(self) -> None:
        if not self._started:
            self._started = True
            await self._hub.start(self._endpoint)
            await self._subscriptions.start()

    async def drain(self) -> None:
        await asyncio.gather(self._hub.drain(), self._subscriptions.drain())

    async def stop(self) -> None:
        if self._started:
            self._started = False
            await self._subscriptions.stop()
            await self._hub.stop()

    @property
    def unready(self) -> str:
        if not self._started:
            return ""
        return "; ".join(why for why in (self._hub.unready, self._subscriptions.unready) if why)


def _deliverer(binding: Binding) -> Deliver[CloudEvent]:
    async def deliver(entry: Entry[CloudEvent]) -> None:
        event = entry.event
        request = Message(event.data, headers_of(event, binding.headers), params_of(entry), key_of(event))
        context = Context(peer=f"{entry.topic}/{entry.position or event.id}", trace=traceparent(event))
        await binding.service.call(request, context)

    return deliver
