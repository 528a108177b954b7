"""A strict Apache Kafka: TLS, logins, access lists and no topics but those that are there."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from support.handler import Handler
from support.kafka_brokers import PLAIN_USERS, ApacheKafka, apache_kafka
from support.kafka_gateway import consuming, endpoint, publisher, publishing, source
from support.kafka_peer import create_topic, produce, read
from support.until import until

from adapters.kafka.config import Endpoint, Target
from adapters.kafka.connection import Connection
from adapters.kafka.outbound import KafkaOutbound
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import ContractError
from gateway.status import Code, Failure


@pytest.fixture(scope="module")
def strict(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    keystore = tmp_path_factory.mktemp("kafka") / "broker.pem"
    keystore.write_text((pki / "server.key").read_text() + (pki / "server.pem").read_text())
    with apache_kafka({"auto.create.topics.enable": "false"}, keystore=keystore) as broker:
        yield broker


def login(broker: ApacheKafka, user: str = "alice", password: str = "") -> Endpoint:
    sasl = {"mechanism": "PLAIN", "username": user, "password": password or PLAIN_USERS[user]}
    return endpoint(broker.sasl, sasl=sasl)


def allow(broker: ApacheKafka, user: str, topic: str, *operations: AclOperation) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    rules = [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for operation in operations
        for kind, name, pattern in (
            (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL),
            (ResourceType.GROUP, f"{topic}-group", ResourcePatternType.LITERAL),
        )
    ]
    for done in admin.create_acls(rules).values():
        done.result(10)


async def test_a_topic_that_is_not_there(strict: ApacheKafka, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.kafka.producer.TOPIC_SECONDS", 1.0)
    async with publishing(endpoint(strict.bootstrap)) as side:
        publish = publisher(side, topic)
        with pytest.raises(Failure, match="does not exist") as refused:
            await publish.call(Message(b"x"), Context())
        assert (refused.value.code, refused.value.sent) == (Code.NOT_FOUND, False)
        async with asyncio.timeout(0.5):
            with pytest.raises(Failure, match="does not exist"):
                await publish.call(Message(b"x"), Context())
        await asyncio.to_thread(create_topic, strict.bootstrap, topic)
        await asyncio.sleep(1)  # as long as its absence is believed
        await publish.call(Message(b"x"), Context())


async def test_tls(strict: ApacheKafka, pki: Path, topic: str) -> None:
    create_topic(strict.bootstrap, topic)
    handler = Handler()
    config = endpoint(strict.tls, tls={"ca": str(pki / "ca.pem")})
    async with publishing(config) as side, consuming(config, source(topic), handler):
        await publisher(side, topic).call(Message(b"sealed"), Context())
        await handler.wait(1)
    assert handler.bodies == [b"sealed"]


async def test_a_broker_that_nobody_vouches_for_is_not_trusted(strict: ApacheKafka) -> None:
    async with publishing(endpoint(strict.tls, tls={}), ready=False) as side:
        await until(lambda: "certificate verify failed" in side.unready, lambda: side.unready, seconds=10)


async def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for tls, at in (
        ({"ca": "missing.pem"}, "ca"),
        ({"ca": "empty.pem"}, "ca"),
        ({"certificate": "missing.pem", "key": "missing.pem"}, "certificate"),
    ):
        connection = Connection(endpoint("127.0.0.1:9", tls=tls), Network(tmp_path))
        with pytest.raises(ContractError) as refused:
            await connection.load()
        assert refused.value.field == ("tls", at)


async def test_login_and_access_list(strict: ApacheKafka, topic: str) -> None:
    create_topic(strict.bootstrap, topic)
    allow(strict, "alice", topic, AclOperation.WRITE, AclOperation.READ)
    handler = Handler()
    config = login(strict)
    async with publishing(config) as side, consuming(config, source(topic, group=f"{topic}-group"), handler):
        await publisher(side, topic).call(Message(b"mine"), Context())
        await handler.wait(1)
    assert handler.bodies == [b"mine"]


async def test_a_user_who_may_not_write(strict: ApacheKafka, topic: str) -> None:
    create_topic(strict.bootstrap, topic)
    allow(strict, "mallory", topic, AclOperation.DESCRIBE)
    allow(strict, "mallory", f"{topic}-else", AclOperation.WRITE)
    unseen = f"{topic}-unseen"
    create_topic(strict.bootstrap, unseen)
    async with publishing(login(strict, "mallory")) as side:
        for name in (topic, unseen):
            with pytest.raises(Failure) as refused:
                await publisher(side, name).call(Message(b"x"), Context())
            assert refused.value.code is Code.UNAVAILABLE
            assert name not in refused.value.text
    assert read(strict.bootstrap, topic, 1, seconds=1) == []


async def test_a_user_who_may_only_read_streams_a_topic(strict: ApacheKafka, topic: str) -> None:
    create_topic(strict.bootstrap, topic)
    allow(strict, "reader", topic, AclOperation.READ)
    live = AclBinding(
        ResourceType.GROUP,
        f"{topic}.live.",
        ResourcePatternType.PREFIXED,
        "User:reader",
        "*",
        AclOperation.READ,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient({"bootstrap.servers": strict.bootstrap})
    for done in admin.create_acls([live]).values():
        done.result(10)
    side = KafkaOutbound("events", login(strict, "reader"), Network(Path()))
    await side.load()
    address = Target(topic=topic, mode="subscribe")
    service = side.service(address, side.contract(address), Pattern.SUBSCRIBE)
    await side.start()
    try:
        await until(lambda: not side.unready, lambda: side.unready, seconds=30)
        stream = service.stream(Message(None), None, Context())
        async with asyncio.timeout(30), aclosing(stream):
            first = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.5)
            produce(strict.bootstrap, topic, [{"value": b"read"}])
            assert (await first).body == b"read"
    finally:
        await side.stop()


async def test_a_wrong_password_is_told_and_kept_secret(
    strict: ApacheKafka, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "gateway")
    caplog.set_level("INFO", "aiokafka")
    config = login(strict, password="wrong-secret")
    assert "wrong-secret" not in repr(config)
    async with (
        publishing(config, ready=False) as side,
        consuming(config, source(topic), Handler(), ready=False) as other,
    ):
        await until(lambda: "SaslAuthenticationFailed" in side.unready, lambda: side.unready, seconds=10)
        await until(lambda: "SaslAuthenticationFailed" in other.unready, lambda: other.unready, seconds=10)
        with pytest.raises(Failure, match="login") as refused:
            await publisher(side, topic).call(Message(b"x"), Context())
    assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
    assert "wrong-secret" not in caplog.text


async def test_dead_letters_without_a_topic_are_told(
    strict: ApacheKafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.kafka.producer.TOPIC_SECONDS", 0.5)
    create_topic(strict.bootstrap, topic)
    produce(strict.bootstrap, topic, [{"value": b"x" * 100}])
    async with consuming(endpoint(strict.bootstrap, max_message_bytes=10), source(topic), Handler()) as side:
        await until(lambda: "can't be put into" in side.unready, lambda: side.unready, seconds=10)
        await asyncio.to_thread(create_topic, strict.bootstrap, f"{topic}.dead-letters")
        await until(lambda: not side.unready, lambda: side.unready, seconds=10)
    assert len(read(strict.bootstrap, f"{topic}.dead-letters", 1)) == 1
