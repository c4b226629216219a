"""What the embedded store lets go of: buckets that no longer count, slots nobody has, marks of long ago."""

import math

import pytest

from gateway.ledger import sqlite_money
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Granted, Meter, Refused, Settled
from tests.gateway.ledger.requests import ask, bill, cap, with_key

pytestmark = pytest.mark.anyio
LIMITS = [Meter("key:k", "rpm", 2), Meter("key:k", "tpm", 100), Meter("key:k", "parallel", 5)]


class Clock:
    """The store's clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = 1_795_181_749_219
        monkeypatch.setattr(sqlite_money, "now_ms", lambda: self.ms)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def rows(file: SqliteStore, table: str) -> int:
    counted: int = await file._read(lambda db: db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
    return counted


async def test_a_minute_slides_and_what_has_left_it_is_let_go(file: SqliteStore, clock: Clock) -> None:
    await with_key(file)
    for at in range(2):
        await file.reserve(ask(f"r{at}", cap(None), meters=LIMITS, tokens=10))
        clock.ms += 20_000
    assert await rows(file, "meters") == 4
    full = await file.reserve(ask("r2", cap(None), meters=LIMITS, tokens=10))
    assert isinstance(full, Refused)
    assert full.reason == "rate"
    clock.ms += math.floor(full.retry_after_s * 1000)
    again = await file.reserve(ask("r2", cap(None), meters=LIMITS, tokens=10))
    assert isinstance(again, Refused)
    assert again.retry_after_s <= 0.001
    clock.ms += 1
    answer = await file.reserve(ask("r2", cap(None), meters=LIMITS, tokens=10))
    assert isinstance(answer, Granted)
    assert [used for used, _ in answer.levels] == [2, 20, 3]
    assert await rows(file, "meters") == 4


async def test_tokens_are_given_back_where_they_still_count_and_taken_on_top_when_it_is_known(
    file: SqliteStore, clock: Clock
) -> None:
    await with_key(file)
    await file.reserve(ask("early", cap(None), meters=LIMITS, tokens=50))
    clock.ms += 61_001
    await file.reserve(ask("late", cap(None), meters=LIMITS, tokens=30))
    await file.settle(bill("early", 1, cap(None), tokens=90))
    assert [used for used, _ in await file.levels(LIMITS)] == [1, 30 + 40, 1]
    clock.ms += 10_000
    await file.settle(bill("late", 1, cap(None), tokens=20))
    levels = await file.levels(LIMITS)
    assert [used for used, _ in levels] == [1, 20 + 40, 0]
    clock.ms += 52_000  # past what the reserve of the second and the settle of the first took
    assert [used for used, _ in await file.levels(LIMITS)] == [0, 0, 0]
    assert await rows(file, "slots") == 0


async def test_marks_of_settled_requests_are_let_go_after_a_week(file: SqliteStore, clock: Clock) -> None:
    await with_key(file)
    await file.settle(bill("old", 1, cap(None)))
    await file.settle(bill("sent again", 1, cap(None)))
    clock.ms += sqlite_money.SETTLED_MS - 1
    assert await file.settle(bill("sent again", 1, cap(None))) == Settled(
        False, 0, (2,)
    )  # and so known for a week more
    await file.settle(bill("new", 1, cap(None)))
    clock.ms += 2
    await file.reap()
    assert await rows(file, "settled") == 2
    for kept in ("sent again", "new"):
        assert not (await file.settle(bill(kept, 1, cap(None)))).first


async def test_a_clock_that_is_set_back_does_not_disorder_the_journal(file: SqliteStore, clock: Clock) -> None:
    await file.settle(bill("a", 1, cap(None)))
    clock.ms -= 3_600_000
    await file.settle(bill("b", 1, cap(None)))
    first, second = await file.journal(0, float("inf"))
    assert (first.bill["request_id"], second.bill["request_id"], second.at_s - first.at_s) == ("a", "b", 0.0)
    assert await file.levels(LIMITS) == [(0, 0.0)] * 3


async def test_who_takes_nothing_of_a_full_meter_waits_for_the_first_that_leaves(
    file: SqliteStore, clock: Clock
) -> None:
    await with_key(file)
    for at in range(2):
        await file.reserve(ask(f"r{at}", cap(None), meters=[Meter("key:k", "tpm", 1000)], tokens=60))
        clock.ms += 25_000
    full = await file.reserve(ask("r2", cap(None), meters=[Meter("key:k", "tpm", 100)]))
    assert isinstance(full, Refused)
    assert (full.reason, 10 <= full.retry_after_s <= 11) == ("rate", True)
