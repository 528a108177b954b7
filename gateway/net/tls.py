"""TLS as routes.yaml writes it, for all protocols, and the contexts that are made of it."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec
from pydantic import Field, model_validator

from gateway.section import Section
from gateway.status import Code, ContractError, Failure

_STRICT: Final = (
    " On Python 3.13, which the image has, an authority without keyUsage is refused, and so is a peer whose "
    "certificate has no authority key identifier (RFC 5280)."
)

E = TypeVar("E", bound=Any)

log = logging.getLogger("gateway.net")


class ClientTls(Section):
    """Of connections that the gateway makes."""

    ca: str = Field(default="", description="PEM file of the authorities to trust; the system's where empty." + _STRICT)
    certificate: str = Field(default="", description="PEM file of the client certificate and its chain.")
    key: str = Field(default="", description="PEM file of the client certificate's key.")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together")
        return self


class Tls(ClientTls):
    """Of connections that the gateway makes or accepts."""

    ca: str = Field(
        default="",
        description="PEM file of the authorities to trust. A listener with it demands certificates of its clients; "
        "for connections to a target the system's where empty." + _STRICT,
    )
    certificate: str = Field(
        default="", description="PEM file of the own certificate and its chain; a listener needs it."
    )
    key: str = Field(default="", description="PEM file of the own certificate's key.")
    server_name: str = Field(
        default="", description="The name that a target's certificate must bear; the target's host where empty."
    )


def certified(endpoint: E) -> E:
    """Raises ValueError for an endpoint that listens with `tls` and has no certificate."""
    if endpoint.listen and endpoint.tls is not None and not endpoint.tls.certificate:
        raise ValueError("listen with tls needs certificate and key")
    return endpoint


def client_context(tls: ClientTls, path: Callable[[str], Path]) -> ssl.SSLContext:
    """For connections that the gateway makes: verifies the peer's certificate and name.

    path: where a file named in routes.yaml is; Network.path. Raises ContractError where a file is not as it should be.
    """
    return _context(ssl.Purpose.SERVER_AUTH, tls, path)


class Trust(msgspec.Struct, frozen=True):
    """What a client's connections over TLS are made with.

    context: None for the system's authorities. name: that the peer's certificate must bear; None for the host's.
    """

    context: ssl.SSLContext | None = None
    name: str | None = None


def trust(tls: Tls | None, path: Callable[[str], Path]) -> Trust:
    """Of a target; as client_context."""
    return Trust() if tls is None else Trust(client_context(tls, path), tls.server_name or None)


def server_context(tls: Tls, path: Callable[[str], Path]) -> ssl.SSLContext:
    """For connections that the gateway accepts; with `ca` it demands certificates of the clients. As client_context."""
    context = _context(ssl.Purpose.CLIENT_AUTH, tls, path)
    if tls.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def pem_files(tls: ClientTls, path: Callable[[str], Path]) -> list[bytes | None]:
    """The authorities, the key and the certificate, for engines that speak TLS themselves; None for what is not given.
    As client_context."""
    return [
        _read(path(getattr(tls, name)), name) if getattr(tls, name) else None for name in ("ca", "key", "certificate")
    ]


def _read(file: Path, field: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ContractError(f"{file}: {error.strerror}", field=("tls", field)) from error


def _context(purpose: ssl.Purpose, tls: ClientTls, path: Callable[[str], Path]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=str(path(tls.ca)) if tls.ca else None)
    except (OSError, ValueError) as error:
        raise ContractError(f"can't read authorities from {tls.ca}: {error}", field=("tls", "ca")) from None
    if tls.certificate:
        try:
            # A key with a passphrase is refused instead of asked for on the terminal.
            context.load_cert_chain(str(path(tls.certificate)), str(path(tls.key)), password="")
        except (OSError, ValueError) as error:
            raise ContractError(
                f"can't read a certificate from {tls.certificate}: {error}", field=("tls", "certificate")
            ) from None
    return context


def untrusted(error: Exception) -> Failure:
    """For a handshake in which a target's certificate was refused. Why is told by the log alone: it names hosts."""
    log.warning("a target's certificate is refused: %s", getattr(error, "verify_message", "") or error)
    return Failure(Code.UNAVAILABLE, "the upstream's certificate is not trusted", sent=False)
