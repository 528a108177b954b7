"""A page to write queries on. It asks nothing but the endpoint itself, and its policy lets it ask nothing else."""

from importlib.resources import files
from typing import Final

from gateway.net.http.server import HttpReply

_HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    (
        "Content-Security-Policy",
        "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cache-Control", "no-store"),
)


def page() -> HttpReply:
    return HttpReply(200, _HEADERS, files(__package__).joinpath("graphiql.html").read_bytes())
