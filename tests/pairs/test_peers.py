"""No adapter opts out of the pair suite."""

import pytest
from support.pairs import PairKey, cases
from support.peers import load_peer

from gateway import registry


@pytest.mark.parametrize("protocol", registry.protocols())
def test_every_adapter_has_peers(protocol: str) -> None:
    peer = load_peer(protocol)
    assert peer.Caller
    assert peer.Backend


def test_adapter_without_peers_fails_the_suite() -> None:
    with pytest.raises(AssertionError, match=r"gopher has no test peer: write tests/support/peers/gopher\.py"):
        load_peer("gopher")


def test_every_protocol_meets_every_protocol() -> None:
    protocols = registry.protocols()
    keys = PairKey.all(protocols, every_variant=False)
    assert {(key.source, key.target) for key in keys} == {(one, other) for one in protocols for other in protocols}
    for key in keys:
        assert any(not case.refusal for case in cases(key.source, key.target)), f"{key} meet in no pattern"
