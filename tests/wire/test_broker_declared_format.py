"""What brokers' messages are, where they are no JSON: contracts, content types and charsets."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway.broker.endpoint import BrokerEndpoint, BrokerSource, BrokerTarget
from gateway.broker.sides import BrokerInbound, BrokerOutbound
from gateway.codecs.raw import DATA
from gateway.codecs.text import TEXT
from gateway.declared_charset import contradiction
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Address, Binding, Contract, ContractError, Service, UnaryService
from gateway.status import Code, Failure

RECORD = {"fields": [{"name": "code", "type": "text", "width": 3}]}
REPLY = {"fields": [{"name": "state", "type": "text", "width": 2}]}


class Source(BrokerSource):
    pass


class Target(BrokerTarget):
    streamed: ClassVar = ("name",)
    name: str = "a"


class Given(UnaryService):
    """Keeps what it is given, and answers with what it was made with."""

    def __init__(self, reply: Message | None = None) -> None:
        self.requests: list[Message] = []
        self._reply = reply or Message(None)

    async def call(self, request: Message, context: Context) -> Message:
        self.requests.append(request)
        return self._reply


class Worker:
    unready = ""

    def __init__(self, binding: Any = None) -> None:
        self.binding = binding

    async def load(self) -> None: ...
    def start(self) -> None: ...
    async def drain(self) -> None: ...
    async def stop(self) -> None: ...


class In(BrokerInbound[Worker]):
    def __init__(self, name: str, endpoint: BrokerEndpoint, network: Network) -> None:
        self.made: list[Worker] = []
        super().__init__(endpoint, network, Worker())

    def contract(self, address: Source) -> Contract:
        return self.consuming("toys", address.replies, letters="", claim="", metadata={})

    def consumer(self, binding: Binding) -> Worker:
        self.made.append(Worker(binding))
        return self.made[-1]


class Out(BrokerOutbound[Target]):
    def __init__(self, endpoint: BrokerEndpoint, path: Path, reply: Message | None = None) -> None:
        self.given: list[Contract] = []
        self._reply = reply
        super().__init__(In, "toy", endpoint, Network(path), Worker())

    def contract(self, address: Target) -> Contract:
        if address.mode == "subscribe":
            return self.streaming("toys", {})
        return self.publishing("toys", address.mode, confirmed="", replied="", sources={}, receipt={})

    def live(self, address: Target) -> Address:
        return Source()

    def publisher(self, address: Target, contract: Contract) -> Service:
        self.given.append(contract)
        return Given(self._reply)


def declared(**options: Any) -> BrokerEndpoint:
    return BrokerEndpoint.model_validate(options)


@pytest.mark.parametrize(
    ("options", "type_", "content_type"),
    [
        ({}, None, "application/json"),
        ({"format": "text"}, TEXT, "text/plain; charset=utf-8"),
        ({"format": "text", "charset": "cp037"}, TEXT, "text/plain; charset=cp037"),
        ({"format": "text", "charset": "latin1"}, TEXT, "text/plain; charset=iso-8859-1"),
        ({"format": "text", "charset": "cp1252"}, TEXT, "text/plain; charset=windows-1252"),
        ({"format": "raw"}, DATA, "application/octet-stream"),
    ],
)
def test_both_sides_speak_the_format(options: Any, type_: Any, content_type: str) -> None:
    endpoint = declared(**options)
    assert endpoint.content_type == content_type
    consumed = In("toy", endpoint, Network(Path())).contract(Source())
    assert (consumed.format.name, consumed.request, consumed.reply) == (endpoint.format, type_, None)
    answered = In("toy", endpoint, Network(Path())).contract(Source(replies="one"))
    assert (answered.replies.name, answered.request, answered.reply) == (endpoint.format, type_, type_)
    out = Out(endpoint, Path())
    published = out.contract(Target())
    assert (published.format.name, published.request, published.reply) == (endpoint.format, type_, None)
    asked = out.contract(Target(mode="reply"))
    assert (asked.replies.name, asked.request, asked.reply) == (endpoint.format, type_, type_)
    streamed = out.contract(Target(mode="subscribe"))
    assert (streamed.replies.name, streamed.request, streamed.reply) == (endpoint.format, None, type_)


def test_records_have_a_layout_of_their_own_for_replies() -> None:
    endpoint = declared(format="record", record=RECORD, reply_record=REPLY)
    assert endpoint.content_type == "application/octet-stream"
    answered = In("toy", endpoint, Network(Path())).contract(Source(replies="one"))
    assert answered.request is not None and answered.reply is not None
    request, reply = answered.request, answered.reply
    assert answered.format.decoder(request, answered.unknown)(b"abc").code == "abc"
    assert answered.replies.decoder(reply, answered.unknown)(b"OK").state == "OK"
    streamed = Out(endpoint, Path()).contract(Target(mode="subscribe"))
    assert streamed.reply is not None
    published = streamed.replies.decoder(streamed.reply, streamed.unknown)(b"abc")
    assert published.code == "abc", "what is published are requests"


async def test_a_layout_that_is_not_there_is_told_when_the_side_is_loaded(tmp_path: Path) -> None:
    endpoint = declared(format="record", record="none.yaml")
    for side in (In("toy", endpoint, Network(tmp_path)), Out(endpoint, tmp_path)):
        with pytest.raises(ContractError, match=r"none\.yaml") as refused:
            await side.load()
        assert refused.value.field == ("record",)


@pytest.mark.parametrize(
    ("said", "charset", "fits"),
    [
        ("text/plain", "cp037", True),
        ("text/plain; charset=UTF8", "utf-8", True),
        ('text/csv; header=present; charset="latin1"', "iso-8859-1", True),
        ("text/plain; charset=us-ascii", "latin-1", True),
        ("text/plain; charset=us-ascii", "cp037", False),
        ("text/plain; charset=utf-8", "latin-1", False),
        ("application/json; charset=utf-8", "latin-1", False),
        ("text/plain; charset=no-such\x00", "utf-8", False),
        (b"text/plain; charset=\xff", "utf-8", False),
    ],
)
def test_charsets(said: str | bytes, charset: str, fits: bool) -> None:
    assert (contradiction([("content-type", said)], charset) == "") is fits
    assert contradiction([("tenant", said)], charset) == ""


@pytest.mark.parametrize("wanted", [frozenset[str](), frozenset({"content-type"})])
async def test_a_text_in_another_charset_never_reaches_the_route(wanted: frozenset[str]) -> None:
    side, route = In("toy", declared(format="text", charset="latin-1"), Network(Path())), Given()
    contract = side.contract(Source())
    side.bind([Binding("test", Source(), contract, Pattern.ONE_WAY, route, wanted)])
    binding: Binding = side.made[0].binding
    assert "content-type" in binding.headers, "the consumer is to tell it"
    told = [("content-type", "text/plain; charset=iso8859-1"), ("tenant", "a")]
    await binding.service.call(Message("ü".encode("latin-1"), told), Context())
    (request,) = route.requests
    assert request.headers == (told if wanted else [("tenant", "a")])
    other = Message("ü".encode(), [("content-type", "text/plain; charset=utf-8")])
    with pytest.raises(Failure, match="'utf-8', and iso8859-1 is declared") as refused:
        await binding.service.call(other, Context())
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert len(route.requests) == 1


async def test_a_reply_in_another_charset_is_refused() -> None:
    endpoint, address = declared(format="text"), Target(mode="reply")
    for said, fits in (("text/plain", True), ("text/plain; charset=latin-1", False)):
        out = Out(endpoint, Path(), Message(b"x", [("content-type", said)]))
        service = out.service(address, out.contract(address), Pattern.REQUEST_REPLY)
        assert out.given[0].headers == {"content-type"}
        if fits:
            assert (await service.call(Message(b""), Context())).headers == []
        else:
            with pytest.raises(Failure, match="reply can't be read") as refused:
                await service.call(Message(b""), Context())
            assert refused.value.code is Code.INTERNAL


async def test_other_formats_ask_for_no_content_type() -> None:
    for options in ({}, {"format": "raw"}):
        side, route = In("toy", declared(**options), Network(Path())), Given()
        binding = Binding("test", Source(), side.contract(Source()), Pattern.ONE_WAY, route, frozenset())
        side.bind([binding])
        assert side.made[0].binding is binding
