"""Adapters by protocol name, found through entry points and loaded only when asked for."""

from functools import cache
from importlib.metadata import entry_points

from gateway.port import Adapter

GROUP = "gateway.adapters"


def protocols() -> tuple[str, ...]:
    """The names of all installed adapters."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@cache
def adapter(protocol: str) -> Adapter:
    """The adapter of this protocol. Raises KeyError where none is installed."""
    for point in entry_points(group=GROUP, name=protocol):
        loaded = point.load()
        if not isinstance(loaded, Adapter):
            raise TypeError(f"entry point {protocol} of {GROUP} is no Adapter")
        return loaded
    raise KeyError(protocol)
