"""Endpoints that listen, and endpoints that call: which is which, and what either side is refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator
from support.grpc_ports import ROOT

from adapters.graphql.config import Endpoint as GraphqlEndpoint
from adapters.graphql.inbound import GraphqlInbound
from adapters.grpc.config import Endpoint as GrpcEndpoint
from adapters.grpc.inbound import GrpcInbound
from adapters.grpc.outbound import GrpcOutbound
from gateway.message import Context, Message
from gateway.net.address import CalledHost, calling, listening, one_direction
from gateway.net.http.client import HttpClient
from gateway.net.http.mounted import Mounted
from gateway.net.http.targeted import Targeted
from gateway.net.network import Network
from gateway.net.tls import Tls, certified
from gateway.port import ContractError, StreamService, loaded


class Either(BaseModel):
    listen: str = ""
    target: str | None = None
    tls: Tls | None = None

    _one_direction = model_validator(mode="after")(one_direction)
    _certified = model_validator(mode="after")(certified)


PAIR = {"certificate": "own.pem", "key": "own.key"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give listen \\(inbound\\) or target \\(outbound\\)"),
        ({"listen": ":1", "target": "a:1"}, "give listen"),
        ({"listen": ":1", "tls": {}}, "listen with tls needs certificate and key"),
        ({"listen": ":1", "tls": {"ca": "clients.pem"}}, "listen with tls needs certificate and key"),
    ],
)
def test_an_endpoint_has_one_direction_and_a_listener_a_certificate(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Either.model_validate(given)


@pytest.mark.parametrize(
    "given", [{"listen": ":1"}, {"target": "a:1"}, {"target": "a:1", "tls": {}}, {"listen": ":1", "tls": PAIR}]
)
def test_either_direction_will_do(given: dict[str, Any]) -> None:
    Either.model_validate(given)


@pytest.mark.parametrize(("text", "words"), [(":80", "needs a host"), ("orders", "not host:port")])
def test_what_is_called_has_a_host(text: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(CalledHost).validate_python(text)


def test_a_side_is_refused_an_endpoint_of_the_other_direction() -> None:
    assert (listening(":1"), calling(("a:1",))) == (":1", ("a:1",))
    for nothing in (None, ""):
        with pytest.raises(ContractError, match="comes from an endpoint with `listen`"):
            listening(nothing)
    for nobody in (None, ()):
        with pytest.raises(ContractError, match="goes to an endpoint with `target`"):
            calling(nobody)


def test_grpc_and_graphql_tell_it_before_they_do_anything() -> None:
    network = Network(ROOT)
    client = GrpcEndpoint.model_validate({"target": "a:1", "proto": "a.proto"})
    with pytest.raises(ContractError, match="comes from"):
        GrpcInbound("in", client, network)
    server = GrpcEndpoint.model_validate({"listen": ":1", "proto": "a.proto"})
    with pytest.raises(ContractError, match="goes to"):
        GrpcOutbound("out", server, network)
    with pytest.raises(ContractError, match="comes from"):
        GraphqlInbound("in", GraphqlEndpoint.model_validate({"target": "http://a", "sdl": "a.graphql"}), network)


def test_what_was_not_loaded_can_not_be_used() -> None:
    assert loaded(b"") == b""
    with pytest.raises(RuntimeError, match="load\\(\\) comes first"):
        loaded(None)


async def test_a_stream_is_not_called() -> None:
    class Ticks(StreamService):
        pass

    with pytest.raises(TypeError, match="Ticks is a stream"):
        await Ticks().call(Message(None), Context())


async def test_sides_over_http_read_their_certificates_before_they_serve(tmp_path: Path) -> None:
    tls = Tls(ca="gone.pem")
    targeted = Targeted("https://orders", HttpClient(1024), Network(tmp_path), tls)
    with pytest.raises(ContractError, match=r"gone\.pem"):
        await targeted.load()
    await targeted.stop()
    plain = Targeted("https://orders", HttpClient(1024), Network(tmp_path), None)
    await plain.load()
    await plain.start()
    assert plain.unready == ""
    await plain.stop()
    await plain.stop()
    with pytest.raises(ContractError, match="goes to"):
        Targeted(None, HttpClient(1024), Network(tmp_path), None)
    mounted = Mounted("in", "127.0.0.1:0", Network(tmp_path), Tls(certificate="gone.pem", key="gone.pem"))
    with pytest.raises(ContractError, match=r"gone\.pem"):
        await mounted.load()
    await mounted.stop()
    with pytest.raises(ContractError, match="comes from"):
        Mounted("in", None, Network(tmp_path), None)
