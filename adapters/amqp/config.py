"""How AMQP is written in routes.yaml."""

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from yarl import URL

from gateway.broker.endpoint import BrokerEndpoint, BrokerSource, BrokerTarget
from gateway.codecs.amqp_properties import LONGEST_SECONDS, SHORT_BYTES
from gateway.duration import Duration
from gateway.net.tls import ClientTls
from gateway.section import Section

DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


def _short(text: str) -> str:
    if len(text.encode()) > SHORT_BYTES:
        raise ValueError(f"AMQP takes at most {SHORT_BYTES} bytes here")
    return text


def _url(secret: SecretStr) -> SecretStr:
    with suppress(ValueError):
        url = URL(secret.get_secret_value())
        if url.scheme in DEFAULT_PORTS and url.host and not url.query_string and not url.fragment:
            return secret
    raise ValueError("this is no URL such as amqp://user:password@rabbitmq:5672/virtual-host")


Short = Annotated[str, AfterValidator(_short)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_short)]


class Endpoint(BrokerEndpoint):
    url: Annotated[SecretStr, AfterValidator(_url)] = Field(
        description="amqp://user:password@host:port/virtual-host of the broker, or amqps:// for TLS, which verifies "
        "its certificate; never logged. The virtual host is / where there is none.",
    )
    tls: ClientTls | None = Field(default=None, description="Certificates for amqps://, where the system's don't do.")
    connection_name: Short = Field(default="gateway", description="How the gateway names itself to the broker.")
    heartbeat: Duration = Field(
        default=10.0,
        ge=1,
        le=600,
        description="Pulse of each connection, in whole seconds; one that is silent for three is given up.",
    )

    @model_validator(mode="after")
    def _secured(self) -> Self:
        if self.tls is not None and self.address.scheme != "amqps":
            raise ValueError("tls goes with an amqps:// url")
        return self

    @property
    def address(self) -> URL:
        """With the password in it."""
        return URL(self.url.get_secret_value())

    @property
    def place(self) -> str:
        """host:port/virtual-host, for operators."""
        url = self.address
        return f"{url.host}:{url.port or DEFAULT_PORTS[url.scheme]}/{unquote(url.raw_path[1:]).removeprefix('/')}"


class ExchangeDeclaration(Section):
    type: Short = Field(default="topic", description="direct, topic, fanout, headers, or a plugin's type.")
    durable: bool = Field(default=True, description="Whether it outlives a restart of the broker.")
    arguments: dict[str, Any] = Field(default={}, description="Further arguments, such as alternate-exchange.")


class QueueBinding(Section):
    exchange: Name = Field(description="The exchange that is to route to the queue.")
    routing_key: Short = Field(default="", description="Which messages: a routing key, or a topic's pattern.")
    arguments: dict[str, Any] = Field(default={}, description="What a headers exchange matches.")


class QueueDeclaration(Section):
    type: Literal["quorum", "classic"] = Field(
        default="quorum", description="quorum: replicated over a cluster's nodes, always durable."
    )
    durable: bool = Field(default=True, description="Whether it outlives a restart of the broker.")
    arguments: dict[str, Any] = Field(default={}, description="Further arguments, such as x-message-ttl.")
    bindings: tuple[QueueBinding, ...] = Field(default=(), description="From which exchanges it gets messages.")

    @model_validator(mode="after")
    def _quorum(self) -> Self:
        if self.type == "quorum" and not self.durable:
            raise ValueError("a quorum queue is durable")
        return self


class DeadLetters(Section):
    exchange: Short = Field(default="", description="An exchange that is there; the default one where empty.")
    routing_key: Short = Field(default="", description="With which key, or to which queue of the default exchange.")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.exchange and not self.routing_key:
            raise ValueError("give an exchange, or a queue's name as routing_key")
        return self

    @property
    def place(self) -> str:
        """For operators."""
        key = self.routing_key
        return f"exchange {self.exchange}, routing key {key or 'as it came'}" if self.exchange else f"queue {key}"


