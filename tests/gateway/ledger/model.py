"""The ledger in plain Python, one dict for each thing: what both stores must answer."""

from dataclasses import dataclass, field

from gateway.ledger.store import Ask, Bill, Granted, Refused, Settled, grant


@dataclass
class Model:
    """`now_s` stands still: the windows of a history are around it or past."""

    now_s: float
    versions: dict[str, int] = field(default_factory=dict)  # by key or team
    gone: set[str] = field(default_factory=set)
    spent: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    holds: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    journal: dict[str, int] = field(default_factory=dict)
    past: set[str] = field(default_factory=set)

    def reserve(self, ask: Ask) -> Granted | Refused:
        if ask.request_id in self.holds:
            return Granted(self.holds[ask.request_id][0])
        if ask.request_id in self.journal:
            return Granted(0)
        for id, version in ((ask.key_id, ask.key_version), (ask.team_id, ask.team_version)):
            if id is not None and (id not in self.versions or id in self.gone):
                return Refused("gone")
            if id is not None and self.versions[id] != version:
                return Refused("stale")
        for counter in ask.counters:
            if counter.end_s and not counter.start_s <= self.now_s < counter.end_s:
                return Refused("window", counter.name)
        names = tuple(counter.name for counter in ask.counters)
        answer = grant(ask, [(self.spent.get(name, 0), self.held.get(name, 0)) for name in names])
        if isinstance(answer, Granted):
            self.holds[ask.request_id] = answer.nanousd, names
            self._add(names, 0, answer.nanousd)
            for counter in ask.counters:
                cap = counter.cap_nanousd
                assert cap is None or self.spent[counter.name] + self.held[counter.name] <= cap
        return answer

    def settle(self, bill: Bill) -> Settled:
        if bill.request_id in self.journal:
            return Settled(first=False, overrun_nanousd=0)
        amount, names = self.holds.pop(bill.request_id, (0, ()))
        self._add(names, 0, -amount)
        self._add(tuple(counter.name for counter in bill.counters), bill.cost_nanousd, 0)
        self.past |= {counter.name for counter in bill.counters if 0 < counter.end_s <= self.now_s}
        self.journal[bill.request_id] = bill.cost_nanousd
        return Settled(first=True, overrun_nanousd=max(0, bill.cost_nanousd - amount))

    def sums(self) -> dict[str, tuple[int, int]]:
        return {name: (self.spent[name], self.held[name]) for name in self.spent if name not in self.past}

    def _add(self, names: tuple[str, ...], spent: int, held: int) -> None:
        for name in names:
            self.spent[name] = self.spent.get(name, 0) + spent
            self.held[name] = self.held.get(name, 0) + held
