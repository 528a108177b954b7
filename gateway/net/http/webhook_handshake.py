"""The handshake by which senders of webhooks ask whether they may deliver.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md, 4
"""

from collections.abc import Mapping, Sequence

from gateway.net.http.problem import problem_reply
from gateway.net.http.server import HttpReply
from gateway.status import Code, Failure


def permission(headers: Mapping[str, str], origins: Sequence[str], methods: Sequence[str]) -> HttpReply:
    """The reply to OPTIONS.

    headers: of the request, case-insensitive. origins: the names of senders that may deliver; * is any.
    methods: what is served here.
    """
    allow = ("Allow", ", ".join(methods))
    origin = headers.get("webhook-request-origin", "").strip()
    if not origin:
        return HttpReply(204, (allow,))
    if "*" not in origins and origin.lower() not in (known.lower() for known in origins):
        refusal = problem_reply(Failure(Code.PERMISSION_DENIED, "this sender may not deliver here"))
        return HttpReply(refusal.status, (*refusal.headers, allow), refusal.body, refusal.failure)
    granted = [allow, ("WebHook-Allowed-Origin", origin)]
    if "webhook-request-rate" in headers:
        granted.append(("WebHook-Allowed-Rate", "*"))
    return HttpReply(200, granted)
