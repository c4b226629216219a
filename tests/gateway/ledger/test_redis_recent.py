"""What a worker remembers for a server that may forget it."""

import tracemalloc

import pytest

from gateway.ledger import journal, redis_calls, redis_recent, redis_scripts
from gateway.ledger.redis_calls import Known
from gateway.ledger.redis_recent import Recent
from gateway.ledger.store import Beat
from tests.gateway.ledger.requests import ask, bill, cap, said

ROOT = redis_scripts.keys("root")


def told(recent: Recent) -> list[tuple[str, str]]:
    """The scripts and the request ids of what would be told, in order."""
    names = {redis_scripts.SETTLE: "settle", redis_scripts.RESTORE: "hold"}
    return [(names[call.script], said(call)[4].decode()) for call in recent.calls()]


def test_a_hold_is_remembered_until_it_is_settled_and_then_its_bill() -> None:
    recent = Recent(ROOT)
    recent.held(ask("a", cap(None)), 100, 0, b"")
    recent.held(ask("b", cap(None)), 100, 0, b"")
    assert told(recent) == [("hold", "a"), ("hold", "b")]
    recent.settled(bill("b", 1, cap(None)))
    assert told(recent) == [("settle", "b"), ("hold", "a")]


def test_a_hold_is_told_as_it_is_by_now() -> None:
    recent = Recent(ROOT)
    asked = ask("a", cap(None))
    recent.held(asked, 100, 7, b'[["key:k","tpm","1","7"]]')
    recent.grown("a", 150)
    recent.renewed([Beat("a", 33, b"{}"), Beat("a")], [])
    recent.renewed([Beat("another", 1, b"{}")], [])
    recent.grown("another", 1)
    (call,) = recent.calls()
    known = Known(asked, 150, 7, b'[["key:k","tpm","1","7"]]', 33, b"{}")
    assert call == redis_calls.restore(ROOT, known, asked.lease_s)


def test_a_hold_that_is_gone_is_not_told_again() -> None:
    recent = Recent(ROOT)
    recent.held(ask("a", cap(None)), 100, 0, b"")
    recent.renewed([Beat("a")], ["a"])
    assert told(recent) == []


def test_the_bills_of_the_minute_before_the_last_one_are_told_and_not_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("gateway.ledger.redis_recent.time.monotonic", lambda: now[0])
    recent = Recent(ROOT)
    for at in range(redis_recent.MOST + 2):
        recent.settled(bill(f"r{at}", 1, cap(None)))
    assert len(told(recent)) == redis_recent.MOST
    now[0] += redis_recent.TOLD_AGAIN_S + 1  # for so long the server was away
    assert len(told(recent)) == redis_recent.MOST
    recent.settled(bill("late", 1, cap(None)))
    assert told(recent) == [("settle", "late")]
    now[0] += redis_recent.KNOWN_S + 1
    assert told(recent) == []


def test_a_checkpoint_is_kept_without_the_room_in_which_it_was_written() -> None:
    recent, asks = Recent(ROOT), [ask(str(n), cap(None)) for n in range(100)]
    for asked in asks:
        recent.held(asked, 100, 0, b"")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for asked in asks:
            recent.renewed([Beat(asked.request_id, 1, journal.line(bill(asked.request_id, 1, cap(None))))], [])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 100 < len(journal.line(bill("99", 1, cap(None)))) + 400  # and its tuple
