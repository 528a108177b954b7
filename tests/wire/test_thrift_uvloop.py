"""Thrift's connections on uvloop, whose transports differ from asyncio's in detail."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import test_thrift_config as config
import test_thrift_inbound as inbound
import test_thrift_outbound as outbound

uvloop = pytest.importorskip("uvloop")


@pytest.mark.parametrize(
    "dialogue",
    [
        inbound.test_replies_come_as_they_are_done_and_bear_their_ids,
        inbound.test_calls_of_one_id_wait_for_each_other,
        inbound.test_calls_at_a_time_are_bounded_and_reading_stops,
        inbound.test_a_caller_that_leaves_cancels_its_calls,
        inbound.test_calls_of_callers_that_leave_at_once_hold_nothing_up,
        inbound.test_oneway_calls_of_a_caller_that_left_are_served,
        inbound.test_a_bad_call_leaves_the_connection,
        inbound.test_limits,
        inbound.test_idle_and_slow_peers_are_closed,
        inbound.test_a_slow_reader_slows_the_gateway,
        inbound.test_drain_answers_what_came_and_takes_no_more,
        inbound.test_stop_ends_what_is_left,
        outbound.test_answers_in_any_order_on_one_connection,
        outbound.test_a_peer_that_is_down,
        outbound.test_a_connection_that_was_closed_meanwhile_is_not_used,
        outbound.test_a_call_that_is_given_up_closes_its_connection_after_the_others,
        outbound.test_oneway_waits_while_the_peer_does_not_read,
        outbound.test_nothing_is_left_after_stop,
    ],
    ids=lambda dialogue: dialogue.__name__,
)
def test_on_uvloop(dialogue: Callable[[], Awaitable[None]]) -> None:
    uvloop.run(dialogue())


def test_tls_on_uvloop(pki: Path) -> None:
    uvloop.run(config.test_tls(pki))
