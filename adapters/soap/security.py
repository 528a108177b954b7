"""WS-Security: the UsernameToken (OASIS Web Services Security UsernameToken Profile 1.1)."""

import base64
import hashlib
import os
from datetime import UTC, datetime
from typing import Final

from gateway.schema.idl.xml.text import escape

_OASIS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
_WSSE: Final = f"{_OASIS}wssecurity-secext-1.0.xsd"
_WSU: Final = f"{_OASIS}wssecurity-utility-1.0.xsd"
_PROFILE: Final = f"{_OASIS}username-token-profile-1.0"
_BASE64: Final = f"{_OASIS}soap-message-security-1.0#Base64Binary"


def username_token(username: str, password: str, *, digest: bool) -> str:
    """The header block. digest: SHA-1 of nonce, time and password (3.1), which the receiver must be able to redo."""
    if not digest:
        return _block(username, f'<wsse:Password Type="{_PROFILE}#PasswordText">{escape(password)}</wsse:Password>')
    nonce = os.urandom(16)
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # SHA-1 is what the profile says.
    hashed = hashlib.sha1(nonce + created.encode() + password.encode()).digest()  # noqa: S324
    return _block(
        username,
        f'<wsse:Password Type="{_PROFILE}#PasswordDigest">{base64.b64encode(hashed).decode()}</wsse:Password>'
        f'<wsse:Nonce EncodingType="{_BASE64}">{base64.b64encode(nonce).decode()}</wsse:Nonce>'
        f'<wsu:Created xmlns:wsu="{_WSU}">{created}</wsu:Created>',
    )


def _block(username: str, password: str) -> str:
    return (
        f'<wsse:Security xmlns:wsse="{_WSSE}" soap:mustUnderstand="1"><wsse:UsernameToken>'
        f"<wsse:Username>{escape(username)}</wsse:Username>{password}</wsse:UsernameToken></wsse:Security>"
    )
