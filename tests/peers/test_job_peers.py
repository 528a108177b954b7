"""Jobs whose callers and upstreams speak different protocols; the upstreams are on libraries that are not ours."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pika
import pytest
from aiohttp import web
from support.amqp_gateway import name
from support.amqp_service import server
from support.gateway_process import running_gateway
from support.job_caller import ask, ended
from support.kafka_brokers import Bootstrap
from support.kafka_peer import create_topic
from support.kafka_service import answering
from support.ports import free_port
from support.until import until

SCHEMAS = Path(__file__).parents[1] / "schemas"


def routes(port: int, endpoint: dict[str, Any], to: dict[str, Any], *, deadline: str = "1m") -> dict[str, Any]:
    """A job over HTTP."""
    return {
        "gateway": {"jobs": {"file": "jobs.sqlite"}},
        "endpoints": {"web": {"protocol": "http", "listen": f"127.0.0.1:{port}"}, "back": endpoint},
        "routes": {
            "quote": {
                "from": {"endpoint": "web", "path": "/quotes"},
                "to": {"endpoint": "back", **to},
                "deadline": deadline,
                "job": {"status": {"endpoint": "web", "method": "GET", "path": "/quotes/jobs/{job}"}},
            }
        },
    }


@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
async def test_http_to_a_worker_behind_kafka(kafka: Bootstrap, topic: str, tmp_path: Path) -> None:
    """Killed while the worker works: it gets the same message again, and its reply is the outcome."""
    port = free_port()
    silent = asyncio.Event()
    silent.set()

    def answer(body: bytes, headers: Mapping[str, bytes]) -> tuple[bytes, dict[str, bytes]] | None:
        wish = json.loads(body)
        if wish["sku"] == "gone":
            problem = {"detail": "sold out", "details": [{"type": "OutOfStock", "sku": "gone"}]}
            return json.dumps(problem).encode(), {"gateway-status": b"FAILED_PRECONDITION"}
        if wish["sku"] == "slow" and silent.is_set():
            return None
        return json.dumps({**wish, "cents": 4200}).encode(), {}

    create_topic(kafka, f"{topic}.replies")
    endpoint = {"protocol": "kafka", "bootstrap_servers": str(kafka)}
    to = {"topic": topic, "mode": "reply", "reply_topic": f"{topic}.replies", "key": "$.sku"}
    config = routes(port, endpoint, to)
    with answering(kafka, topic, answer) as service:
        async with running_gateway(tmp_path, config) as gateway:
            _, tea, _ = await ask(port, "/quotes", {"sku": "tea"})
            done = {"job": tea["job"], "state": "done", "reply": {"sku": "tea", "cents": 4200}}
            assert await ended(port, tea["status"]) == done
            _, gone, _ = await ask(port, "/quotes", {"sku": "gone"})
            failure = (await ended(port, gone["status"]))["failure"]
            details = [{"type": "OutOfStock", "sku": "gone"}]
            assert failure == {"code": "FAILED_PRECONDITION", "message": "sold out", "details": details}
            status, slow, _ = await ask(port, "/quotes", {"sku": "slow"})
            assert status == 202
            await until(lambda: len(service.requests) >= 3)
            gateway.process.kill()
            await gateway.process.wait()
        silent.clear()
        async with running_gateway(tmp_path, config):
            job = await ended(port, slow["status"], 60)
            assert (job["state"], job["reply"]) == ("done", {"sku": "slow", "cents": 4200})
            assert await ended(port, tea["status"]) == done
    seen = [headers["message-id"].decode() for headers in service.requests]
    assert seen[:2] == [tea["job"], gone["job"]]
    assert seen[2:] == [slow["job"]] * 2
    correlations = {headers["correlation-id"] for headers in service.requests}
    assert len(correlations) == len(service.requests), "each try has a reply of its own"


async def test_http_to_a_worker_behind_amqp(rabbitmq: str, tmp_path: Path) -> None:
    port, queue = free_port(), name()
    seen: list[pika.BasicProperties] = []
    silent = asyncio.Event()
    silent.set()

    def respond(properties: pika.BasicProperties, body: bytes) -> list[tuple[dict[str, Any], bytes]]:
        seen.append(properties)
        if silent.is_set():
            return []
        return [({}, json.dumps({**json.loads(body), "cents": 4200}).encode())]

    config = routes(port, {"protocol": "amqp", "url": rabbitmq}, {"routing_key": queue, "mode": "reply"})
    with server(rabbitmq, queue, respond):
        async with running_gateway(tmp_path, config) as gateway:
            status, receipt, headers = await ask(port, "/quotes", {"sku": "tea"})
            assert (status, headers["Location"]) == (202, receipt["status"])
            await until(lambda: len(seen) == 1)
            gateway.process.kill()
            await gateway.process.wait()
        silent.clear()
        async with running_gateway(tmp_path, config):
            job = await ended(port, receipt["status"], 60)
    assert job == {"job": receipt["job"], "state": "done", "reply": {"sku": "tea", "cents": 4200}}
    assert [properties.message_id for properties in seen] == [receipt["job"]] * 2
    assert all(int(properties.expiration or 0) <= 60_000 for properties in seen)


@asynccontextmanager
async def shop() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A REST service whose quotes wait for the event."""
    ready = asyncio.Event()

    async def quote(request: web.Request) -> web.Response:
        wish = await request.json()
        await ready.wait()
        if wish["sku"] == "gone":
            problem = {"detail": "sold out", "code": "FAILED_PRECONDITION", "path": "$.sku"}
            return web.Response(status=400, text=json.dumps(problem), content_type="application/problem+json")
        return web.json_response({"sku": wish["sku"], "cents": 4200})

    application = web.Application()
    application.router.add_post("/quotes", quote)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1], ready
    finally:
        await runner.cleanup()


