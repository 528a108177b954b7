"""Signatures of webhooks after Standard Webhooks: HMAC-SHA256 over id, timestamp and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from gateway.status import Code, Failure

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
TOLERANCE_SECONDS: Final = 300

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
_KEY_BYTES: Final = (16, 64)
_SIGNATURES: Final = 16  # of one message that are looked at


def read_secret(text: str) -> bytes:
    """The key of a secret as it is written. Raises ValueError, without the secret."""
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook's secret is whsec_ and a key in base64") from None
    if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
        raise ValueError(f"a webhook's key has {_KEY_BYTES[0]} to {_KEY_BYTES[1]} bytes, this one {len(key)}")
    return key


def check_secret(secret: SecretStr) -> SecretStr:
    """The secret. Raises ValueError where it can't be read, without it."""
    read_secret(secret.get_secret_value())
    return secret


def read_keys(secrets: Iterable[SecretStr]) -> list[bytes]:
    """The keys of checked secrets."""
    return [read_secret(secret.get_secret_value()) for secret in secrets]


def sign(keys: Sequence[bytes], identity: str, now: float, body: bytes) -> list[tuple[str, str]]:
    """The headers that tell who sent this. now: seconds since the epoch."""
    timestamp = str(int(now))
    signature = " ".join(f"{_VERSION},{_digest(key, identity, timestamp, body)}" for key in keys)
    return [(ID, identity), (TIMESTAMP, timestamp), (SIGNATURE, signature)]


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Raises Failure(UNAUTHENTICATED) unless one of the keys signed this, and not long ago.

    now: seconds since the epoch.
    """
    identity, timestamp, signatures = (headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if not (identity and timestamp and signatures):
        raise _refused(f"{ID}, {TIMESTAMP} and {SIGNATURE} are required here")
    if not (identity.isascii() and identity.isprintable()):
        raise _refused(f"{ID} has characters that an id can't have")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
        raise _refused(f"{TIMESTAMP} is no number of seconds")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise _refused(f"{TIMESTAMP} is more than {TOLERANCE_SECONDS} seconds off")
    expected = [_digest(key, identity, timestamp, body).encode() for key in keys]
    for given in signatures.split(" ")[:_SIGNATURES]:
        version, _, digest = given.partition(",")
        candidate = digest.encode("utf-8", "surrogateescape")
        if version == _VERSION and any(hmac.compare_digest(known, candidate) for known in expected):
            return
    raise _refused("the signature is not right")


def _digest(key: bytes, identity: str, timestamp: str, body: bytes) -> str:
    content = f"{identity}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _refused(why: str) -> Failure:
    return Failure(Code.UNAUTHENTICATED, why, sent=False)
