"""What each counter may come to: the caps that the records say, with what they allowed for a time before."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.ledger.parties import cap
from gateway.ledger.store import EVERYONE, MAX_NANOUSD, ORG, Budget, Kind, Record, Store
from gateway.ledger.windows import Window, precedes, window

KINDS: tuple[Kind, ...] = ("org", "team", "key", "user", "tag")
PAGE = 250  # records read at once

# as gateway.ledger.parties names them: a pattern stands first, for an end user's name may hold anything
_KIND = f"(?P<kind>{'|'.join(KINDS)})"
_PLAIN = re.compile(f"(?s){_KIND}:(?P<id>.*)")
_OF_A_PATTERN = re.compile(f"(?s)(?P<pattern>.+?)@{_KIND}:(?P<id>.*)")

Records = dict[tuple[str, str], Record]  # by kind and id


class Cap(NamedTuple):
    """What may be on one counter, and who says so."""

    nanousd: int
    most_nanousd: int  # what it allowed at most in this window, at some time; MAX_NANOUSD: there was no cap
    until_s: float  # when that ended
    record: Record


class Allowances:
    """The hard caps of a store's records."""

    def __init__(self, store: Store) -> None:
        self.records: Records = {}
        self._store = store
        self._now_s = 0.0
        self._windows: dict[tuple[str | None, str, float], Window] = {}

    async def read(self) -> None:
        """Every record there is."""
        for kind in KINDS:
            if kind == "org":
                await self._reread(kind, ORG)
                continue
            after = ""
            while page := await self._store.list(kind, after, PAGE):
                self.records |= {(kind, record.id): record for record in page}
                after = page[-1].id

    async def reread(self, counter: str) -> None:
        """The records that say what may be on `counter`, as they are now."""
        if found := _place(counter):
            await self._reread(found.kind, found.id)
            if found.kind in ("user", "tag"):
                await self._reread(found.kind, EVERYONE)

    async def _reread(self, kind: Kind, id: str) -> None:
        record = await self._store.get(kind, id)
        if record is not None:
            self.records[kind, id] = record

    def at(self, now_s: float) -> None:
        """Windows and raises are those of this time on the store's clock."""
        self._now_s = now_s
        self._windows = {}

    def cap(self, counter: str) -> Cap | None:
        """The tightest cap on a counter, windows that are past included; None where nothing caps it."""
        place = _place(counter)
        own = self.records.get((place.kind, place.id)) if place else None
        record = own
        if place and place.kind in ("user", "tag") and (own is None or own.revoked):
            record = self.records.get((place.kind, EVERYONE))
        if place is None or record is None or (record.revoked and record.id == EVERYONE):
            return None
        found = list(self._caps(record, place))
        if not found:
            return None
        nanousd = min(cap for cap, _, _ in found)
        most, until_s = min((most, until_s) for _, most, until_s in found)
        if own is not None and own is not record:  # until it was revoked, its own caps held
            most = max(most, min((most for _, most, _ in self._caps(own, place)), default=MAX_NANOUSD))
            until_s = self._now_s
        return Cap(nanousd, most, until_s, record)

    def _caps(self, record: Record, place: "_Place") -> Iterator[tuple[int, int, float]]:
        """What each budget allows in the counter's window, what it did at most, and until when."""
        for budget in record.budgets:
            if budget.soft or budget.model != place.pattern:
                continue
            now = self._window(budget, self._now_s)
            if place.window == now.id:
                nanousd = cap(budget, self._now_s)
            elif budget.duration is not None and place.window.partition(":")[0] == now.id.partition(":")[0]:
                nanousd = budget.max_nanousd
            else:
                continue
            raised = budget.max_nanousd + budget.raised_nanousd
            pasts = [(raised, budget.raised_until), (budget.was_nanousd, budget.was_until)]
            held = [past for past in pasts if past[0] > nanousd and self._reaches(budget, place.window, past[1])]
            yield nanousd, *max(held, default=(nanousd, 0.0))

    def _reaches(self, budget: Budget, window: str, until_s: float) -> bool:
        """Whether what held until then held in this window."""
        then = self._window(budget, until_s)
        return precedes(window, then.id) or (window == then.id and until_s > then.start_s)

    def _window(self, budget: Budget, at_s: float) -> Window:
        asked = budget.duration, budget.time_zone, at_s
        if asked not in self._windows:
            self._windows[asked] = window(budget.duration, at_s, budget.time_zone)
        return self._windows[asked]


class _Place(NamedTuple):
    """A counter's name, taken apart."""

    pattern: str | None
    kind: Kind
    id: str
    window: str


def _place(counter: str) -> _Place | None:
    scope, _, window = counter.rpartition("|")
    found = _PLAIN.fullmatch(scope) or _OF_A_PATTERN.fullmatch(scope)
    if found is None:
        return None
    return _Place(found.groupdict().get("pattern"), _KINDS[found["kind"]], found["id"], window)


_KINDS: Mapping[str, Kind] = {kind: kind for kind in KINDS}
