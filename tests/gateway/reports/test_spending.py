"""Reading what was spent: in order, by steps of days, and never while it leaves."""

import asyncio
from datetime import UTC, datetime

import pytest

from gateway.ledger.store import Entry, Fold
from gateway.reports import spending
from gateway.reports.spending import DAY_S, of_entry, of_fold
from gateway.reports.turns import GATE

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC).timestamp()


class Shelf:
    """A store of folds that says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.locks = 0

    async def folds(self, start_day: str, end_day: str) -> list[Fold]:
        self.asked.append((start_day, end_day))
        return []

    async def journal(self, start_s: float, end_s: float, after: str, limit: int) -> list[Entry]:
        return []

    async def lock(self, name: str, owner: str, ttl_s: float) -> bool:
        self.locks += name != GATE and ttl_s > 0
        return True


async def read(shelf: Shelf, start_s: float, end_s: float) -> list[spending.Item]:
    return [item async for item in spending.items(shelf, start_s, end_s, NOW)]  # type: ignore[arg-type]


def test_folds_are_read_a_month_at_a_time_and_each_day_once() -> None:
    shelf = Shelf()
    assert asyncio.run(read(shelf, 0.0, spending.FOREVER_S)) == []
    assert shelf.asked[0] == ("1970-01-01", "2026-01-01")
    assert shelf.asked[-1][1] == "2026-11-21", "no day is after today"
    assert [start for start, _ in shelf.asked[1:]] == [end for _, end in shelf.asked[:-1]]
    assert len(shelf.asked) == 12


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        ((2026, 3, 1), (2026, 3, 3), [("2026-03-01", "2026-03-03")]),
        ((2026, 3, 1, 0, 1), (2026, 3, 3, 0, 1), [("2026-03-02", "2026-03-04")]),
        ((2026, 3, 1, 5), (2026, 3, 1, 6), []),
    ],
)
def test_a_day_belongs_to_the_interval_that_its_midnight_is_in(
    start: tuple[int, ...], end: tuple[int, ...], asked: list[tuple[str, str]]
) -> None:
    shelf = Shelf()
    asyncio.run(read(shelf, datetime(*start, tzinfo=UTC).timestamp(), datetime(*end, tzinfo=UTC).timestamp()))  # type: ignore[misc, arg-type]
    assert shelf.asked == asked


def test_what_cannot_leave_is_read_without_a_lock() -> None:
    young, old = Shelf(), Shelf()
    asyncio.run(read(young, NOW - 6 * DAY_S, NOW))
    asyncio.run(read(old, NOW - 9 * DAY_S, NOW))
    assert (young.locks, old.locks) == (0, 1)


def test_an_entry_and_a_fold_are_told_in_the_same_words() -> None:
    bill = {"key_id": "k", "cost_nanousd": 5, "usage": {"input_tokens": 1}, "tags": ["a"]}
    entry = of_entry(Entry("1", NOW, bill))
    fold = of_fold(Fold({"day": "2026-11-20", "key_id": "k", "tags": '["a"]'}, 5, 1, {"input_tokens": 1}))
    assert (entry.cost_nanousd, entry.requests, entry.usage) == (fold.cost_nanousd, fold.requests, fold.usage)
    assert entry.fields["tags"] == fold.fields["tags"] == ["a"]
    assert fold.at_s == datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    assert of_entry(Entry("2", NOW, bill | {"adjusts": True})).requests == 0
    assert of_fold(Fold({"day": "2026-11-20"}, 5, 1, {})).fields["tags"] == []
