"""Where endpoints listen and what they call: `listen` and `target` of routes.yaml."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator

from gateway.status import ContractError

E = TypeVar("E", bound=Any)
T = TypeVar("T")


def split_host_port(text: str) -> tuple[str, int]:
    """("0.0.0.0", 8080) of "0.0.0.0:8080"; "[::1]:80" and ":80" (all interfaces) too. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as [::1]:8080")
    return host.strip("[]"), int(port)


def _checked(text: str) -> str:
    split_host_port(text)
    return text


def _with_host(text: str) -> str:
    if text.startswith(":"):
        raise ValueError("a target needs a host")
    return text


def _split(value: object) -> object:
    return tuple(place.strip() for place in value.split(",")) if isinstance(value, str) else value


def one_direction(endpoint: E) -> E:
    """Raises ValueError for an endpoint that has both `listen` and `target`, or neither."""
    if bool(endpoint.listen) == bool(endpoint.target):
        raise ValueError("give listen (inbound) or target (outbound)")
    return endpoint


def listening(listen: T | None) -> T:
    """What an inbound's endpoint listens on. Raises ContractError for one that calls."""
    if not listen:
        raise ContractError("a route comes from an endpoint with `listen`; this one has `target`")
    return listen


def calling(target: T | None) -> T:
    """What an outbound's endpoint calls. Raises ContractError for one that listens."""
    if not target:
        raise ContractError("a route goes to an endpoint with `target`; this one has `listen`")
    return target


HostPort = Annotated[str, AfterValidator(_checked)]
"""pydantic reads this type; the host may be missing."""
CalledHost = Annotated[HostPort, AfterValidator(_with_host)]
CalledHosts = Annotated[tuple[CalledHost, ...], BeforeValidator(_split, json_schema_input_type=str | tuple[str, ...])]
"""Several of one service, as a list or with commas."""
