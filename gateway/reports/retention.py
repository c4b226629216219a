"""What becomes of old entries: they leave the journal, and their sums by day, key, model and the like stay.

One worker at a time does it, every minute. What leaves is the journal's oldest, a batch in one atomic step, so that at
any instant the entries and what was folded come to what the counters say.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import orjson

from gateway.ledger.store import Entry, Fold, Store, StoreDown
from gateway.reports.spending import FOREVER_S, LOCK, LOCK_S, YOUNGEST_FOLD_S, day_of
from gateway.settings import Retention

EVERY_S = 60.0
AGAIN_S = 1.0  # while somebody reads the journal
BATCH = 250  # entries that leave in one step: some milliseconds' work, then others have their turn
BATCHES = 400  # in one go; what is left then has to wait for those who want to read
COUNTED = "retention:counted"  # how many entries there are, up to which: counted on from there
COUNTED_S = 366 * 86_400.0

log = logging.getLogger("headgate")


async def run(store: Store, settings: Retention, owner: str, clock: Callable[[], float]) -> None:
    """Fold what is too old or too much, for as long as the worker lives. `owner` is the worker's own name."""
    while True:
        wait_s = EVERY_S
        try:
            if await store.lock(LOCK, owner, LOCK_S):
                try:
                    folded = await fold(store, settings, owner, clock())
                    if folded == BATCH * BATCHES:
                        wait_s = AGAIN_S
                finally:
                    await store.lock(LOCK, owner, 0)
            else:
                wait_s = AGAIN_S
        except StoreDown as error:
            log.warning("old entries stay in the journal for now: %s", error)
        await asyncio.sleep(wait_s)


async def fold(store: Store, settings: Retention, owner: str, now_s: float) -> int:
    """Let go of the oldest entries beyond age and number, while `owner` has the lock; how many went.

    Nothing younger than YOUNGEST_FOLD_S leaves.
    """
    youngest_s = now_s - YOUNGEST_FOLD_S
    too_old_s = min(youngest_s, now_s - settings.max_age_s)
    kept = _Kept(store, settings.max_entries)
    excess = await kept.excess(owner)
    folded = 0
    for _ in range(BATCHES):
        until = time.monotonic() + LOCK_S
        if not await store.lock(LOCK, owner, LOCK_S):
            break
        oldest = await store.journal(0.0, FOREVER_S, "", BATCH)
        leaving = _leaving(oldest, too_old_s, youngest_s, excess - folded)
        if not leaving or time.monotonic() > until or not await store.fold(leaving, sums(leaving), folds(leaving)):
            break
        folded += len(leaving)
        await kept.less(len(leaving))
        await asyncio.sleep(0)
    return folded


def _leaving(oldest: Sequence[Entry], too_old_s: float, youngest_s: float, excess: int) -> list[Entry]:
    """The first entries that are too old, or beyond the number: always the journal's beginning."""
    leaving: list[Entry] = []
    for entry in oldest:
        if entry.at_s >= too_old_s and (entry.at_s >= youngest_s or len(leaving) >= excess):
            break
        leaving.append(entry)
    return leaving


def sums(entries: Iterable[Entry]) -> Mapping[str, int]:
    """What these entries come to by counter, in nano-USD."""
    found: Counter[str] = Counter()
    for entry in entries:
        for counter in entry.counters:
            found[counter] += entry.bill["cost_nanousd"]
    return dict(found)


def folds(entries: Iterable[Entry]) -> list[Fold]:
    """What these entries come to by day and by what a report may be asked for."""
    groups: defaultdict[tuple[tuple[str, str | None], ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[tuple(_group(entry).items())].append(entry)
    return [_fold(dict(group), members) for group, members in groups.items()]


def _group(entry: Entry) -> dict[str, str | None]:
    bill = entry.bill
    plain = ("key_id", "key_alias", "team_id", "model", "target", "end_user", "ending")
    tags = orjson.dumps(sorted(bill.get("tags") or ())).decode()  # a group's values are text
    return {"day": day_of(entry.at_s), **{name: bill.get(name) for name in plain}, "tags": tags}


def _fold(group: Mapping[str, str | None], members: Sequence[Entry]) -> Fold:
    usage: Counter[str] = Counter()
    for entry in members:
        for name, amount in entry.bill["usage"].items():
            usage[name] += amount
    return Fold(
        group=group,
        cost_nanousd=sum(entry.bill["cost_nanousd"] for entry in members),
        requests=sum(not entry.bill.get("adjusts") for entry in members),
        usage=dict(usage),
    )


class _Kept:
    """How many entries there are. It is remembered in the store and counted on from there, not anew every minute."""

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most
        self._count, self._last = 0, ""

    async def excess(self, owner: str) -> int:
        """How many there are too many."""
        found = (await self._store.recall([COUNTED])).get(COUNTED)
        if found is not None:
            self._count, self._last = orjson.loads(found)
        while page := await self._store.journal(0.0, FOREVER_S, self._last, BATCH):
            self._count += len(page)
            self._last = page[-1].id
            if not await self._store.lock(LOCK, owner, LOCK_S):
                return 0
            await asyncio.sleep(0)
        await self._write()
        return max(0, self._count - self._most)

    async def less(self, folded: int) -> None:
        """`folded` of them went."""
        self._count -= folded
        await self._write()

    async def _write(self) -> None:
        written = orjson.dumps([self._count, self._last])
        await self._store.remember({COUNTED: written}, COUNTED_S)
