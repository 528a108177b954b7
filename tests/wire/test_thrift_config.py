"""What routes.yaml may say of Thrift, what is refused, and TLS."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.certificates import own
from support.plain import plain
from support.thrift_service import EVERYTHING, ORDERS, ROOT, Caller, served

from adapters.thrift.config import ThriftEndpoint, ThriftSource, ThriftTarget
from adapters.thrift.inbound import ThriftInbound
from adapters.thrift.outbound import ThriftOutbound
from gateway.codecs.format import Unknown
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import ContractError
from gateway.status import Code, Failure


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "give listen"),
        ({"listen": ":1", "target": "x:1"}, "give listen"),
        ({"listen": "nonsense"}, "is not host:port"),
        ({"target": ":1"}, "a target needs a host"),
        ({"target": "orders:9090", "transport": "http"}, "is not a URL"),
        ({"target": "http://me:pw@orders/", "transport": "http"}, "is not a URL"),
        ({"listen": ":1", "transport": "http", "path": "/{a}"}, "without variables"),
        ({"listen": ":1", "forward_headers": ["x"]}, "has no headers to forward"),
        ({"listen": ":1", "tls": {}}, "listen with tls needs certificate and key"),
        ({"target": "x:1", "tls": {"certificate": "a"}}, "certificate and key go together"),
        ({"target": "http://x/", "transport": "http", "tls": {}}, "tls goes with"),
        ({"listen": ":1", "max_frame_bytes": 2**31}, "less than or equal"),
        ({"listen": ":1", "encoding": "xml"}, "binary"),
    ],
)
def test_refused_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ThriftEndpoint(thrift=ORDERS, **options)


def test_unknown_fields_by_direction() -> None:
    assert ThriftEndpoint(thrift="x", listen=":1").unknown is Unknown.REJECT
    assert ThriftEndpoint(thrift="x", target="x:1").unknown is Unknown.DROP
    assert ThriftEndpoint(thrift="x", listen=":1", unknown_fields="drop").unknown is Unknown.DROP


async def inbound(**options: Any) -> ThriftInbound:
    made = ThriftInbound("x", ThriftEndpoint(**{"thrift": EVERYTHING, "listen": ":9090", **options}), Network(ROOT))
    await made.load()
    return made


@pytest.mark.parametrize(
    ("options", "address", "field", "told"),
    [
        (
            {},
            {"function": "nope"},
            ("function",),
            "service Everythings has no function 'nope'; it has ping, echo, swap",
        ),
        ({}, {"function": "ping", "service": "Other"}, ("service",), "only one service is at this endpoint"),
        ({"multiplexed": True}, {"function": "ping", "service": "Other"}, ("service",), "has no service 'Other'"),
        ({"encoding": "json"}, {"function": "keys"}, ("function",), "JSON has no such keys"),
    ],
)
async def test_addresses_that_can_not_be_served(
    options: dict[str, Any], address: dict[str, Any], field: tuple[str, ...], told: str
) -> None:
    made = await inbound(**options)
    with pytest.raises(ContractError) as refused:
        made.contract(ThriftSource(**address))
    assert refused.value.field == field and told in refused.value.message


@pytest.mark.parametrize(
    ("options", "field", "told"),
    [
        ({"thrift": "nope.thrift"}, ("thrift",), "nope.thrift: No such file"),
        ({"service": "Nope"}, ("service",), "has no service 'Nope'"),
        ({"thrift": "tests/schemas/specimen.thrift"}, ("service",), "has no service: name one"),
    ],
)
async def test_contracts_that_can_not_be_read(options: dict[str, Any], field: tuple[str, ...], told: str) -> None:
    with pytest.raises(ContractError) as refused:
        await inbound(**options)
    assert refused.value.field == field and told in refused.value.message


async def test_the_contract_of_a_function() -> None:
    made = await inbound(transport="http", path="/rpc", forward_headers=["X-Tenant"])
    contract = made.contract(ThriftSource(function="swap"))
    assert contract.patterns == {Pattern.REQUEST_REPLY}
    assert contract.claim == "Thrift function Everythings.swap at /rpc on :9090"
    assert contract.describe == "Thrift Everythings.swap (binary, http) at /rpc on :9090"
    assert contract.headers == {"x-tenant"}
    assert contract.failures == ("Refused", "common.Unavailable")
    found = contract.failure("shop.v1.RefusedFault")
    assert found is not None and found.name == "Refused"
    assert contract.failure("Unavailable") is not None
    assert contract.failure("Nothing") is None
    assert contract.format.name == "thrift binary"
    oneway = made.contract(ThriftSource(function="notify"))
    assert (oneway.patterns, oneway.reply) == ({Pattern.ONE_WAY}, None)


async def test_sides() -> None:
    target, listen = ThriftEndpoint(thrift=ORDERS, target="x:1"), ThriftEndpoint(thrift=ORDERS, listen=":1")
    with pytest.raises(ContractError, match="`listen`"):
        ThriftInbound("x", target, Network(ROOT))
    with pytest.raises(ContractError, match="`target`"):
        ThriftOutbound("x", listen, Network(ROOT))
    made = ThriftOutbound("x", target, Network(ROOT))
    await made.load()
    assert made.contract(ThriftTarget(function="PlaceOrder")).describe == (
        "Thrift Orders.PlaceOrder (binary, framed) at x:1"
    )


async def test_tls(pki: Path) -> None:
    ca = {"ca": str(pki / "ca.pem")}
    functions = {"add": lambda value: plain(service.types["add"].reply, {"success": value.left + value.right})}
    for transport in ("framed", "buffered"):
        options: dict[str, Any] = {"thrift": EVERYTHING, "transport": transport}
        async with served(functions, **options, tls={**own(pki, "server"), **ca}) as service:
            target = f"127.0.0.1:{service.port}"
            for tls, told in (
                ({**ca, **own(pki, "client"), "server_name": "server.example"}, ""),
                ({**ca, **own(pki, "client"), "server_name": "x.example"}, "the upstream's certificate is not trusted"),
                ({"ca": str(pki / "other.pem"), **own(pki, "client"), "server_name": "server.example"}, "not trusted"),
                ({**ca, "server_name": "server.example"}, "the upstream"),  # which wants a certificate
                (None, "the upstream"),
            ):
                async with Caller(target=target, **options, tls=tls) as caller:
                    request = plain(caller.contract("add").request, {"left": 1, "right": 2})
                    if not told:
                        assert (await caller.call("add", request)).success == 3
                        continue
                    with pytest.raises(Failure, match=told) as refused:
                        await caller.call("add", request)
                    assert refused.value.code is Code.UNAVAILABLE
    for broken in ({"certificate": "no.pem", "key": "no.key"}, {**own(pki, "server"), "ca": str(pki / "ca.key")}):
        with pytest.raises(ContractError, match="can't read"):
            await inbound(tls=broken)
