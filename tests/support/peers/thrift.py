"""Thrift through thriftpy2's client and server, over framed and buffered TCP; oneway calls over HTTP through aiohttp,
for only HTTP tells a oneway call's caller of a failure.

The caller speaks the compact protocol, the backend the binary one.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import thriftpy2
from aiohttp import web
from thriftpy2.protocol.binary import TBinaryProtocol
from thriftpy2.protocol.compact import TCompactProtocol, TCompactProtocolFactory
from thriftpy2.protocol.cybin import TCyBinaryProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.server import TThreadedServer
from thriftpy2.thrift import TApplicationException, TMessageType, TProcessor
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory, TMemoryBuffer, TServerSocket

from gateway.pattern import Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.ports import free_port
from support.specimen import DETAIL, Specimen
from support.specimen_json import Dialect
from support.specimen_thrift import from_thrift, to_thrift

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
FILE: Final = "cases.thrift"
_SHAPES: Final = {Shape.SPECIMEN: "Specimen", Shape.BATCH: "Batch", Shape.RECEIPT: "Receipt"}
_SECONDS: Final = 20


def _contract(folder: Path, cases: Sequence[Case]) -> Any:
    """Writes a function per case, of service In as the caller sees it and of Out as the backend does, and loads it."""
    lines = ['include "specimen.thrift"']
    for service in ("In", "Out"):
        lines.append(f"service {service} {{")
        for case in cases:
            pattern = case.inbound if service == "In" else case.outbound
            request = Shape.SPECIMEN if service == "In" else case.request_shape
            reply = case.reply_shape if service == "In" else Shape.SPECIMEN
            argument = f"(1: specimen.{_SHAPES[request]} message)"
            if pattern is Pattern.ONE_WAY:
                lines.append(f"  oneway void {case.name}{argument}")
            elif pattern is Pattern.REQUEST_REPLY:
                throws = "throws (1: specimen.OutOfStock outOfStock)"
                lines.append(f"  specimen.{_SHAPES[reply]} {case.name}{argument} {throws}")
        lines.append("}")
    (folder / FILE).write_text("\n".join(lines) + "\n")
    return thriftpy2.load(str(folder / FILE), include_dirs=[str(SCHEMAS)])


def _endpoint(**options: Any) -> Mapping[str, Any]:
    return {"protocol": "thrift", "thrift": FILE, "include": [str(SCHEMAS)], **options}


class Caller:
    """Connects anew for each call."""

    typed = True
    dialect: Dialect | None = Dialect.THRIFT
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._module = _contract(folder, cases)
        self._types = self._module.specimen
        self._port = free_port()
        self._http = f"127.0.0.1:{free_port()}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def source(self, case: Case) -> Place:
        options = {"service": "In", "encoding": "compact"}
        if case.inbound is Pattern.ONE_WAY:
            endpoint = _endpoint(listen=self._http, transport="http", path="/in", **options)
            return "rpc-http", endpoint, {"function": case.name}
        endpoint = _endpoint(listen=f"127.0.0.1:{self._port}", transport="framed", **options)
        return "rpc", endpoint, {"function": case.name}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        (specimen,) = specimens
        return await self._exchange(case, to_thrift(specimen, self._types))

    async def misspeak(self, case: Case) -> None:
        """A message without any of the required fields."""
        await self._exchange(case, self._types.Specimen())

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return "OutOfStock" if declared and case.inbound is Pattern.REQUEST_REPLY else code.name

    async def _exchange(self, case: Case, message: Any) -> list[Any]:
        if case.inbound is Pattern.ONE_WAY:
            await self._post(case, message)
            return []
        reply = await asyncio.to_thread(self._call, case, message)
        match case.reply_shape:
            case Shape.SPECIMEN:
                return [from_thrift(reply, self._types)]
            case Shape.BATCH:
                return [[from_thrift(one, self._types) for one in reply.specimens]]
            case Shape.RECEIPT:
                return [{name: value for name, value in vars(reply).items() if value is not None}]

    def _call(self, case: Case, message: Any) -> Any:
        client = make_client(
            self._module.In,
            "127.0.0.1",
            self._port,
            proto_factory=TCompactProtocolFactory(),
            trans_factory=TFramedTransportFactory(),
            timeout=_SECONDS * 1000,
        )
        try:
            return getattr(client, case.name)(message)
        except self._types.OutOfStock as refused:
            detail = {"sku": refused.sku, "available": refused.available}
            raise RefusedError("OutOfStock", "", detail) from refused
        except TApplicationException as error:
            code, _, text = error.message.partition(": ")
            raise RefusedError(code, text) from error
        finally:
            client.close()

    async def _post(self, case: Case, message: Any) -> None:
        buffer = TMemoryBuffer()
        protocol = TCompactProtocol(buffer)
        protocol.write_message_begin(case.name, TMessageType.ONEWAY, 0)
        getattr(self._module.In, f"{case.name}_args")(message=message).write(protocol)
        protocol.write_message_end()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{self._http}/in", data=buffer.getvalue()) as response,
        ):
            if response.status == 200:
                assert await response.read() == b""
                return
            problem = await response.json(content_type="application/problem+json")
            found = [one for one in problem.get("details", ()) if names_out_of_stock(one["type"])]
            detail = {"sku": found[0]["sku"], "available": int(found[0]["available"])} if found else None
            raise RefusedError(problem["code"], problem["detail"], detail)


class Backend:
    """Its connections stay open as long as the gateway wants."""

    typed = True
    dialect: Dialect | None = Dialect.THRIFT
    receipt: tuple[str, ...] = ()

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._module = _contract(folder, cases)
        self._types = self._module.specimen
        self._port = free_port()
        self._socket = TServerSocket("127.0.0.1", self._port)
        self._runner: web.AppRunner | None = None
        self._http = 0

    async def __aenter__(self) -> Self:
        names = [name for name in self._module.Out.thrift_services if not self._oneway(name)]
        handler = type("Handler", (), {name: staticmethod(self._handler(name)) for name in names})()
        server = TThreadedServer(
            TProcessor(self._module.Out, handler),
            self._socket,
            iprot_factory=TCyBinaryProtocolFactory(),
            itrans_factory=TBufferedTransportFactory(),
            daemon=True,
        )
        self._socket.listen()
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_post("/out", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._http = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()
        assert self._runner is not None
        await self._runner.cleanup()

    def target(self, case: Case) -> Place:
        if case.outbound is Pattern.ONE_WAY:
            where = f"http://127.0.0.1:{self._http}/out"
            endpoint = _endpoint(target=where, service="Out", transport="http")
            return "service-http", endpoint, {"function": case.name}
        endpoint = _endpoint(target=f"127.0.0.1:{self._port}", service="Out", transport="buffered")
        return "service", endpoint, {"function": case.name}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """A oneway call can only be refused by HTTP."""
        if case.outbound is Pattern.ONE_WAY:
            return Code.FAILED_PRECONDITION, False
        return Code.FAILED_PRECONDITION, True

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    def _oneway(self, name: str) -> bool:
        return bool(getattr(self._module.Out, f"{name}_result").oneway)

    def _read(self, message: Any) -> Any:
        if isinstance(message, self._types.Batch):
            return [from_thrift(one, self._types) for one in message.specimens]
        return from_thrift(message, self._types)

    def _handler(self, name: str) -> Callable[[Any], Any]:
        def handle(message: Any) -> Any:
            call = [self._read(message)]
            self.record.add(call[0])
            if refuses(call):
                raise self._types.OutOfStock(**DETAIL)
            (reply,) = answers(Pattern.REQUEST_REPLY, call)
            return to_thrift(reply, self._types)

        return handle

    async def _take(self, request: web.Request) -> web.Response:
        protocol = TBinaryProtocol(TMemoryBuffer(await request.read()))
        name, type_, _ = protocol.read_message_begin()
        assert type_ == TMessageType.ONEWAY
        arguments = getattr(self._module.Out, f"{name}_args")()
        arguments.read(protocol)
        message = self._read(arguments.message)
        self.record.add(message)
        return web.Response(status=412 if refuses([message]) else 200)


def _serve(server: Any) -> None:
    """Ends as its socket is closed."""
    try:
        while True:
            client = server.trans.accept()
            threading.Thread(target=server.handle, args=(client,), daemon=True).start()
    except (OSError, AttributeError):
        pass
