"""What becomes of old entries: they leave the journal, and their sums by day, key, model and the like stay.

One worker does it, every minute. What leaves is the journal's oldest, a batch in one atomic step, so that at
any instant the entries and what was folded come to what the counters say.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from gateway.ledger.store import Entry, Fold, Store, StoreDown
from gateway.reports.spending import FOREVER_S, YOUNGEST_FOLD_S, day_of
from gateway.reports.turns import GATE, Gate
from gateway.settings import Retention

EVERY_S = 60.0
AGAIN_S = 1.0  # where much is left: readers come between
BATCH = 250  # entries that leave in one step: some milliseconds' work, then others have their turn
BATCHES = 400  # in one go; what is left then has to wait for those who want to read
COUNTS = 2000  # batches that are counted in one go, likewise
COUNTED = "retention:counted"  # what _Kept knows
COUNTED_S = 366 * 86_400.0
TURN = f"{GATE}:turn"  # whose task it is

log = logging.getLogger("headgate")


async def run(store: Store, settings: Retention, owner: str, clock: Callable[[], float]) -> None:
    """Fold what is too old or too much, for as long as the worker lives. `owner` is the worker's own name."""
    gate = Gate(store, owner)
    while True:
        wait_s = EVERY_S
        try:
            if await store.lock(TURN, owner, 2 * EVERY_S) and await gate.close():
                try:
                    if await fold(store, settings, gate, clock()) == BATCH * BATCHES:
                        wait_s = AGAIN_S
                finally:
                    await gate.open()
        except StoreDown as error:
            log.warning("old entries stay in the journal for now: %s", error)
        await asyncio.sleep(wait_s)


async def fold(store: Store, settings: Retention, gate: Gate, now_s: float) -> int:
    """Let go of the oldest entries beyond age and number, behind the closed gate; how many went.

    Nothing younger than YOUNGEST_FOLD_S leaves.
    """
    youngest_s = now_s - YOUNGEST_FOLD_S
    too_old_s = min(youngest_s, now_s - settings.max_age_s)
    kept = await counted(store, gate)
    excess = 0 if kept is None else kept.number - settings.max_entries
    folded = 0
    for _ in range(BATCHES):
        oldest = await store.journal(0.0, FOREVER_S, "", BATCH)
        leaving = _leaving(oldest, too_old_s, youngest_s, excess - folded)
        if not leaving or not await gate.keep() or not await store.fold(leaving, sums(leaving), folds(leaving)):
            break
        folded += len(leaving)
        await asyncio.sleep(0)
    if folded and kept is not None:
        await _remember(store, kept._replace(number=kept.number - folded, first=await _first(store)))
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


class Kept(NamedTuple):
    """How many entries there are from `first` to `last`, which are ids."""

    number: int = 0
    first: str = ""
    last: str = ""


async def counted(store: Store, gate: Gate) -> Kept | None:
    """How many entries there are; None as long as not all are counted.

    It is remembered in the store and counted on from there, not anew every minute; but anew where the journal begins
    elsewhere than it did: then somebody folded, and died before it could say so.
    """
    known, first = (await store.recall([COUNTED])).get(COUNTED), await _first(store)
    kept = Kept() if known is None else Kept(*orjson.loads(known))
    if kept.first != first:
        kept = Kept(first=first)
    done = False
    for _ in range(COUNTS):
        page = await store.journal(0.0, FOREVER_S, kept.last, BATCH)
        done = not page
        if done or not await gate.keep():
            break
        kept = kept._replace(number=kept.number + len(page), last=page[-1].id)
        await asyncio.sleep(0)
    await _remember(store, kept)
    return kept if done else None


async def _first(store: Store) -> str:
    """The oldest entry's id; "" where there is none."""
    oldest = await store.journal(0.0, FOREVER_S, "", 1)
    return oldest[0].id if oldest else ""


async def _remember(store: Store, kept: Kept) -> None:
    await store.remember({COUNTED: orjson.dumps(list(kept))}, COUNTED_S)
