"""Clients and servers of Apache's Thrift for Python, in every protocol and transport that it has."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

ENCODINGS = ("binary", "compact", "json")
TRANSPORTS = ("buffered", "framed", "http")


def protocol_factory(encoding: str, *, strict: bool = True) -> Any:
    from thrift.protocol import TBinaryProtocol, TCompactProtocol, TJSONProtocol

    match encoding:
        case "binary":
            return TBinaryProtocol.TBinaryProtocolFactory(strictRead=strict, strictWrite=strict)
        case "compact":
            return TCompactProtocol.TCompactProtocolFactory()
        case _:
            return TJSONProtocol.TJSONProtocolFactory()


def transport_factory(transport: str) -> Any:
    from thrift.transport import TTransport

    return TTransport.TFramedTransportFactory() if transport == "framed" else TTransport.TBufferedTransportFactory()


@contextmanager
def client(
    service: ModuleType, address: str, encoding: str, transport: str, *, multiplexed: str = "", strict: bool = True
) -> Iterator[Any]:
    """address: host:port, or the URL for http. Blocking: call it in a thread."""
    from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
    from thrift.transport import THttpClient, TSocket

    if transport == "http":
        wire: Any = THttpClient.THttpClient(address)
    else:
        host, _, port = address.rpartition(":")
        socket = TSocket.TSocket(host, int(port))
        socket.setTimeout(10_000)
        wire = transport_factory(transport).getTransport(socket)
    protocol = protocol_factory(encoding, strict=strict).getProtocol(wire)
    if multiplexed:
        protocol = TMultiplexedProtocol(protocol, multiplexed)
    wire.open()
    try:
        yield service.Client(protocol)
    finally:
        wire.close()


@contextmanager
def server(processor: Any, encoding: str, transport: str, *, strict: bool = True) -> Iterator[str]:
    """host:port, or the URL for http."""
    from thrift.server import THttpServer
    from thrift.transport import TSocket

    factory = protocol_factory(encoding, strict=strict)
    if transport == "http":
        http = THttpServer.THttpServer(processor, ("127.0.0.1", 0), factory)
        thread = threading.Thread(target=http.httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.httpd.server_address[1]}/"
        finally:
            http.httpd.shutdown()
            http.httpd.server_close()
        return
    socket = TSocket.TServerSocket("127.0.0.1", 0)
    socket.listen()
    port = socket.handle.getsockname()[1]
    served = _Server(processor, socket, transport_factory(transport), factory, daemon=True)
    threading.Thread(target=served.serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        socket.close()


def _Server(*arguments: Any, **options: Any) -> Any:
    from thrift.server import TServer

    class Listening(TServer.TThreadedServer):  # type: ignore[misc]
        """Its socket listens already, so that its port is known."""

        def serve(self) -> None:
            while True:
                try:
                    accepted = self.serverTransport.accept()
                except (OSError, AttributeError):  # it was closed
                    return
                threading.Thread(target=self.handle, args=(accepted,), daemon=True).start()

    return Listening(*arguments, **options)
