"""TLS contexts of listeners and of dialled connections."""

import ssl

from gateway.net.network import Network
from gateway.net.tls import Tls
from gateway.port import ContractError


def tls_context(tls: Tls | None, network: Network, *, server: bool) -> ssl.SSLContext | None:
    """None for plain text. Raises ContractError where a file is not what it should be."""
    if tls is None:
        return None
    try:
        authorities = str(network.path(tls.ca)) if tls.ca else None
        if server:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authorities)
            if authorities is not None:
                context.verify_mode = ssl.CERT_REQUIRED
        else:
            context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise ContractError(f"can't read authorities from {tls.ca}: {error}", field=("tls", "ca")) from None
    if tls.certificate:
        try:
            # A key with a passphrase is refused instead of asked for on the terminal.
            context.load_cert_chain(str(network.path(tls.certificate)), str(network.path(tls.key)), password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ContractError(
                f"can't read a certificate from {tls.certificate}: {error}", field=("tls", "certificate")
            ) from None
    return context
