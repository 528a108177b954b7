"""TLS contexts of endpoints."""

import ssl

from gateway.net.network import Network
from gateway.net.tls import Tls
from gateway.port import ContractError


def server_context(tls: Tls | None, network: Network) -> ssl.SSLContext | None:
    """Raises ContractError for files that can't be used."""
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _own_certificate(context, tls, network)
    if tls.ca:
        _authorities(context, tls, network)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: Tls | None, network: Network) -> ssl.SSLContext | None:
    """Verifies the server's certificate and name. Raises ContractError for files that can't be used."""
    if tls is None:
        return None
    context = ssl.create_default_context()
    if tls.ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _authorities(context, tls, network)
    if tls.certificate:
        _own_certificate(context, tls, network)
    return context


def _authorities(context: ssl.SSLContext, tls: Tls, network: Network) -> None:
    try:
        context.load_verify_locations(network.path(tls.ca))
    except (OSError, ssl.SSLError) as error:
        raise ContractError(f"{tls.ca}: no PEM file of certificates", field=("tls", "ca")) from error


def _own_certificate(context: ssl.SSLContext, tls: Tls, network: Network) -> None:
    try:
        context.load_cert_chain(network.path(tls.certificate), network.path(tls.key))
    except (OSError, ssl.SSLError) as error:
        raise ContractError(
            f"{tls.certificate} and {tls.key}: no PEM files of a certificate and its key", field=("tls", "certificate")
        ) from error
