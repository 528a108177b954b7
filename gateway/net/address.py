"""host:port, as `listen` and `target` give it."""

from typing import Annotated

from pydantic import AfterValidator


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


HostPort = Annotated[str, AfterValidator(_checked)]
"""pydantic reads this type; the host may be missing."""
