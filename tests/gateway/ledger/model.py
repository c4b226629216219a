"""The ledger in plain Python, a dict or a list for each thing: what both stores must answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.ledger import rules
from gateway.ledger.store import Ask, Beat, Bill, Counter, Granted, Growth, Meter, Refused, Settled, Standing

Names = tuple[str, ...]


@dataclass
class Sums:
    """One counter. `ceiling` is the highest cap it ever had (None: it once had none), `overrun` all its overruns."""

    spent: int = 0
    held: int = 0
    folded: int = 0
    ceiling: int | None = 0
    overrun: int = 0


@dataclass
class Held:
    """One hold. `lost` is when it was left: what was left first is reaped first; None while it is renewed."""

    nanousd: int
    counters: Names
    taken: Sequence[tuple[Meter, int]]
    tokens: int
    lost: int | None
    cost: int = 0


class Booked(NamedTuple):
    """One entry of the journal."""

    request_id: str
    cost: int
    adjusts: bool
    overrun: int
    counters: Names


@dataclass
class Model:
    """`now_s` stands still: the windows of a history are around it or past, and what a meter took still counts."""

    now_s: float
    records: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)  # version, revoked
    sums: dict[str, Sums] = field(default_factory=dict)
    holds: dict[str, Held] = field(default_factory=dict)
    settled: dict[str, int | None] = field(default_factory=dict)  # at what, if provisionally
    journal: list[Booked] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)  # by meter; slots of requests at once among them

    def reserve(self, ask: Ask, lost: int | None) -> Granted | Refused:
        """A full meter's refusal has the names that may be said in its `name`, one a line."""
        if held := self.holds.get(ask.request_id):
            return Granted(held.nanousd, tokens=held.tokens)
        if ask.request_id in self.settled:
            return Granted(0)
        if refused := self._standing(ask.standings) or self._window(ask.counters):
            return refused
        names = tuple(counter.name for counter in ask.counters)
        answer = rules.grant(ask, [self._balance(name) for name in names])
        full = self._full(ask)
        if isinstance(answer, Refused):
            return answer if answer.reason == "over_budget" or full is None else full
        if full is not None:
            return full
        tokens = rules.tokens_of(ask)
        taken = [(meter, rules.amount_of(meter, tokens)) for meter in ask.meters]
        for meter, amount in taken:
            self.used[meter.name] = self.used.get(meter.name, 0) + amount
        for name in names:
            self._sum(name).held += answer.nanousd
        for counter in ask.counters:
            self._capped(counter)
        self.holds[ask.request_id] = Held(answer.nanousd, names, taken, tokens, lost)
        return answer._replace(tokens=tokens)

    def grow(self, growth: Growth) -> Granted | Refused:
        held = self.holds.get(growth.request_id)
        if held is None:
            return Refused("gone")
        if held.nanousd != growth.held_nanousd:
            return Granted(held.nanousd)
        if refused := self._standing(growth.standings):
            return refused
        answer = rules.grow(growth, [self._balance(name) for name in held.counters])
        if isinstance(answer, Granted):
            for name in held.counters:
                self._sum(name).held += answer.nanousd - held.nanousd
            for counter in growth.counters:
                self._capped(counter)
            held.nanousd = answer.nanousd
        return answer

    def renew(self, beats: Sequence[Beat], lost: int | None) -> list[str]:
        for beat in beats:
            if held := self.holds.get(beat.request_id):
                held.lost = lost
                held.cost = beat.cost_nanousd if beat.line else held.cost
        return [beat.request_id for beat in beats if beat.request_id not in self.holds]

    def settle(self, bill: Bill) -> Settled:
        if bill.request_id not in self.settled:
            held = self._released(bill.request_id)
            for meter, amount in held.taken:
                if meter.measure in ("tpm", "tpd"):
                    self.used[meter.name] += bill.tokens - amount
            cost, adjusts = bill.cost_nanousd, False
        elif (provisional := self.settled[bill.request_id]) is not None:
            held, cost, adjusts = Held(0, (), (), 0, None), bill.cost_nanousd - provisional, True
        else:
            return Settled(False, 0, tuple(self._balance(counter.name)[0] for counter in bill.counters))
        names = tuple(counter.name for counter in bill.counters)
        overrun = self._book(bill.request_id, cost, adjusts, held.nanousd, names)
        self.settled[bill.request_id] = None
        return Settled(True, overrun, tuple(self.sums[name].spent for name in names))

    def reap(self, limit: int) -> int:
        lost = sorted((held.lost, id) for id, held in self.holds.items() if held.lost is not None)[:limit]
        for _, id in lost:
            held = self._released(id)
            self._book(id, held.cost, False, held.nanousd, held.counters)
            self.settled[id] = held.cost
        return len(lost)

    def fold(self, number: int) -> None:
        for entry in self.journal[:number]:
            for name in entry.counters:
                self.sums[name].folded += entry.cost
        del self.journal[:number]

    def slots(self) -> dict[str, int]:
        """Requests at once, by scope."""
        suffix = "|parallel"
        return {name.removesuffix(suffix): at for name, at in self.used.items() if name.endswith(suffix) and at}

    # --- its parts
    def _standing(self, standings: Sequence[Standing]) -> Refused | None:
        for kind, id, believed in standings:
            version, revoked = self.records.get((kind, id), (0, False))
            if kind in ("key", "team") and (version == 0 or revoked):
                return Refused("gone")
            if version != believed:
                return Refused("stale")
        return None

    def _window(self, counters: Sequence[Counter]) -> Refused | None:
        outside = (c for c in counters if c.end_s and not c.start_s <= self.now_s < c.end_s)
        return next((Refused("window", counter.name) for counter in outside), None)

    def _full(self, ask: Ask) -> Refused | None:
        used = [self.used.get(meter.name, 0) for meter in ask.meters]
        now = [
            {rules.bucket(m.measure, self.now_s): u} if m.measure != "parallel" else {}
            for m, u in zip(ask.meters, used, strict=True)
        ]
        refused = rules.meter_refusal(ask, now, used, self.now_s)
        if refused is None or refused.reason != "rate":
            return refused
        tokens = rules.tokens_of(ask)
        full = [m for m, at in zip(ask.meters, used, strict=True) if at + rules.amount_of(m, tokens) > m.limit]
        slowest = max(_span(meter) for meter in full)
        return Refused("rate", "\n".join(meter.name for meter in full if _span(meter) == slowest))

    def _released(self, request_id: str) -> Held:
        held = self.holds.pop(request_id, None) or Held(0, (), (), 0, None)
        for name in held.counters:
            self._sum(name).held -= held.nanousd
        for meter, amount in held.taken:
            if meter.measure == "parallel":
                self.used[meter.name] -= amount
        return held

    def _book(self, request_id: str, cost: int, adjusts: bool, held: int, names: Names) -> int:
        overrun = max(0, cost - held)
        for name in names:
            self._sum(name).spent += cost
            self._sum(name).overrun += overrun
        self.journal.append(Booked(request_id, cost, adjusts, overrun, names))
        return overrun

    def _capped(self, counter: Counter) -> None:
        sums = self._sum(counter.name)
        if counter.cap_nanousd is None or sums.ceiling is None:
            sums.ceiling = None
        else:
            sums.ceiling = max(sums.ceiling, counter.cap_nanousd)

    def _balance(self, name: str) -> tuple[int, int]:
        sums = self.sums.get(name, Sums())
        return sums.spent, sums.held

    def _sum(self, name: str) -> Sums:
        return self.sums.setdefault(name, Sums())


def _span(meter: Meter) -> int:
    return {"parallel": 0, "rpm": 1, "tpm": 1}.get(meter.measure, 2)
