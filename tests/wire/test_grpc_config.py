"""How gRPC is written in routes.yaml, and what is refused there."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.grpc_ports import ORDERS, ROOT

from adapters.grpc import ADAPTER
from adapters.grpc.config import Endpoint, Source, Target
from adapters.grpc.inbound import GrpcInbound
from adapters.grpc.metadata import to_metadata
from adapters.grpc.outbound import GrpcOutbound
from gateway.codecs.format import Unknown
from gateway.message import Header
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import ContractError
from gateway.status import Code, Failure


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"proto": "a.proto"}, "give listen"),
        ({"listen": ":1", "target": "a:1", "proto": "a.proto"}, "give listen"),
        ({"listen": "127.0.0.1", "proto": "a.proto"}, "not host:port"),
        ({"target": "orders", "proto": "a.proto"}, "not host:port"),
        ({"target": ":80", "proto": "a.proto"}, "needs a host"),
        ({"target": ["a:1", "b:1"], "proto": "a.proto"}, "must be IP addresses"),
        ({"target": ["1.2.3.4:1", "[::1]:1"], "proto": "a.proto"}, "all IPv4 or all IPv6"),
        ({"listen": ":1"}, "contract is missing"),
        ({"listen": ":1", "reflection": True}, "contract is missing"),
        ({"target": "a:1", "proto": "a.proto", "descriptor_set": "a.pb"}, "either proto or descriptor_set"),
        ({"target": "a:1", "proto": "a.proto", "reflection": True}, "leave proto out"),
        ({"target": "a:1", "descriptor_set": "a.pb", "include": "x"}, "include goes with proto"),
        ({"listen": ":1", "proto": "a.proto", "tls": {}}, "needs certificate and key"),
        ({"listen": ":1", "proto": "a.proto", "tls": {"key": "k"}}, "go together"),
        ({"listen": ":1", "proto": "a.proto", "forward_headers": ["Grpc-Timeout"]}, "belongs to the transport"),
        ({"listen": ":1", "proto": "a.proto", "max_message_bytes": 0}, "greater than or equal"),
        ({"listen": ":1", "proto": "a.proto", "colour": "blue"}, "Extra inputs"),
    ],
)
def test_what_can_not_work_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Endpoint.model_validate(options)


@pytest.mark.parametrize("method", ["Place", "a/b/c", "a.b/", "a b/c", "http://a/b"])
def test_methods_have_a_service(method: str) -> None:
    with pytest.raises(ValidationError):
        Target(method=method)


def test_defaults_follow_the_side() -> None:
    server = Endpoint.model_validate({"listen": ":1", "proto": "a.proto"})
    client = Endpoint.model_validate({"target": "a:1", "proto": ["a.proto"]})
    assert (server.unknown, client.unknown) == (Unknown.REJECT, Unknown.DROP)
    assert server.proto == ("a.proto",)
    assert Source(method="/a.B/C").name == Target(method="a.B/C").name == "a.B/C"


def test_every_option_is_described() -> None:
    for model in (Endpoint, Source, Target):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_the_examples_are_valid() -> None:
    for options in ADAPTER.examples["endpoints"].values():
        Endpoint.model_validate(options)
    for side in ("from", "to"):
        address = dict(ADAPTER.examples[side])
        assert address.pop("endpoint") in ADAPTER.examples["endpoints"]
        Source.model_validate(address)


async def test_contracts_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.proto").write_text('syntax = "proto3";\nmessage M { strin a = 1; }\n')
    (tmp_path / "bad.binpb").write_bytes(b"\xff\xff")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"proto": "gone.proto"}, "proto", "no such file"),
        ({"proto": "bad.proto"}, "proto", r"bad\.proto:2:13: "),
        ({"descriptor_set": "gone.binpb"}, "descriptor_set", "No such file"),
        ({"descriptor_set": "bad.binpb"}, "descriptor_set", "not a FileDescriptorSet"),
    ]
    for options, field, words in cases:
        endpoint = Endpoint.model_validate({"target": "127.0.0.1:1", **options})
        with pytest.raises(ContractError, match=words) as caught:
            await GrpcOutbound("out", endpoint, Network(tmp_path)).load()
        assert caught.value.field == (field,)
    tls = {"certificate": "gone.pem", "key": "gone.pem"}
    endpoint = Endpoint.model_validate({"listen": ":1", "proto": "schemas/orders.proto", "tls": tls})
    with pytest.raises(ContractError) as caught:
        await GrpcInbound("in", endpoint, Network(ROOT)).load()
    assert caught.value.field == ("tls", "key")


async def test_endpoints_of_one_contract_share_their_types() -> None:
    server = GrpcInbound(
        "in", Endpoint.model_validate({"listen": ":1", "proto": "schemas/orders.proto"}), Network(ROOT)
    )
    client = GrpcOutbound(
        "o", Endpoint.model_validate({"target": "a:1", "proto": "schemas/orders.proto"}), Network(ROOT)
    )
    await server.load()
    await client.load()
    method = f"{ORDERS}/PlaceOrder"
    one, other = server.contract(Source(method=method)), client.contract(Target(method=method))
    assert one.request is other.request and one.format == other.format
    assert one.patterns == {Pattern.REQUEST_REPLY}


@pytest.mark.parametrize(
    ("header", "carried"),
    [
        (("x-a", "b c"), ("x-a", "b c")),
        (("x-a-bin", b"\0"), ("x-a-bin", b"\0")),
        (("x-a-bin", "AAE="), ("x-a-bin", b"\0\x01")),
        (("x-a", "line\r\nfeed"), None),
        (("x-a", "nul\0"), None),
        (("x-a", "grün"), None),
        (("x-a", b"bytes"), None),
        (("x-a-bin", "not base64!"), None),
        (("X-Upper", "a"), None),
        (("x a", "a"), None),
        (("grpc-timeout", "1S"), None),
    ],
)
def test_headers_as_metadata(header: Header, carried: Header | None) -> None:
    if carried is not None:
        assert to_metadata([header], "") == (carried,)
        return
    with pytest.raises(Failure) as caught:
        to_metadata([header], "")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_the_trace_alone_is_metadata() -> None:
    assert to_metadata((), "") is None
    assert to_metadata((), "00-1") == (("traceparent", "00-1"),)
