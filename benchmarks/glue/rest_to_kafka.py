"""REST to Kafka by hand: the JSON body is published, the answer comes after the broker's confirmation."""

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from aiokafka import AIOKafkaProducer
from fastapi import Body, FastAPI


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AIOKafkaProducer(bootstrap_servers=os.environ["BENCH_KAFKA"], acks="all") as producer:
        app.state.producer = producer
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/publish/{message}", status_code=202)
async def publish(message: str, body: Annotated[Any, Body()]) -> dict[str, Any]:
    identity = uuid.uuid4().hex
    confirmed = await app.state.producer.send_and_wait(
        f"bench-{message}", json.dumps(body).encode(), headers=[("message-id", identity.encode())]
    )
    return {
        "topic": confirmed.topic,
        "partition": confirmed.partition,
        "offset": confirmed.offset,
        "timestamp": confirmed.timestamp,
        "id": identity,
    }
