"""Connection: how an endpoint's clients reach its brokers, and why they can't."""

import logging
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

from adapters.kafka.config import Endpoint
from adapters.kafka.status import failure, unreachable
from gateway.net.address import split_host_port
from gateway.net.broker.keeper import Keeper, Trouble, bounded, unhurried
from gateway.net.broker.pulse import Pulse
from gateway.net.network import Network
from gateway.net.tls import client_context
from gateway.status import Failure

T = TypeVar("T", bound=AIOKafkaProducer | AIOKafkaConsumer)

REQUEST_SECONDS: Final = 30.0
PROBE_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 5.0  # without an answer to any fetch, after which the brokers count as gone
SILENT: Final = "no broker answers"

log = logging.getLogger("gateway.kafka")


class Connection:
    """The same for every client of the endpoint. load() must have been awaited before options are asked for."""

    def __init__(self, endpoint: Endpoint, network: Network) -> None:
        self.endpoint = endpoint
        self._network = network
        self._tls: ssl.SSLContext | None = None

    async def load(self) -> None:
        """Read the certificates. Raises ContractError where a file is not what it should be."""
        if self.endpoint.tls is not None:
            self._tls = client_context(self.endpoint.tls, self._network.path)

    @property
    def options(self) -> Mapping[str, Any]:
        """What every aiokafka client of this endpoint is given."""
        endpoint = self.endpoint
        return {
            "bootstrap_servers": list(endpoint.bootstrap_servers),
            "client_id": endpoint.client_id,
            "request_timeout_ms": int(REQUEST_SECONDS * 1000),
            **self._security,
        }

    def consumer(self, **options: Any) -> AIOKafkaConsumer:
        """A client that commits when it is told to."""
        return AIOKafkaConsumer(
            **self.options,
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=self.endpoint.max_message_bytes,
            **options,
        )

    @property
    def _security(self) -> dict[str, Any]:
        sasl = self.endpoint.sasl
        options: dict[str, Any] = {
            "security_protocol": ("SASL_" if sasl else "") + ("SSL" if self._tls else "PLAINTEXT"),
            "ssl_context": self._tls,
        }
        if sasl is not None:
            options["sasl_mechanism"] = sasl.mechanism
            options["sasl_plain_username"] = sasl.username
            options["sasl_plain_password"] = sasl.password.get_secret_value()
        return options

    async def explain(self, error: BaseException) -> Trouble:
        """As Keeper.explain.

        aiokafka tells only that no server would do; this asks the servers once more, for their own reasons.
        """
        known = isinstance(error, KafkaError | OSError | Failure)
        if isinstance(error, Failure):
            return Trouble(str(error), error)
        why = f"can't reach {', '.join(self.endpoint.bootstrap_servers)}"
        for server in self.endpoint.bootstrap_servers:
            host, port = split_host_port(server)
            options = {**self._security, "request_timeout_ms": int(PROBE_SECONDS * 1000)}
            try:
                connection = await create_conn(host, port, client_id=self.endpoint.client_id, **options)
            except (OSError, KafkaError) as reason:
                error = reason
            else:
                connection.close()
                why = f"{server} answers, but"
                break
        why += f": {str(error) or type(error).__name__}"
        told = failure(error, sent=False) if isinstance(error, KafkaError) else unreachable()
        return Trouble(why, told, known)


class Client(Keeper[T]):
    """Base of what keeps an aiokafka client of the endpoint."""

    def __init__(self, connection: Connection, what: str) -> None:
        super().__init__(f"kafka {what}", unreachable(), log)
        self.connection = connection

    async def explain(self, error: BaseException) -> Trouble:
        return await self.connection.explain(error)

    async def close(self, client: T) -> None:
        await bounded(client.stop(), CLOSE_SECONDS, lingers=True)


def pulse(keeper: Keeper[AIOKafkaConsumer], client: AIOKafkaConsumer) -> Pulse[AIOKafkaConsumer]:
    """Of a consumer that has started."""
    return Pulse(keeper, client, SILENCE_SECONDS, SILENT)


def answered(client: AIOKafkaConsumer, asked: Iterable[TopicPartition]) -> int | None:
    """As Pulse.feel has it. asked: the partitions that records are being asked of."""
    return max((client.last_poll_timestamp(where) or 0 for where in asked), default=None)


async def start(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    await unhurried(client.start(), CONNECT_SECONDS)