async def test_grpc_to_rest(tmp_path: Path) -> None:
    """grpcio asks for the status in a message of its own contract."""
    if str(SCHEMAS) not in sys.path:
        sys.path.append(str(SCHEMAS))
    pb2, pb2_grpc = grpc.protos_and_services("quotes.proto")  # type: ignore[attr-defined]
    port = free_port()
    async with shop() as (target, ready):
        config = {
            "gateway": {"jobs": {"file": "jobs.sqlite"}},
            "endpoints": {
                "rpc": {"protocol": "grpc", "listen": f"127.0.0.1:{port}", "proto": str(SCHEMAS / "quotes.proto")},
                "shop": {"protocol": "http", "target": f"http://127.0.0.1:{target}"},
            },
            "routes": {
                "quote": {
                    "from": {"endpoint": "rpc", "method": "shop.quotes.v1.Quotes/Ask"},
                    "to": {"endpoint": "shop", "path": "/quotes"},
                    "job": {"status": {"endpoint": "rpc", "method": "shop.quotes.v1.Quotes/Stands"}},
                }
            },
        }
        async with running_gateway(tmp_path, config), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            quotes = pb2_grpc.QuotesStub(channel)
            tea = await quotes.Ask(pb2.Question(sku="tea", quantity=2**62))
            assert tea.status == "/shop.quotes.v1.Quotes/Stands"
            gone = await quotes.Ask(pb2.Question(sku="gone"))
            running = await quotes.Stands(pb2.JobQuestion(job=tea.job))
            assert running == pb2.Job(job=tea.job, state=pb2.JOB_STATE_RUNNING)
            ready.set()
            found = {}
            for job in (tea.job, gone.job):
                for _ in range(200):
                    found[job] = await quotes.Stands(pb2.JobQuestion(job=job))
                    if found[job].state != pb2.JOB_STATE_RUNNING:
                        break
                    await asyncio.sleep(0.02)
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await quotes.Stands(pb2.JobQuestion(job="0123"))
    assert found[tea.job] == pb2.Job(job=tea.job, state=pb2.JOB_STATE_DONE, reply=pb2.Quote(sku="tea", cents=4200))
    trouble = pb2.Trouble(code="FAILED_PRECONDITION", message="sold out", path="$.sku")
    assert found[gone.job] == pb2.Job(job=gone.job, state=pb2.JOB_STATE_FAILED, failure=trouble)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_graphql_to_rest(tmp_path: Path) -> None:
    port = free_port()

    async def query(text: str) -> Any:
        status, answer, _ = await ask(port, "/graphql", {"query": text})
        assert status == 200
        return answer

    async with shop() as (target, ready):
        config = {
            "gateway": {"jobs": {"file": "jobs.sqlite"}},
            "endpoints": {
                "graph": {"protocol": "graphql", "listen": f"127.0.0.1:{port}", "sdl": str(SCHEMAS / "quotes.graphql")},
                "shop": {"protocol": "http", "target": f"http://127.0.0.1:{target}"},
            },
            "routes": {
                "quote": {
                    "from": {"endpoint": "graph", "field": "Mutation.askQuote"},
                    "to": {"endpoint": "shop", "path": "/quotes"},
                    "job": {"status": {"endpoint": "graph", "field": "Query.job"}},
                }
            },
        }
        async with running_gateway(tmp_path, config):
            answer = await query('mutation { askQuote(sku: "tea", quantity: 2) { job status } }')
            receipt = answer["data"]["askQuote"]
            assert receipt["status"] is None, "GraphQL has no words for a link"
            question = f'{{ job(job: "{receipt["job"]}") {{ state reply {{ sku cents }} failure {{ code }} }} }}'
            assert await query(question) == {"data": {"job": {"state": "RUNNING", "reply": None, "failure": None}}}
            ready.set()
            for _ in range(200):
                job = (await query(question))["data"]["job"]
                if job["state"] != "RUNNING":
                    break
                await asyncio.sleep(0.02)
            unknown = await query('{ job(job: "0123") { state } }')
    assert job == {"state": "DONE", "reply": {"sku": "tea", "cents": 4200}, "failure": None}
    assert unknown["errors"][0]["extensions"]["code"] == "NOT_FOUND"
