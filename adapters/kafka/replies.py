"""Replies: this process's own reading of a reply topic."""

from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from adapters.kafka.connection import Client, answered, pulse, start
from adapters.kafka.producer import Producer
from adapters.kafka.status import unreachable
from gateway.net.broker.byte_headers import correlation_of
from gateway.net.broker.pending_replies import PendingReplies, Question
from gateway.net.counters import Counter
from gateway.status import Code, Failure

WAIT_MILLISECONDS: Final = 1000
METADATA_MILLISECONDS: Final = 30_000  # until a new partition of the topic is read


class Replies(Client[AIOKafkaConsumer]):
    """Reads all partitions of a reply topic, or one, from the time at which it first could, and in no group: every
    process reads all replies and keeps its own. What comes while the brokers are away is read afterwards.

    producer: of the same endpoint; it makes the brokers create the topic where they do so of themselves.
    late: counts replies to questions that were given up.
    """

    def __init__(self, producer: Producer, topic: str, partition: int | None, late: Counter) -> None:
        super().__init__(producer.connection, f"reply topic {topic}")
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._next: dict[TopicPartition, int] = {}
        self._pending: PendingReplies[ConsumerRecord] = PendingReplies(late, shared=True)

    async def stop(self) -> None:
        """Fail what waits."""
        await super().stop()
        self._pending.fail(unreachable(sent=True))

    async def ask(self) -> Question[ConsumerRecord]:
        """A question whose reply will be read here. Raises Failure(UNAVAILABLE) while replies can't be read."""
        await self.get()
        return self._pending.ask()

    # -- as a Keeper

    async def open(self) -> AIOKafkaConsumer:
        return self.connection.consumer(
            # Where the topic was made anew, or has lost what was not read: replies are not to be skipped.
            auto_offset_reset="earliest",
            metadata_max_age_ms=METADATA_MILLISECONDS,
        )

    async def serve(self, client: AIOKafkaConsumer) -> None:
        partitions = await self._producer.partitions(self._topic)
        await start(client)
        await self._assign(client, partitions)
        await self._read(client)

    async def _assign(self, client: AIOKafkaConsumer, partitions: set[int]) -> None:
        """Read these partitions: from now at first, later from where reading was, new ones from their beginning."""
        if self._partition is not None:
            if self._partition not in partitions:
                raise Failure(Code.FAILED_PRECONDITION, f"the topic has no partition {self._partition}")
            partitions = {self._partition}
        places = {TopicPartition(self._topic, partition) for partition in partitions}
        fresh = places - self._next.keys()
        if fresh:
            find = client.beginning_offsets if self._next else client.end_offsets
            self._next.update(await find(list(fresh)))
        client.assign(list(places))
        for place in places:
            client.seek(place, self._next[place])

    async def _read(self, client: AIOKafkaConsumer) -> None:
        """Raises what broke the client."""
        heart = pulse(self, client)
        while True:
            for place, records in (await client.getmany(timeout_ms=WAIT_MILLISECONDS)).items():
                for record in records:
                    self._next[place] = record.offset + 1
                    self._pending.take(correlation_of(record.headers), record)
            assigned = client.assignment()
            heart.feel(answered(client, assigned))
            known = client.partitions_for_topic(self._topic) or set()
            if self._partition is None and len(known) > len(assigned):
                await self._assign(client, known)
