"""The audit: that every sum is what the journal says, that nothing is held by nobody, and that no cap was exceeded.

The counters are looked at page by page. Each page tells where the journal stood at its instant; the journal is added up
to there, while requests go on, and then compared. What is held is compared at the end, at one instant: every hold, the
counters of these, and those on which a page saw something held. Nothing leaves the journal meanwhile (turns).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.admin.answers import iso
from gateway.admin.forms import Nothing
from gateway.ledger.store import MAX_NANOUSD, Entry, Snapshot, Store, Sum
from gateway.ledger.windows import TOTAL
from gateway.reports.allowances import Allowances, Cap
from gateway.reports.report_forms import AuditAnswer, Checked, Finding, OverrunAnswer
from gateway.reports.spending import DAY_S, FOREVER_S, PAGE
from gateway.reports.turns import Reading
from gateway.virtual_keys import usd

GRACE_S = 15.0  # past its deadline a hold may be this long: the reaper looks every second
PAST_S = 30 * DAY_S  # a window's counter is kept longer than this after its end; older entries may have lost theirs
MOST_LISTED = 1000  # findings, and overruns
COUNTERS = 1000  # looked at in one step: some milliseconds of the store's time, and of ours
NOTHING = Sum(0, 0, 0)


@dataclass(slots=True)
class Tally:
    """What the journal comes to."""

    spent: Counter[str] = field(default_factory=Counter)  # nano-USD by counter
    overrun: Counter[str] = field(default_factory=Counter)  # likewise
    began_s: dict[str, float] = field(default_factory=dict)  # when the first request of a counter began
    newest_s: dict[str, float] = field(default_factory=dict)  # when the last entry of it was written
    entries: int = 0
    cost: int = 0
    over: deque[Entry] = field(default_factory=lambda: deque(maxlen=MOST_LISTED))  # overruns, the newest first

    def add(self, entry: Entry) -> None:
        self.entries += 1
        self.cost += entry.bill["cost_nanousd"]
        began_s = entry.at_s - entry.bill.get("latency_ms", 0) / 1000
        for counter in entry.counters:
            self.spent[counter] += entry.bill["cost_nanousd"]
            self.began_s[counter] = min(began_s, self.began_s.get(counter, began_s))
            self.newest_s[counter] = entry.at_s
            if entry.overrun_nanousd:
                self.overrun[counter] += entry.overrun_nanousd


class Journal:
    """The journal, added up as far as is asked for."""

    def __init__(self, store: Store, reading: Reading, allowances: Allowances) -> None:
        self.tally = Tally()
        self._store = store
        self._reading = reading
        self._allowances = allowances
        self._ahead: deque[Entry] = deque()  # read, and not added up yet
        self._read = ""  # the last entry that is read
        self._added = ""

    async def up_to(self, last_id: str) -> Tally:
        """What it comes to with the entry `last_id`; other requests are served between two pages."""
        while self._added != last_id:
            if not self._ahead:
                page = await self._store.journal(0.0, FOREVER_S, self._read, PAGE)
                if not page:
                    break
                self._ahead.extend(page)
                self._read = page[-1].id
                await self._reading.keep()
                await asyncio.sleep(0)
            self._add(self._ahead.popleft())
        return self.tally

    def _add(self, entry: Entry) -> None:
        self.tally.add(entry)
        self._added = entry.id
        if entry.overrun_nanousd and any(self._allowances.cap(counter) for counter in entry.counters):
            self.tally.over.appendleft(entry)  # where nothing is capped, nothing may have been held: no fault of it


@dataclass(slots=True)
class Found:
    """What the audit has come to so far."""

    findings: list[Finding] = field(default_factory=list)
    explained: list[OverrunAnswer] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    holding: list[str] = field(default_factory=list)  # counters on which something was held
    folded: int = 0
    holds: int = 0
    slots: int = 0


async def audit(store: Store, _now_s: float, _id: str, _: Nothing) -> AuditAnswer:
    """Whether every sum is what the journal says, nothing is held past its time, and no cap was exceeded."""
    allowances, found = Allowances(store), Found()
    async with Reading(store) as reading:
        await allowances.read()
        journal = Journal(store, reading, allowances)
        tally = await _counters(store, reading, journal, allowances, found)
        await reading.keep()
        await _holds(store, found)
    return AuditAnswer(
        clean=not found.findings,
        checked=Checked(
            counters=len(found.seen),
            entries=tally.entries,
            holds=found.holds,
            slots=found.slots,
            records=len(allowances.records),
            spent_usd=usd(tally.cost + found.folded),
            folded_usd=usd(found.folded),
        ),
        findings=found.findings[:MOST_LISTED],
        overruns=[*found.explained, *map(_overrun, tally.over)][:MOST_LISTED],
    )


async def _counters(store: Store, reading: Reading, journal: Journal, allowances: Allowances, found: Found) -> Tally:
    """Every counter, a page at a time, against the journal as it was then."""
    after: str | None = ""
    known: dict[str, int] | None = None
    while after is not None:
        page = await store.snapshot(after, COUNTERS)
        tally = await journal.up_to(page.last_id)
        if known is None:  # counters that come later may lie before a page that was looked at
            known, first_s = dict(tally.spent), page.now_s
        allowances.at(page.now_s)
        found.findings += [*_spent(page, tally), *_negative(page)]
        for name, sums in page.sums.items():
            await _above(name, sums, tally, allowances, found)
        found.seen |= page.sums.keys()
        found.holding += [name for name, sums in page.sums.items() if sums.held_nanousd]
        found.folded += sum(sums.folded_nanousd for name, sums in page.sums.items() if _is_whole_life_of_a_key(name))
        after = page.after
        await reading.keep()  # a quiet store has no page of the journal beside this one
        await asyncio.sleep(0)
    found.findings += [
        Finding(
            what="missing", name=name, message=f"its entries come to {usd(spent)} USD, but there is no such counter"
        )
        for name, spent in (known or {}).items()
        if name not in found.seen and spent and not _is_past(name, tally.newest_s[name], first_s)
    ]
    return tally


async def _holds(store: Store, found: Found) -> None:
    """Every hold, against the counters at the same instant."""
    instant = await store.snapshot(None, 0)
    found.holds, found.slots = len(instant.holds), len(instant.slots)
    for rule in (_held, _slots, _late):
        found.findings += rule(instant)
        await asyncio.sleep(0)
    others = [name for name in found.holding if name not in instant.sums]
    for at in range(0, len(others), COUNTERS):
        now = await store.snapshot("", 0, others[at : at + COUNTERS])
        still = [name for name, sums in now.sums.items() if sums.held_nanousd]
        if still:  # by requests that came just now, or by nobody
            said = {finding.name for finding in found.findings if finding.what == "held"}
            found.findings += [one for one in _held(await store.snapshot(None, 0, still)) if one.name not in said]


def _is_whole_life_of_a_key(counter: str) -> bool:
    """Every request counts for one key: their totals are each request once."""
    return counter.startswith("key:") and counter.endswith(f"|{TOTAL}")


# --- each rule, and what breaks it


def _spent(page: Snapshot, tally: Tally) -> Iterator[Finding]:
    for name, (spent, _, folded) in page.sums.items():
        journal = tally.spent[name]
        if spent != journal + folded:
            message = f"spent {usd(spent)} USD, but its entries come to {usd(journal)} and {usd(folded)} has left them"
            yield Finding(what="spent", name=name, message=message)


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
        if said < 0:
            yield Finding(what="negative", name=scope, message=f"{said} requests at once")
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


async def _above(name: str, sums: Sum, tally: Tally, allowances: Allowances, found: Found) -> None:
    """A counter above its cap: an overrun, a raise or a change explains it, or nothing does."""
    came_to = sums.spent_nanousd + sums.held_nanousd
    cap = allowances.cap(name)
    if cap is not None and came_to > cap.nanousd:
        await allowances.reread(name)  # it may have been raised since it was read
        cap = allowances.cap(name)
    if cap is None or came_to <= cap.nanousd:
        return
    excess = came_to - cap.nanousd
    spent, held, allowed = usd(sums.spent_nanousd), usd(sums.held_nanousd), usd(cap.nanousd)
    message = f"spent {spent} and held {held} USD of a cap of {allowed}"
    if why := _explanation(name, cap, excess, sums, tally):
        found.explained.append(OverrunAnswer(name=name, nanousd=excess, at=None, message=f"{message}: {why}"))
    else:
        found.findings.append(Finding(what="above_cap", name=name, message=message))


def _explanation(name: str, cap: Cap, excess: int, sums: Sum, tally: Tally) -> str:
    """How a counter may be above its cap without a fault; "" when it may not."""
    record, overrun = cap.record, tally.overrun[name]
    began_s = tally.began_s.get(name, float("inf"))
    if excess <= overrun:
        return f"its overruns come to {usd(overrun)}"
    if began_s < record.created_at:
        return f"the {record.kind} {record.id} was made only later"
    if cap.most_nanousd >= MAX_NANOUSD:
        if began_s < cap.until_s or sums.folded_nanousd or sums.held_nanousd >= excess:
            return f"it was not capped until {iso(cap.until_s)}"
    elif excess <= overrun + cap.most_nanousd - cap.nanousd:
        allowed = f"its cap was {usd(cap.most_nanousd)} until it was lowered or a raise of it ended, {iso(cap.until_s)}"
        return f"{allowed}, and its overruns come to {usd(overrun)}" if overrun else allowed
    return "entries have left the journal, and an overrun may have been among them" if sums.folded_nanousd else ""


def _overrun(entry: Entry) -> OverrunAnswer:
    cost, over = usd(entry.bill["cost_nanousd"]), usd(entry.overrun_nanousd)
    return OverrunAnswer(
        name=entry.bill["request_id"],
        nanousd=entry.overrun_nanousd,
        at=iso(entry.at_s),
        message=f"cost {cost} USD, {over} more than was held for it",
    )
