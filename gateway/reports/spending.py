"""What was spent, in order and page by page: first what has left the journal, by day, then the journal's entries.

Nothing leaves the journal while somebody reads what might (gateway.reports.turns).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from gateway.admin.answers import iso
from gateway.ledger.store import Entry, Fold, Store
from gateway.reports.turns import Reading

FOREVER_S = 253_402_300_800.0  # the year 10000
DAY_S = 86_400
PAGE = 250  # entries read at once: some milliseconds' work, then others have their turn
YOUNGEST_FOLD_S = 8 * DAY_S  # nothing younger leaves the journal: a settle is known again for 7 days
_FIRST = date(2026, 1, 1)  # no ledger is older; folds are read in steps from here
_STEP = timedelta(days=31)


class Item(NamedTuple):
    """One thing that was spent: an entry, or the sum of entries that have left the journal (`entry` is None)."""

    at_s: float  # a sum's is its day's midnight
    fields: Mapping[str, Any]  # of the bill
    cost_nanousd: int
    requests: int
    usage: Mapping[str, int]
    entry: Entry | None


async def items(store: Store, start_s: float, end_s: float, now_s: float) -> AsyncIterator[Item]:
    """Everything with start_s ≤ at < end_s, oldest first; a day's sum is at its midnight.

    Raises LLMError("unavailable") when the journal is being folded for long, or was while the reader slept.
    """
    old = start_s < now_s - YOUNGEST_FOLD_S + DAY_S  # a day's grace: clocks differ
    async with Reading(store) if old else nullcontext() as reading:
        async for fold in _folds(store, start_s, min(end_s, now_s)):
            yield of_fold(fold)
        async for page in pages(store, start_s, end_s, reading):
            for entry in page:
                yield of_entry(entry)


async def pages(store: Store, start_s: float, end_s: float, reading: Reading | None) -> AsyncIterator[list[Entry]]:
    """The journal's entries, oldest first; other requests are served between two pages."""
    after = ""
    while page := await store.journal(start_s, end_s, after, PAGE):
        yield list(page)
        after = page[-1].id
        if reading is not None:
            await reading.keep()
        await asyncio.sleep(0)


def of_entry(entry: Entry) -> Item:
    """The difference to an earlier bill of the same request is no request of its own."""
    bill = entry.bill
    return Item(entry.at_s, bill, bill["cost_nanousd"], 0 if bill.get("adjusts") else 1, bill["usage"], entry)


def of_fold(fold: Fold) -> Item:
    """`tags` stand in a group as a JSON array: a group's values are text."""
    fields = {**fold.group, "tags": orjson.loads(fold.group.get("tags") or "[]")}
    return Item(midnight_s(str(fold.group["day"])), fields, fold.cost_nanousd, fold.requests, fold.usage, None)


async def approximate_days(store: Store, start_s: float, end_s: float) -> list[str]:
    """The days that the interval cuts and of which something has left the journal."""
    cut = sorted({day_of(moment_s) for moment_s in (start_s, end_s) if moment_s % DAY_S and moment_s < FOREVER_S})
    return [day for day in cut if await store.folds(day, _next(day))]


async def _folds(store: Store, start_s: float, end_s: float) -> AsyncIterator[Fold]:
    for start, end in _steps(_first_midnight(start_s), _first_midnight(end_s)):
        for fold in await store.folds(start, end):
            yield fold
        await asyncio.sleep(0)


def _steps(start: date, end: date) -> Iterator[tuple[str, str]]:
    while start < end:
        following = min(end, _FIRST if start < _FIRST else start + _STEP)
        yield start.isoformat(), following.isoformat()
        start = following


def _first_midnight(at_s: float) -> date:
    """The first day that does not begin before `at_s`."""
    return date.fromisoformat(day_of(min(at_s, FOREVER_S - 2 * DAY_S) + DAY_S - 0.001))


def day_of(at_s: float) -> str:
    """The day in UTC, ISO 8601."""
    return iso(at_s)[:10]


def midnight_s(day: str) -> float:
    """When the day begins in UTC, Unix seconds."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def _next(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
