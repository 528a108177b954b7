"""Webhooks: how they are signed, the events they are, and who may send them."""

import json
import time

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from gateway.net.http.cloudevents import webhook_event
from gateway.net.http.webhook_handshake import permission
from gateway.net.http.webhook_signature import read_keys, sign, verify
from gateway.status import Code, Failure

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
KEYS = read_keys([SecretStr(SECRET), SecretStr(OTHER)])


def test_what_is_signed_with_several_keys_each_receiver_believes() -> None:
    body = b'{"no": 1}'
    headers = dict(sign(KEYS, "msg_1", time.time(), body))
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body, headers) == {"no": 1}
        verify(read_keys([SecretStr(secret)]), headers, body, time.time())
    with pytest.raises(Failure) as refused:
        verify(KEYS, headers, body + b" ", time.time())
    assert refused.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("payload", "type_"),
    [({"type": "order.placed"}, "order.placed"), ({}, "t"), ({"type": 1}, "t"), ({"type": ""}, "t")],
)
def test_a_plain_webhook_is_an_event_of_its_payloads_type(payload: dict[str, object], type_: str) -> None:
    body = json.dumps(payload).encode()
    found = webhook_event({"webhook-id": "msg_1", "webhook-timestamp": "1700000000"}, body, "/hooks", "t")
    assert (found.id, found.source, found.type, found.time) == ("msg_1", "/hooks", type_, "2023-11-14T22:13:20Z")
    assert found.data == body and found.json


@pytest.mark.parametrize("body", [b"{", b"[]", b'"\xff"', b'{"a":' * 5000])
def test_a_plain_webhook_is_a_json_object(body: bytes) -> None:
    with pytest.raises(Failure) as refused:
        webhook_event({"webhook-id": "m", "webhook-timestamp": "1"}, body, "/hooks", "t")
    assert (refused.value.code, refused.value.sent) == (Code.INVALID_ARGUMENT, False)


@pytest.mark.parametrize(
    ("asked", "origins", "status", "granted"),
    [
        ({}, ["*"], 204, None),
        ({"webhook-request-origin": " "}, ["*"], 204, None),
        ({"webhook-request-origin": "any.example"}, ["*"], 200, "any.example"),
        ({"webhook-request-origin": "SHOP.example"}, ["shop.EXAMPLE"], 200, "SHOP.example"),
        ({"webhook-request-origin": "evil.example"}, ["shop.example"], 403, None),
        ({"webhook-request-origin": "evil.example"}, [], 403, None),
    ],
)
def test_permission(asked: dict[str, str], origins: list[str], status: int, granted: str | None) -> None:
    for rate in (False, True):
        reply = permission(asked | ({"webhook-request-rate": "9"} if rate else {}), origins, ("POST", "OPTIONS"))
        headers = dict(reply.headers)
        assert (reply.status, headers["Allow"], headers.get("WebHook-Allowed-Origin")) == (
            status,
            "POST, OPTIONS",
            granted,
        )
        assert ("WebHook-Allowed-Rate" in headers) is (rate and granted is not None)
