"""Events through the CloudEvents SDK: published to the gateway's HTTP front, and received as its webhooks.

A consumed event has no reply: what the gateway makes of a call that failed is a dead letter, which comes as a webhook
too. The caller speaks structured mode, the backend is sent binary mode.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import aiohttp
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.peers import Case, Place, Record, RefusedError
from support.ports import free_port
from support.specimen import REFUSED_BYTES, Specimen
from support.specimen_json import Dialect, dumps, from_json, to_json
from support.until import until

LARGEST: Final = REFUSED_BYTES
"""What the gateway publishes at most: a refused specimen, in base64, is larger."""
DEPTH: Final = 100
_ATTRIBUTES: Final = {"source": "/tests", "type": "specimen", "specversion": "1.0"}
_LIMIT: Final = 4 * 1024 * 1024


class _Hook:
    """A receiver of webhooks. events: what came, in its order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.listen = f"127.0.0.1:{free_port()}"
        self._runner = web.ServerRunner(web.Server(self._take), shutdown_timeout=0.1)

    async def start(self) -> None:
        host, _, port = self.listen.partition(":")
        await self._runner.setup()
        await web.TCPSite(self._runner, host, int(port)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.taken(from_http_event(HTTPMessage(headers, await request.read())))
        return web.Response(status=204)

    def taken(self, event: Any) -> None:
        self.events.append(event)


class _Front:
    """Where the gateway takes events."""

    def __init__(self, listen: str) -> None:
        self.listen = listen
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, topic: str, headers: Mapping[str, str], body: bytes) -> None:
        """Returns once the event is kept. Raises RefusedError."""
        assert self._session is not None
        async with self._session.post(f"http://{self.listen}/events/{topic}", data=body, headers=headers) as response:
            if response.status != 202:
                problem = await response.json(content_type="application/problem+json")
                raise RefusedError(problem["code"], problem["detail"])


class Caller:
    """A topic and a durable subscription per case."""

    typed = False
    dialect: Dialect | None = None
    tells_detail = False

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._dialect = dialect
        self._front = _Front(f"127.0.0.1:{free_port()}")
        self._letters = _Hook()

    async def __aenter__(self) -> Self:
        await self._letters.start()
        await self._front.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._front.stop()
        await self._letters.stop()

    def source(self, case: Case) -> Place:
        letters = {
            "url": f"http://{self._letters.listen}/",
            "topic": "dead-letters.*",
            "subscription": "letters",
            "dead_letters": "lost",
        }
        endpoint = {
            "protocol": "events",
            "store": "in.db",
            "listen": self._front.listen,
            "webhooks": [letters],
            "max_message_bytes": _LIMIT,
        }
        return "published", endpoint, {"topic": f"in.{case.id}", "subscription": case.id}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        """Returns once the event is taken; a dead letter that comes by then is the gateway's refusal."""
        (specimen,) = specimens
        value = json.loads(dumps(to_json(specimen, self._dialect)))
        event = CloudEvent(_ATTRIBUTES | {"id": uuid.uuid4().hex}, value)
        message = to_structured_event(event)
        known = len(self._letters.events)
        await self._front.post(f"in.{case.id}", message.headers, message.body)
        if specimen["id"] != "refused":
            return []
        await until(lambda: len(self._letters.events) > known, lambda: f"{case.id} has no dead letter")
        letter = self._letters.events[-1]
        assert letter.get_data() == value, "a dead letter is the event as it came"
        assert letter.get_id() == event.get_id()
        code, _, text = letter.get_extension("deadletterreason").partition(": ")
        raise RefusedError(code, text)

    async def misspeak(self, case: Case) -> None:
        """What is no event at all is refused before it is stored."""
        headers = {"ce-id": "1", "ce-source": "/tests", "ce-type": "specimen", "ce-specversion": "1.0"}
        await self._front.post(f"in.{case.id}", {**headers, "content-type": "application/json"}, b'{"id": "un')
        raise AssertionError("malformed JSON was taken")

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return code.name


class Backend:
    """One topic for all cases, and one per case that is streamed, on a broker of its own. What a caller says in a
    conversation goes to topics that the webhook is given as well."""

    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ("topic", "id")
    endless: ClassVar[frozenset[Pattern]] = frozenset({Pattern.SERVER_STREAM, Pattern.BIDI, Pattern.SUBSCRIBE})

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._dialect = dialect
        self._hook = _Hook()
        self._hook.taken = self._take  # type: ignore[method-assign]
        self._said = _Hook()
        self._said.taken = lambda event: self.record.add(self._read(event))  # type: ignore[method-assign]
        self._front = _Front(f"127.0.0.1:{free_port()}")
        self._receipts: list[Mapping[str, Any]] = []

    async def __aenter__(self) -> Self:
        await self._hook.start()
        await self._said.start()
        await self._front.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._front.stop()
        await self._said.stop()
        await self._hook.stop()

    def target(self, case: Case) -> Place:
        if case.endless:
            return self._stream(case)
        hook = {"url": f"http://{self._hook.listen}/", "topic": "out", "subscription": "all", "mode": "binary"}
        endpoint = {"protocol": "events", "store": "out.db", "max_message_bytes": LARGEST, "webhooks": [hook]}
        return "broker", endpoint, {"topic": "out"}

    def _stream(self, case: Case) -> Place:
        """A conversation with one reply does not hear itself, or it would hear nobody else."""
        said = {"url": f"http://{self._said.listen}/", "topic": "*.said", "subscription": "said"}
        endpoint = {
            "protocol": "events",
            "store": "streams.db",
            "listen": self._front.listen,
            "max_message_bytes": LARGEST,
            "webhooks": [said],
        }
        if case.outbound is not Pattern.BIDI:
            return "streams", endpoint, {"topic": f"{case.id}.heard", "mode": "subscribe"}
        echo = case.inbound.replies is Count.MANY
        topics = {"topic": f"{case.id}.said", "subscribe": f"{case.id}.*"}
        return "streams", endpoint, {**topics, "mode": "converse", "echo": echo}

    async def publish(self, case: Case, specimen: Specimen) -> None:
        event = CloudEvent(_ATTRIBUTES | {"id": uuid.uuid4().hex}, json.loads(dumps(to_json(specimen, self._dialect))))
        message = to_structured_event(event)
        await self._front.post(f"{case.id}.heard", message.headers, message.body)

    async def misspeak(self, case: Case) -> None:
        """No event is malformed JSON: its data is nested deeper than any route takes."""
        message = to_binary_event(
            CloudEvent(_ATTRIBUTES | {"id": uuid.uuid4().hex, "datacontenttype": "application/json"}, [])
        )
        await self._front.post(f"{case.id}.heard", message.headers, b"[" * DEPTH + b"]" * DEPTH)

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """A broker knows no data: the message is larger than the gateway may publish."""
        return Code.INVALID_ARGUMENT, False

    def receipts(self) -> list[Mapping[str, Any]]:
        return self._receipts

    def _take(self, event: Any) -> None:
        self._receipts.append(
            {"topic": event.get_type(), "position": str(len(self._receipts) + 1), "id": event.get_id()}
        )
        self.record.add(self._read(event))

    def _read(self, event: Any) -> Any:
        value = event.get_data()
        batch = isinstance(value, list)
        return [from_json(one, self._dialect) for one in value] if batch else from_json(value, self._dialect)