def _letters(value: object) -> object:
    return {"routing_key": value} if isinstance(value, str) else value


_Letters = Annotated[DeadLetters | None, BeforeValidator(_letters, json_schema_input_type=DeadLetters | str | None)]


class Source(BrokerSource):
    queue: Name = Field(description="The queue to consume.")
    declare: QueueDeclaration | None = Field(
        default=None,
        description="Create the queue where it is not there, and bind it. Without, it must be there.",
    )
    prefetch: int = Field(
        default=64,
        ge=1,
        le=65_535,
        description="Most messages taken and not yet acknowledged, all handled at once in the order in which they "
        "came; 1 keeps the queue's order throughout.",
    )
    dead_letters: _Letters = Field(
        default=None,
        description="Where messages go that can't be handled: a queue, which is created where it is not there, or an "
        "exchange and a routing key; {queue}.dead-letters where absent. They come as they were, with the headers "
        "dead-letter-reason, -path, -details, -deliveries, -queue, -exchange and -routing-key.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.dead_letters is None and len(f"{self.queue}.dead-letters".encode()) > SHORT_BYTES:
            raise ValueError("the queue's name is too long for {queue}.dead-letters: give dead_letters")
        letters = self.letters
        if not letters.exchange and letters.routing_key == self.queue:
            raise ValueError(f"dead_letters would put what can't be handled back into {self.queue}")
        return self

    @property
    def letters(self) -> DeadLetters:
        """Where messages go that can't be handled."""
        return self.dead_letters or DeadLetters(routing_key=f"{self.queue}.dead-letters")


class Target(BrokerTarget):
    streamed: ClassVar = ("exchange", "routing_key")
    exchange: Short = Field(
        default="",
        description="The exchange to publish to, or with mode subscribe to stream; the default one where empty.",
    )
    routing_key: Short = Field(
        default="",
        description="The routing key, of the default exchange the queue's name; or where it comes from, such as "
        "$.customer.region or $params.order_id. With mode subscribe which messages: a routing key, or "
        "a topic's pattern.",
    )
    declare: ExchangeDeclaration | None = Field(
        default=None,
        description="Create the exchange where it is not there. Without, it must be there.",
    )
    mandatory: bool = Field(
        default=True, description="Whether a message that no queue takes is refused, instead of being dropped."
    )
    persistent: bool = Field(default=True, description="Whether durable queues keep the message on disk.")
    priority: int | None = Field(default=None, ge=0, le=255, description="The message's priority.")
    expiration: Duration | None = Field(
        default=None,
        gt=0,
        le=LONGEST_SECONDS,
        description="How long the message may wait in a queue. In mode reply no longer than the caller waits.",
    )
    message_id: Short = Field(
        default="",
        description="The message's id, or where it comes from; the header message-id where empty, else a new one.",
    )
    correlation_id: Short = Field(
        default="",
        description="The message's correlation id, or where it comes from; the header correlation-id where empty. "
        "Mode reply has its own.",
    )
    type: Short = Field(default="", description="The message's type property, or where it comes from.")
    app_id: Short = Field(default="", description="The message's app_id property.")
    headers: dict[Name, str] = Field(
        default={}, description="Headers of the message: name to text, or to where it comes from."
    )

    @model_validator(mode="after")
    def _routed(self) -> Self:
        if not self.exchange:
            if not self.routing_key:
                raise ValueError("give an exchange, or a queue's name as routing_key")
            if self.declare is not None:
                raise ValueError("declare needs an exchange; the default one is always there")
        if not {"CC", "BCC"}.isdisjoint(self.headers):
            raise ValueError("CC and BCC are the broker's own: bind queues to an exchange instead")
        if self.mode == "reply" and self.correlation_id:
            raise ValueError("mode reply has correlation ids of its own")
        return self
