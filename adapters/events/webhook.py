"""Webhook: pushes a durable subscription's events to a URL.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
"""

import time
from typing import Final

from adapters.events.config import Webhook
from adapters.events.status import refusal
from gateway.codecs.cloudevents import CloudEvent, to_headers
from gateway.journal.entry import Entry
from gateway.journal.subscription import Deliver
from gateway.net.http.client import HttpClient
from gateway.net.http.cloudevents import write_event
from gateway.net.http.webhook_signature import read_keys, sign

ANSWER_BYTES: Final = 64 * 1024


def push(webhook: Webhook, client: HttpClient) -> Deliver[CloudEvent]:
    """One try: returns once the receiver took the event."""
    keys = read_keys(webhook.secret)
    structured = webhook.mode == "structured"

    async def deliver(entry: Entry[CloudEvent]) -> None:
        event = entry.event
        headers, body = write_event(event, structured=structured)
        if keys:
            # An id that a header can't carry is escaped, as in ce-id.
            identity = dict(to_headers(event))["ce-id"]
            headers += sign(keys, identity, time.time(), body)
        answer = await client.request("POST", webhook.url, headers, body, webhook.timeout)
        refused = refusal(answer.status, answer.headers)
        if refused is not None:
            raise refused

    return deliver
