"""The audit: that every sum is what the journal says, that nothing is held by nobody, and that no cap was exceeded.

One snapshot of the store is taken at one instant; the journal up to its last entry is then added up outside, page by
page, while requests go on. Nothing leaves the journal meanwhile (gateway.spending).
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from gateway.admin.answers import iso
from gateway.admin.forms import Nothing
from gateway.ledger.parties import budget_window, cap
from gateway.ledger.store import EVERYONE, ORG, Budget, Entry, Kind, Record, Snapshot, Store, Sum
from gateway.ledger.windows import TOTAL
from gateway.reports.report_forms import AuditAnswer, Checked, Finding, OverrunAnswer
from gateway.reports.spending import DAY_S, FOREVER_S, PAGE, Lock, pages
from gateway.virtual_keys import usd

GRACE_S = 15.0  # past its deadline a hold may be this long: the reaper looks every second
PAST_S = 30 * DAY_S  # a window's counter is kept longer than this after its end; older entries may have lost theirs
MOST_LISTED = 1000  # findings, and overruns
NOTHING = Sum(0, 0, 0)
KINDS: tuple[Kind, ...] = ("org", "team", "key", "user", "tag")

# as gateway.ledger.parties names them: a pattern stands first, for an end user's name may hold anything
_KIND = f"(?P<kind>{'|'.join(KINDS)})"
_PLAIN = re.compile(f"(?s){_KIND}:(?P<id>.*)")
_OF_A_PATTERN = re.compile(f"(?s)(?P<pattern>.+?)@{_KIND}:(?P<id>.*)")

Records = Mapping[tuple[str, str], Record]  # by kind and id


@dataclass(slots=True)
class Tally:
    """What the journal comes to."""

    spent: Counter[str] = field(default_factory=Counter)  # nano-USD by counter
    overrun: Counter[str] = field(default_factory=Counter)  # likewise
    first_s: dict[str, float] = field(default_factory=dict)  # when the first entry of a counter was written
    newest_s: dict[str, float] = field(default_factory=dict)  # and the last
    entries: int = 0
    cost: int = 0
    overruns: deque[OverrunAnswer] = field(default_factory=lambda: deque(maxlen=MOST_LISTED))  # the newest first

    def add(self, entry: Entry) -> None:
        self.entries += 1
        self.cost += entry.bill["cost_nanousd"]
        for counter in entry.counters:
            self.spent[counter] += entry.bill["cost_nanousd"]
            self.first_s.setdefault(counter, entry.at_s)
            self.newest_s[counter] = entry.at_s
            if entry.overrun_nanousd:
                self.overrun[counter] += entry.overrun_nanousd
        if entry.overrun_nanousd:
            self.overruns.appendleft(_overrun(entry))


class Cap(NamedTuple):
    """What may be on one counter, and who says so."""

    counter: str
    nanousd: int
    record: Record
    inherited: bool  # there was a record of its own, which is revoked: now the one for everyone holds


async def audit(store: Store, _now_s: float, _id: str, _: Nothing) -> AuditAnswer:
    """Whether every sum is what the journal says, nothing is held past its time, and no cap was exceeded."""
    lock = Lock(store)
    await lock.take()
    snapshot = await store.snapshot()
    tally = Tally()
    async for entry in _until(store, snapshot.last_id, lock):
        tally.add(entry)
    records = await _records(store)
    findings: list[Finding] = []
    for rule in (partial(_spent, tally=tally), _held, _slots, _late, _negative):
        findings += rule(snapshot)
        await asyncio.sleep(0)
    above, explained = _above(snapshot, tally, records)
    findings += above
    folded = sum(sum_.folded_nanousd for name, sum_ in snapshot.sums.items() if _is_whole_life_of_a_key(name))
    return AuditAnswer(
        clean=not findings,
        checked=Checked(
            counters=len(snapshot.sums),
            entries=tally.entries,
            holds=len(snapshot.holds),
            slots=len(snapshot.slots),
            records=len(records),
            spent_usd=usd(tally.cost + folded),
            folded_usd=usd(folded),
        ),
        findings=findings[:MOST_LISTED],
        overruns=[*explained, *tally.overruns][:MOST_LISTED],
    )


async def _until(store: Store, last_id: str, lock: Lock) -> AsyncIterator[Entry]:
    if not last_id:
        return
    async for page in pages(store, 0.0, FOREVER_S, lock):
        for entry in page:
            yield entry
            if entry.id == last_id:
                return


async def _records(store: Store) -> Records:
    found: dict[tuple[str, str], Record] = {}
    for kind in KINDS:
        if kind == "org":
            record = await store.get(kind, ORG)
            found |= {} if record is None else {(kind, ORG): record}
            continue
        after = ""
        while page := await store.list(kind, after, PAGE):
            found |= {(kind, record.id): record for record in page}
            after = page[-1].id
    return found


def _is_whole_life_of_a_key(counter: str) -> bool:
    """Every request counts for one key: their totals are each request once."""
    return counter.startswith("key:") and counter.endswith(f"|{TOTAL}")


# --- each rule, and what breaks it


def _spent(snapshot: Snapshot, tally: Tally) -> Iterator[Finding]:
    for name, (spent, _, folded) in snapshot.sums.items():
        journal = tally.spent[name]
        if spent != journal + folded:
            message = f"spent {usd(spent)} USD, but its entries come to {usd(journal)} and {usd(folded)} has left them"
            yield Finding(what="spent", name=name, message=message)
    for name, spent in tally.spent.items():
        if name not in snapshot.sums and spent and not _is_past(name, tally.newest_s[name], snapshot.now_s):
            message = f"its entries come to {usd(spent)} USD, but there is no such counter"
            yield Finding(what="missing", name=name, message=message)


def _is_past(counter: str, newest_s: float, now_s: float) -> bool:
    """Whether the counter may be gone: its window is over for long."""
    return not counter.endswith(f"|{TOTAL}") and newest_s < now_s - PAST_S


def _held(snapshot: Snapshot) -> Iterator[Finding]:
    held: Counter[str] = Counter()
    for live in snapshot.holds:
        for name in live.counters:
            held[name] += live.nanousd
    for name in {**snapshot.sums, **held}:
        said = snapshot.sums.get(name, NOTHING).held_nanousd
        if said != held[name]:
            message = f"held {usd(said)} USD, but its holds come to {usd(held[name])}"
            yield Finding(what="held", name=name, message=message)


def _slots(snapshot: Snapshot) -> Iterator[Finding]:
    running = Counter(scope for live in snapshot.holds for scope in live.slots)
    for scope in {**snapshot.slots, **running}:
        said = snapshot.slots.get(scope, 0)
        if said != running[scope]:
            message = f"{said} requests at once, but {running[scope]} of the holds count for it"
            yield Finding(what="slots", name=scope, message=message)


def _late(snapshot: Snapshot) -> Iterator[Finding]:
    for live in snapshot.holds:
        late_s = snapshot.now_s - live.deadline_s
        if late_s > GRACE_S:
            message = f"holds {usd(live.nanousd)} USD {late_s:.0f} s past its deadline: nobody reaps"
            yield Finding(what="late_hold", name=live.request_id, message=message)


def _negative(snapshot: Snapshot) -> Iterator[Finding]:
    for name, sums in snapshot.sums.items():
        if min(sums) < 0:
            spent, held, folded = map(usd, sums)
            message = f"below zero: spent {spent} USD, held {held}, folded {folded}"
            yield Finding(what="negative", name=name, message=message)
    for scope, running in snapshot.slots.items():
        if running < 0:
            yield Finding(what="negative", name=scope, message=f"{running} requests at once")


def _above(snapshot: Snapshot, tally: Tally, records: Records) -> tuple[list[Finding], list[OverrunAnswer]]:
    """Counters above their cap: those that nothing explains, and those that an overrun or a change of the cap does."""
    findings, explained = [], []
    for one in _caps(snapshot, records):
        spent, held, _ = snapshot.sums[one.counter]
        excess = spent + held - one.nanousd
        if excess <= 0:
            continue
        message = f"spent {usd(spent)} and held {usd(held)} USD of a cap of {usd(one.nanousd)}"
        if why := _explanation(one, excess, snapshot.sums[one.counter], tally):
            message = f"{message}: {why}"
            explained.append(OverrunAnswer(name=one.counter, nanousd=excess, at=None, message=message))
        else:
            findings.append(Finding(what="above_cap", name=one.counter, message=message))
    return findings, explained


def _explanation(over: Cap, excess: int, sums: Sum, tally: Tally) -> str:
    """How a counter may be above its cap without a fault; "" when it may not."""
    record, overrun = over.record, tally.overrun[over.counter]
    if excess <= overrun:
        return f"its overruns come to {usd(overrun)}"
    if record.version > 1 or over.inherited:
        return f"the {record.kind} {record.id} was changed since it was made, so the cap may have been lowered"
    if tally.first_s.get(over.counter, record.created_at) < record.created_at:
        return f"the {record.kind} {record.id} was made only later"
    return "entries have left the journal, and an overrun may have been among them" if sums.folded_nanousd else ""


def _caps(snapshot: Snapshot, records: Records) -> Iterator[Cap]:
    """The hard caps on the counters that there are, the windows that are past included."""
    for name in snapshot.sums:
        scope, _, window = name.rpartition("|")
        found = _PLAIN.fullmatch(scope) or _OF_A_PATTERN.fullmatch(scope)
        if found is None:
            continue
        pattern, kind, id = found.groupdict().get("pattern"), found["kind"], found["id"]
        own = records.get((kind, id))
        record = own
        if kind in ("user", "tag") and (own is None or own.revoked):
            record = records.get((kind, EVERYONE))
        if record is not None:
            of_it = [budget for budget in record.budgets if not budget.soft and budget.model == pattern]
            caps = [nanousd for budget in of_it if (nanousd := _cap(budget, window, snapshot.now_s)) is not None]
            if caps:
                yield Cap(name, min(caps), record, own is not None and own is not record)


def _cap(budget: Budget, window: str, now_s: float) -> int | None:
    """What `budget` allowed in `window`, if it is one of its own. A raise may have held in any that is past."""
    now = budget_window(budget, now_s)
    if window == now.id:
        return cap(budget, now_s)
    if budget.duration is None or window.partition(":")[0] != now.id.partition(":")[0]:
        return None
    return budget.max_nanousd + budget.raised_nanousd


def _overrun(entry: Entry) -> OverrunAnswer:
    cost, over = usd(entry.bill["cost_nanousd"]), usd(entry.overrun_nanousd)
    return OverrunAnswer(
        name=entry.bill["request_id"],
        nanousd=entry.overrun_nanousd,
        at=iso(entry.at_s),
        message=f"cost {cost} USD, {over} more than was held for it",
    )
