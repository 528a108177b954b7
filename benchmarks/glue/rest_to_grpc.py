"""REST to gRPC by hand: pydantic models in, protoc's classes to the backend, json_format out."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import bench_pb2
import bench_pb2_grpc
import grpc
from fastapi import FastAPI, HTTPException, Response
from google.protobuf.json_format import MessageToJson
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Small(Model):
    order_id: str
    customer_id: str
    quantity: int
    total_cents: int
    paid: bool
    status: str


class Line(Model):
    sku: str
    title: str
    quantity: int
    unit_cents: int
    weight: float
    gift: bool
    status: str
    lots: list[int]


class Order(Model):
    order_id: str
    customer_id: str
    total_cents: int
    discount: float
    paid: bool
    status: str
    notes: list[str]
    labels: dict[str, str]
    lines: list[Line]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(os.environ["BENCH_BACKEND"]) as channel:
        app.state.stub = bench_pb2_grpc.EchoStub(channel)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/small")
async def small(body: Small) -> Response:
    try:
        request = bench_pb2.Small(**body.model_dump())
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    return await call(app.state.stub.EchoSmall, request)


@app.post("/order")
async def order(body: Order) -> Response:
    try:
        request = bench_pb2.Order(**body.model_dump())
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    return await call(app.state.stub.EchoOrder, request)


async def call(method: Any, request: Any) -> Response:
    try:
        reply = await method(request, timeout=30)
    except grpc.aio.AioRpcError as error:
        raise HTTPException(502, error.code().name) from None
    return Response(MessageToJson(reply, indent=None), media_type="application/json")
