"""GraphQL: gql as the client, ariadne's own server under uvicorn as the service."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import gql
import uvicorn
from ariadne import MutationType, QueryType, SubscriptionType, make_executable_schema
from ariadne.asgi import GraphQL
from ariadne.asgi.handlers import GraphQLTransportWSHandler
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportQueryError
from graphql import GraphQLError, GraphQLObjectType, build_schema

from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.ports import free_port
from support.specimen import DETAIL, Specimen
from support.specimen_graphql import RECEIPT, SDL, SELECTION, TREE, result, specimen_of, variables
from support.specimen_json import Dialect

_CODES: Final = {
    Code.INVALID_ARGUMENT: "BAD_USER_INPUT",
    Code.FAILED_PRECONDITION: "FAILED_PRECONDITION",
    Code.UNAVAILABLE: "UNAVAILABLE",
    Code.INTERNAL: "INTERNAL_SERVER_ERROR",
}
_SECONDS: Final = 20
_LIMIT: Final = 4 * 1024 * 1024
_SILENT: Final = logging.getLogger("ariadne.specimens")
_SILENT.disabled = True  # a traceback for each refusal
_SCHEMA: Final = build_schema(SDL.read_text())


def _field(case: Case) -> str:
    """What the caller selects."""
    if case.inbound is Pattern.SERVER_STREAM:
        return "Subscription.watchSubmit" if case.reply_shape is Shape.RECEIPT else "Subscription.watch"
    return {Shape.SPECIMEN: "Query.echo", Shape.BATCH: "Query.gather", Shape.RECEIPT: "Mutation.submit"}[
        case.reply_shape
    ]


def _document(field: str) -> str:
    root, _, name = field.partition(".")
    type_ = _SCHEMA.type_map[root]
    assert isinstance(type_, GraphQLObjectType)
    arguments = type_.fields[name].args
    declared = ", ".join(f"${key}: {argument.type}" for key, argument in arguments.items())
    passed = ", ".join(f"{key}: ${key}" for key in arguments)
    selection = {"gather": f"{{ specimens {SELECTION} }}", "submit": RECEIPT, "watchSubmit": RECEIPT}.get(
        name, SELECTION
    )
    return f"{root.lower()} Call({declared}) {{ {name}({passed}) {selection} }}"


class Caller:
    """A GraphQL service per case, at a path of its own. What streams comes by WebSocket."""

    typed = True
    dialect: Dialect | None = Dialect.XSD
    tells_detail = True
    null_is_absent = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._listen = f"127.0.0.1:{free_port()}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def source(self, case: Case) -> Place:
        endpoint = {"protocol": "graphql", "sdl": str(SDL), "listen": self._listen, "path": f"/{case.id}"}
        return f"graphql-{case.id}", endpoint, {"field": _field(case)}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        told: list[Any] = []
        await self.listen(case, specimens, told)
        return told

    async def listen(self, case: Case, specimens: Sequence[Specimen], told: list[Any]) -> None:
        (specimen,) = specimens
        await self._exchange(case, variables(specimen), told)

    async def misspeak(self, case: Case) -> None:
        await self._exchange(case, {**variables(_EMPTY), "small": "many"}, [])

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return _CODES[code]

    async def _exchange(self, case: Case, values: dict[str, Any], told: list[Any]) -> None:
        field = _field(case)
        request = gql.gql(_document(field))
        request.variable_values = values
        name = field.partition(".")[2]
        try:
            if case.inbound.replies is Count.MANY:
                transport = AIOHTTPWebsocketsTransport(f"ws://{self._listen}/{case.id}")
                async with gql.Client(transport=transport) as session:
                    async for data in session.subscribe(request):
                        told.append(self._reply(case, data[name]))
            else:
                plain = AIOHTTPTransport(f"http://{self._listen}/{case.id}", timeout=_SECONDS)
                async with gql.Client(transport=plain) as session:
                    told.append(self._reply(case, (await session.execute(request))[name]))
        except TransportQueryError as error:
            raise _refusal(error) from error

    def _reply(self, case: Case, value: Any) -> Any:
        match case.reply_shape:
            case Shape.SPECIMEN:
                return specimen_of(value, sent=False)
            case Shape.BATCH:
                return [specimen_of(one, sent=False) for one in value["specimens"]]
            case Shape.RECEIPT:
                told = {name: entry for name, entry in value.items() if entry is not None}
                return {name: int(entry) if name == "offset" else entry for name, entry in told.items()}


_EMPTY: Final[Specimen] = {
    "id": "", "small": 0, "big": 0, "huge": 0, "ratio": 0.0, "flag": False, "label": "", "blob": b"", "tags": {},
    "sizes": {}, "serial_numbers": [], "parts": [],
}  # fmt: skip


def _refusal(error: TransportQueryError) -> RefusedError:
    assert error.errors
    first = error.errors[0]
    extensions = first["extensions"]
    details = [one for one in extensions.get("details", ()) if names_out_of_stock(one["type"])]
    detail = {"sku": details[0]["sku"], "available": int(details[0]["available"])} if details else None
    return RefusedError(extensions["code"], first["message"], detail)


class Backend:
    typed = True
    dialect: Dialect | None = Dialect.XSD
    receipt: tuple[str, ...] = ()
    null_is_absent = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._port = free_port()
        query, mutation, subscription = QueryType(), MutationType(), SubscriptionType()
        query.set_field("echo", self._answer)
        mutation.set_field("fold", self._answer)
        for name in ("watch", "watchFold"):
            subscription.set_source(name, self._events)
            subscription.set_field(name, _event)
        schema = make_executable_schema(SDL.read_text(), query, mutation, subscription)
        application = GraphQL(schema, websocket_handler=GraphQLTransportWSHandler(), logger=_SILENT)
        config = uvicorn.Config(
            application,
            "127.0.0.1",
            self._port,
            log_config=None,
            lifespan="off",
            ws_max_size=_LIMIT,
            ws="websockets-sansio",
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve())
        while not self._server.started:
            assert not self._task.done(), "the service did not start"
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        assert self._task is not None
        await self._task

    def target(self, case: Case) -> Place:
        url = f"http://127.0.0.1:{self._port}/"
        endpoint = {"protocol": "graphql", "target": url, "introspection": True}
        batch = case.request_shape is Shape.BATCH
        if case.outbound is Pattern.SERVER_STREAM:
            return (
                "service",
                endpoint,
                {"field": f"Subscription.{'watchFold' if batch else 'watch'}", "recursion": TREE},
            )
        return "service", endpoint, {"field": "Mutation.fold" if batch else "Query.echo", "recursion": TREE}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        return Code.FAILED_PRECONDITION, True

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    async def _answer(self, _: Any, info: Any, **arguments: Any) -> Any:
        (reply,) = self._replies(Pattern.REQUEST_REPLY, arguments)
        return reply

    async def _events(self, _: Any, info: Any, **arguments: Any) -> AsyncGenerator[Any, None]:
        for reply in self._replies(Pattern.SERVER_STREAM, arguments):
            yield reply

    def _replies(self, pattern: Pattern, arguments: dict[str, Any]) -> list[Any]:
        batch = arguments.get("specimens")
        message = specimen_of(arguments, sent=True) if batch is None else [specimen_of(one, sent=True) for one in batch]
        self.record.add(message)
        if refuses([message]):
            details = [{"type": "OutOfStock", **DETAIL}]
            raise GraphQLError("the shelf is empty", extensions={"code": "FAILED_PRECONDITION", "details": details})
        return [result(reply) for reply in answers(pattern, [message])]


def _event(value: Any, info: Any, **_: Any) -> Any:
    return value


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The test run's signals are its own."""
        yield
