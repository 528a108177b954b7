"""How Kafka is written in routes.yaml."""

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from gateway.broker.endpoint import BrokerEndpoint, BrokerSource, BrokerTarget
from gateway.duration import Duration
from gateway.listed import Listed
from gateway.net.address import CalledHosts
from gateway.net.tls import ClientTls
from gateway.section import Section

# Kafka's own rule for topic names (org.apache.kafka.common.internals.Topic).
TOPIC_BYTES = 249
TOPIC_NAME = rf"[a-zA-Z0-9._-]{{1,{TOPIC_BYTES}}}"
Topic = Annotated[str, Field(pattern=f"^{TOPIC_NAME}$")]
TopicPattern = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._*-]{1,249}$")]


class Sasl(Section):
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512",
        description="How the gateway logs in. PLAIN sends the password as it is: use it with tls.",
    )
    username: str = Field(description="The user that the gateway logs in as.")
    password: SecretStr = Field(description="That user's password; never logged.")


class Endpoint(BrokerEndpoint):
    nulls: ClassVar = True  # tombstones
    bootstrap_servers: CalledHosts = Field(
        min_length=1,
        description="host:port of one or several brokers, as a list or with commas; the others are found through them.",
    )
    client_id: str = Field(default="gateway", min_length=1, description="How the gateway names itself to the brokers.")
    tls: ClientTls | None = Field(
        default=None, description="Speak TLS to the brokers, and verify them; `tls: {}` will do."
    )
    sasl: Sasl | None = Field(default=None, description="Log in with user name and password.")
    idempotent: bool = Field(
        default=True,
        description="Publish so that a retry inside the client can't duplicate or reorder. Turn it off only for "
        "brokers that don't know idempotent producers.",
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none", description="How published batches are compressed."
    )


class Source(BrokerSource):
    topic: Listed[Topic] = Field(min_length=1, description="The topic to consume, or a list of them.")
    group: str = Field(
        default="",
        description="The consumer group, under which the brokers keep how far this route has come. ENDPOINT.TOPIC "
        "where empty; give it, lest a renamed endpoint start anew.",
    )
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where a group begins that has not come anywhere yet."
    )
    reply_topics: tuple[TopicPattern, ...] = Field(
        default=(),
        description="To which topics replies may go: names, in which * stands for any text. A record asks for its "
        "reply by the headers reply-to (a topic), correlation-id, and reply-partition where it must be this one. All "
        "topics where empty, so that whoever may publish requests makes the gateway publish anywhere it may: give "
        "them where that is too much. Never the topics consumed, their dead letters, or names that begin with __.",
    )
    max_in_flight: int = Field(
        default=64,
        ge=1,
        le=100_000,
        description="Most records of one partition between its committed offset and the newest one taken: how many are "
        "handled at once, and how many may come twice after a crash.",
    )
    dead_letters: Topic | Literal[""] = Field(
        default="", description="The topic for records that can't be handled; {topic}.dead-letters where empty."
    )
    session_timeout: Duration = Field(
        default=10.0,
        ge=6,
        le=300,
        description="Silence after which the brokers take the gateway for dead and give its partitions to others.",
    )
    instance: str = Field(
        default="",
        pattern=r"^[a-zA-Z0-9._-]{0,200}$",
        description="This process's own name in the group, the same after a restart, such as ${HOSTNAME} where that "
        "stays (group.instance.id): its partitions wait for it until the session_timeout, which can then be longer, "
        "and it takes them up again at once, even after it was killed. No two processes at once may have the same.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for topic in self.topic:
            if self.dead_letter_topic(topic) in self.topic:
                raise ValueError(f"dead_letters would put what can't be handled back into {topic}")
        if len(self.member) > TOPIC_BYTES:
            raise ValueError(f"instance and topics have more than {TOPIC_BYTES} characters together")
        if self.reply_topics and self.replies == "none":
            raise ValueError("reply_topics goes with `replies: one`")
        return self

    @property
    def member(self) -> str:
        """The group.instance.id, which another route of this process in the group has not; empty without instance."""
        return ".".join((self.instance, *self.topic)) if self.instance else ""

    def may_reply_to(self, topic: str) -> bool:
        """Whether a record may ask for its reply in this topic."""
        own = {*self.topic, *(self.dead_letter_topic(consumed) for consumed in self.topic)}
        if topic in own or topic.startswith("__"):
            return False
        return not self.reply_topics or any(fnmatchcase(topic, pattern) for pattern in self.reply_topics)

    def dead_letter_topic(self, topic: str) -> str:
        """Where records of this topic go that can't be handled."""
        return self.dead_letters or f"{topic}.dead-letters"


class Target(BrokerTarget):
    streamed: ClassVar = ("topic",)
    topic: Topic = Field(description="The topic to publish to, or with mode subscribe to stream.")
    key: str = Field(
        default="",
        description="Where the record's key comes from, such as $.order_id or $params.order_id. Records of one key "
        "keep their order.",
    )
    partition: int | None = Field(
        default=None, ge=0, description="Publish to this partition alone, instead of the one that the key chooses."
    )
    reply_topic: Topic | Literal[""] = Field(
        default="",
        description="The topic of the replies in mode reply, named to the consumer in the header reply-to, beside "
        "correlation-id, which its reply must bear. It must be there, or the brokers create it. Gateways may share it: "
        "each reads all replies and keeps its own.",
    )
    reply_partition: int | None = Field(
        default=None,
        ge=0,
        description="Ask for replies in this partition alone, in the header reply-partition, and read no other.",
    )

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if self.mode == "reply" and not self.reply_topic:
            raise ValueError("mode reply needs a reply_topic")
        if self.mode != "reply" and (self.reply_topic or self.reply_partition is not None):
            raise ValueError("reply_topic and reply_partition go with `mode: reply`")
        if self.reply_topic == self.topic:
            raise ValueError("reply_topic is the topic of the requests")
        return self
