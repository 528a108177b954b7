"""Backbones: endpoints that bear other endpoints' events."""

from dataclasses import dataclass
from typing import Any

from gateway import registry
from gateway.config import Config
from gateway.net.network import Network
from gateway.port import Bus, Inbound, OnBackbone, Outbound, Side


@dataclass(frozen=True, slots=True)
class Lent:
    """What an endpoint was given of its backbone, and what it has opened of it."""

    bus: Bus
    sides: list[Inbound | Outbound]


def lend(config: Config, name: str, network: Network) -> Lent | None:
    """The backbone of this endpoint; None where it has none, or config has refused it."""
    endpoint = config.endpoints[name].endpoint
    if not isinstance(endpoint, OnBackbone) or endpoint.backbone not in config.endpoints:
        return None
    bearer = config.endpoints[endpoint.backbone]
    adapter = registry.adapter(bearer.protocol)
    inbound, outbound = adapter.inbound, adapter.outbound
    if adapter.backbone is None or inbound is None or outbound is None:
        return None
    sides: list[Inbound | Outbound] = []

    def opened(side: Side) -> Any:
        made = side.open(bearer.name, bearer.endpoint, network)
        sides.append(made)
        return made

    bus = Bus(
        name=bearer.name,
        stream=endpoint.stream or name,
        backbone=adapter.backbone,
        inbound=lambda: opened(inbound),
        outbound=lambda: opened(outbound),
    )
    return Lent(bus, sides)
