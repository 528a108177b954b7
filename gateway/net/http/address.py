"""Where endpoints over HTTP listen and what they call, as routes.yaml gives it. pydantic reads these types."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field
from yarl import URL

from gateway.net.address import HostPort
from gateway.net.http.router import PathTemplate
from gateway.net.tls import Tls, certified

E = TypeVar("E", bound=Any)


def _path(text: str) -> str:
    PathTemplate(text)
    return text


def _literal_path(text: str) -> str:
    """Raises ValueError for a path with variables."""
    if not PathTemplate(text).literal:
        raise ValueError(f"{text!r}: all of an endpoint is at one path, without variables")
    return text


def service_url(text: str) -> str:
    """Raises ValueError for what is no URL of an HTTP service."""
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.fragment or url.user:
        raise ValueError(f"{text!r} is not a URL such as http://orders:8080/api")
    return text


def base_url(text: str, schemes: tuple[str, str] = ("http", "https")) -> str:
    """Without the slash at its end. Raises ValueError for what no path can be added to."""
    url = URL(text)
    if url.scheme not in schemes or not url.host or url.query_string or url.fragment or url.user:
        raise ValueError(f"{text!r} is not a base URL such as {schemes[0]}://orders:8080/api")
    return text.rstrip("/")


def https_fits(endpoint: E) -> E:
    """Raises ValueError for an endpoint with `tls` whose target is called without, or that listens uncertified."""
    if endpoint.tls is not None and endpoint.target and URL(endpoint.target).scheme not in ("https", "wss"):
        raise ValueError("tls goes with a target of https:// or wss://")
    return certified(endpoint)


Listen = HostPort
Path = Annotated[str, AfterValidator(_path)]
"""A template: see PathTemplate."""
LiteralPath = Annotated[str, AfterValidator(_literal_path)]
ServiceUrl = Annotated[str, AfterValidator(service_url)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
Https = Annotated[
    Tls | None,
    Field(
        description="listen: speak HTTPS, with this certificate; endpoints that share the port need the same. target: "
        "what is trusted and shown where the URL is https:// or wss://, if the system's authorities don't do.",
    ),
]
