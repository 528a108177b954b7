"""How events are written in routes.yaml."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from gateway import port
from gateway.codecs.json.settings import JsonSettings
from gateway.duration import Duration
from gateway.journal.journal import Retention, Start
from gateway.journal.place import Place, check_filter, check_topic
from gateway.journal.subscription import Settings
from gateway.listed import Listed
from gateway.net.http.address import Https, Listen, ServiceUrl
from gateway.net.http.webhook_signature import check_secret
from gateway.net.tls import certified

MIB: Final = 1024 * 1024

_SAID: Final = frozenset({"key", "subject", "id", "type"})
_HEARD: Final = frozenset({"start", "after"})
_OPTIONS: Final = {
    "publish": _SAID,
    "subscribe": _HEARD,
    "converse": _SAID | _HEARD | {"subscribe", "echo"},
}
_BEFORE: Final = ("$params.", "$headers.")


Secrets = Listed[Annotated[SecretStr, AfterValidator(check_secret)]]


class Webhook(Settings):
    """A durable subscription that is pushed to a URL."""

    url: ServiceUrl = Field(description="Where each event is sent with POST.")
    mode: Literal["structured", "binary"] = Field(
        default="structured", description="CloudEvents' content mode: the event as JSON, or its data with headers."
    )
    secret: Secrets = Field(
        default=(),
        description="Signs what is sent after Standard Webhooks: whsec_ and a key in base64. A list signs with each, "
        "while receivers change from one to the other.",
    )
    timeout: Duration = Field(default=10.0, gt=0, le=300, description="How long the receiver may take to answer.")


class Endpoint(JsonSettings, port.OnBackbone):
    """An event broker inside the gateway, or one that lies on a broker outside."""

    store: str = Field(
        default="",
        description="The file that keeps the events, of which one process is the owner; memory keeps them while the "
        "process lives. Give it, or a backbone.",
    )
    source: str = Field(
        default="", description="CloudEvents' source of what routes publish, a URI reference; /ENDPOINT where empty."
    )
    max_bytes: int = Field(
        default=1024 * MIB,
        ge=MIB,
        description="Largest store, in bytes. Once it is full of events that subscriptions still need, new ones are "
        "refused with RESOURCE_EXHAUSTED. Keep it below the volume's size.",
    )
    retain_bytes: int | None = Field(
        default=None,
        ge=MIB // 2,
        description="Size of the store, in bytes, from which on the oldest events go that every subscription has "
        "handled; 80 % of max_bytes where absent.",
    )
    retention: Duration = Field(
        default=7 * 24 * 3600.0,
        gt=0,
        description="How long events are kept for replay. One that a subscription has not handled yet stays, unless "
        "nothing was heard of that subscription for so long.",
    )
    max_message_bytes: int = Field(
        default=MIB, ge=1, le=256 * MIB, description="Largest event, and largest batch over HTTP, in bytes."
    )
    listen: Listen | None = Field(
        default=None,
        description="host:port at which CloudEvents are taken over HTTP, with POST to {path}/{topic}. Endpoints with "
        "the same value share the port.",
    )
    tls: Https = None
    path: str = Field(
        default="/events", pattern=r"^(/[A-Za-z0-9._~-]+)*$", description="Where on `listen` the topics begin."
    )
    secret: Secrets = Field(
        default=(),
        description="What is taken over HTTP must be signed with one of these after Standard Webhooks: whsec_ and a "
        "key in base64. Any caller is believed where empty.",
    )
    webhook_origins: tuple[str, ...] = Field(
        default=(),
        description="Who is granted permission to deliver when it asks (CloudEvents' validation handshake): the names "
        "that senders give in WebHook-Request-Origin, or *.",
    )
    webhooks: tuple[Webhook, ...] = Field(default=(), description="URLs to which events are pushed.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.listen is not None:
            certified(self)
        elif self.tls is not None:
            raise ValueError("tls goes with listen")
        names = [webhook.subscription for webhook in self.webhooks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two webhooks have the subscription {name}")
        if bool(self.store) == bool(self.backbone):
            raise ValueError("give either a store or a backbone")
        for name in ("max_bytes", "retain_bytes", "retention"):
            if self.backbone and name in self.model_fields_set:
                raise ValueError(f"{name} is for the backbone's broker to say")
        if self.stream and not self.backbone:
            raise ValueError("stream goes with a backbone")
        if self.retain_bytes is not None and self.retain_bytes > self.max_bytes:
            raise ValueError("retain_bytes is more than max_bytes")
        return self

    @property
    def retains(self) -> Retention:
        """How much the journal keeps."""
        retained = self.max_bytes * 4 // 5 if self.retain_bytes is None else self.retain_bytes
        return Retention(limit=self.max_bytes, retained=retained, seconds=self.retention)


class Source(Settings, port.Address):
    """Events of these topics."""


class Target(port.Address):
    """Publishes an event (mode: publish), streams the events of a topic to the caller (mode: subscribe), or both in one
    call (mode: converse)."""

    topic: Annotated[str, AfterValidator(check_filter)] = Field(
        description="The topic to publish to, or with mode subscribe the filter to subscribe to. {$.customer} and "
        "{$params.room} stand for one level that the request gives."
    )
    mode: Literal["publish", "subscribe", "converse"] = Field(
        default="publish",
        description="publish: answer once the event is stored. subscribe: stream the topic's events to the caller. "
        "converse: publish each message of the caller's, one after the other, and stream the events of `subscribe` to "
        "it, from before its first message on and after its last one until it leaves. An event that can't be published "
        "ends the call.",
    )
    subscribe: Annotated[str, AfterValidator(check_filter)] | Literal[""] = Field(
        default="",
        description="converse: the filter to subscribe to. {$params.room} and {$headers.room} stand for one level that "
        "the call gives before its first message.",
    )
    echo: bool = Field(
        default=True,
        description="converse: whether the caller's own events come back as well, in their order among the others'.",
    )
    key: str = Field(
        default="",
        description="publish, converse: where the event's partition key comes from, such as $.order_id. Events of one "
        "key are handled in order.",
    )
    subject: str = Field(
        default="",
        description="publish, converse: where CloudEvents' subject comes from, such as $.order_id; it keeps order "
        "where there is no key.",
    )
    id: str = Field(
        default="",
        description="publish, converse: where the event's id comes from, such as $.event_id. Where empty, with publish "
        "the header message-id, or else one that is made up.",
    )
    type: str = Field(default="", description="publish, converse: CloudEvents' type; the topic where empty.")
    start: Start = Field(
        default="latest",
        description="subscribe, converse: where a stream begins that does not go on from a position. On a backbone "
        "only latest.",
    )
    after: str = Field(
        default="$headers.last-event-id",
        description="subscribe, converse: where the position comes from after which a broken stream goes on. On a "
        "backbone events have none, and a stream that gives one is refused with UNIMPLEMENTED.",
    )

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        for name in sorted(self.model_fields_set & frozenset().union(*_OPTIONS.values()) - _OPTIONS[self.mode]):
            raise ValueError(f"{name} has no meaning in mode {self.mode}")
        if self.mode != "subscribe":
            check_topic(self.topic)
        if self.mode == "converse":
            if not self.subscribe:
                raise ValueError("mode converse needs subscribe: the filter of what the caller hears")
            for path in (*self.heard.sources.values(), self.after):
                if path and not path.startswith(_BEFORE):
                    raise ValueError(f"{path} is not known before the first message: $params and $headers are")
        return self

    @property
    def said(self) -> Place:
        """Where it publishes."""
        return Place(self.topic, "topic")

    @property
    def heard(self) -> Place:
        """What it subscribes to."""
        return Place(self.subscribe or self.topic, "filter")
