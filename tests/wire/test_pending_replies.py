"""Pending replies: each to its question, and which of the others count."""

import asyncio

import pytest

from gateway.net.broker import pending_replies
from gateway.net.broker.pending_replies import PendingReplies
from gateway.net.counters import Counter
from gateway.status import Code, Failure


def pending(*, shared: bool) -> tuple[PendingReplies[str], Counter]:
    late = Counter()
    return PendingReplies(late, shared=shared), late


async def test_each_reply_to_its_question() -> None:
    replies, late = pending(shared=True)
    with replies.ask() as first, replies.ask() as second:
        assert first.correlation_id != second.correlation_id
        replies.take(second.correlation_id, "two")
        replies.take(first.correlation_id, "one")
        assert (await first.reply, await second.reply) == ("one", "two")
    assert (len(replies), late.value) == (0, 0)


@pytest.mark.parametrize(("shared", "counted"), [(True, 1), (False, 3)])
async def test_late_ones_count_and_others_only_where_all_are_ours(shared: bool, counted: int) -> None:
    replies, late = pending(shared=shared)
    with pytest.raises(TimeoutError), replies.ask() as question:
        async with asyncio.timeout(0):
            await question.reply
    replies.take(question.correlation_id, "late")
    replies.take(question.correlation_id, "late again")
    replies.take("a stranger's", "not ours")
    assert (len(replies), late.value) == (0, counted)


async def test_a_second_reply_is_not_taken_for_the_first() -> None:
    replies, late = pending(shared=False)
    with replies.ask() as question:
        replies.take(question.correlation_id, "one")
        replies.take(question.correlation_id, "two")
        assert await question.reply == "one"
    assert late.value == 1


async def test_what_waits_is_failed_and_nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    replies, late = pending(shared=True)
    with replies.ask() as question, replies.ask() as unsent:
        replies.fail(Failure(Code.UNAVAILABLE, "stopped"))
        with pytest.raises(Failure, match="stopped"):
            await question.reply
    del question, unsent
    await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text
    assert (len(replies), late.value) == (0, 0)


async def test_given_up_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_replies, "MOST_ABANDONED", 3)
    replies, late = pending(shared=True)
    given_up = []
    for _ in range(5):
        with replies.ask() as question:
            given_up.append(question.correlation_id)
    for correlation_id in given_up:
        replies.take(correlation_id, "late")
    assert late.value == 3
