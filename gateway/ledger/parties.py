"""Who pays for a request, and what that makes it count against: records → counters, meters, standings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import NamedTuple

from gateway.ledger.refusals import Told, told
from gateway.ledger.store import Budget, Counter, Measure, Meter, Record, Standing
from gateway.ledger.windows import TOTAL, Window, window
from gateway.prices.price_list import covers

_MEASURES: tuple[Measure, ...] = ("rpm", "tpm", "rpd", "tpd", "parallel")
MAX_MODELS = 256  # whose dues are kept, for the same parties

Names = frozenset[str]  # of one model, see names_of


class Party(NamedTuple):
    """One scope and the record whose caps and limits hold on it: its own, or the one for everyone."""

    scope: str
    record: Record


@dataclass(frozen=True, slots=True)
class Dues:
    """What a request for one model counts against, from `since_s` until a window or the raise of a cap is over."""

    counters: tuple[Counter, ...]
    meters: tuple[Meter, ...]
    told: Told  # which meters the rate headers are about
    since_s: float
    until_s: float


@dataclass(slots=True)
class Parties:
    """Everyone who pays for a request, and what was read to know so. Stands for many requests: what follows from the
    records is worked out once."""

    parties: tuple[Party, ...]
    standings: tuple[Standing, ...]
    confirm_at_s: float = field(default=0.0, init=False, repr=False, compare=False)  # when payers.confirm is due
    key_id: str = field(init=False, repr=False, compare=False)
    team_id: str | None = field(init=False, repr=False, compare=False)
    key_alias: str | None = field(init=False, repr=False, compare=False)
    bounded: bool = field(init=False, repr=False, compare=False)  # whether any cap or limit holds; soft ones do not
    counts_tokens: bool = field(init=False, repr=False, compare=False)  # whether any limit on tokens does
    _dues: dict[Names, Dues] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = self.parties[0].record if self.parties else None
        self.key_id = "" if key is None else key.id
        self.team_id, self.key_alias = (None, None) if key is None else (key.team_id, key.alias)
        records = [party.record for party in self.parties]
        limits = [limit for record in records for limit in record.limits]
        self.bounded = bool(limits) or any(not budget.soft for record in records for budget in record.budgets)
        self.counts_tokens = any(limit.tpm is not None or limit.tpd is not None for limit in limits)

    def dues(self, names: Names, now_s: float) -> Dues:
        """What a request that begins now counts against, for the model of these names."""
        found = self._dues.get(names)
        if found is None or not found.since_s <= now_s < found.until_s:
            if len(self._dues) >= MAX_MODELS:  # callers choose their names, so far as routes have patterns
                self._dues.clear()
            found = self._dues[names] = self._worked_out(names, now_s)
        return found

    def _worked_out(self, names: Names, now_s: float) -> Dues:
        ours = counters(self.parties, names, now_s)
        ends = [each.end_s for each in ours if each.end_s]
        raises = [
            budget.raised_until
            for party in self.parties
            for budget in party.record.budgets
            if now_s < budget.raised_until
        ]
        since_s = max((each.start_s for each in ours if each.end_s), default=-inf)
        limited = meters(self.parties, names)
        return Dues(ours, limited, told(limited), since_s, min([*ends, *raises], default=inf))


@lru_cache(maxsize=4096)
def names_of(*models: str) -> Names:
    """Every name by which a cap may mean these models: as they stand, behind the provider, behind the publisher."""
    return frozenset(name for model in models for name in (model, model.partition("/")[2], model.rpartition("/")[2]))


def concerns(pattern: str | None, names: Names) -> bool:
    """Whether a cap or limit for the models of `pattern` is about a request for the model of these names."""
    return pattern is None or any(covers(pattern, name) for name in names)


def allowed(patterns: Sequence[str], model: str) -> bool:
    """Whether a key with these patterns may use `model`, by the name the caller uses. No patterns: every model."""
    return not patterns or any(covers(pattern, model) for pattern in patterns)


def scope_of(scope: str, pattern: str | None) -> str:
    """`scope`, for the models of `pattern` alone. The pattern stands first: callers choose the names of end users."""
    return scope if pattern is None else f"{pattern}@{scope}"


def counters(parties: Sequence[Party], names: Names, began_s: float, now_s: float | None = None) -> tuple[Counter, ...]:
    """What a request that began at `began_s` adds to: per party its whole life, and one for each window of a budget.

    Of several caps on one window the tightest holds, and it refuses if any of them does. The caps are those of `now_s`
    (None: of the beginning), since a raise may end under a request.
    """
    at_s = began_s if now_s is None else now_s
    return tuple(counter for party in parties for counter in _of_party(party, names, began_s, at_s))


def budget_window(budget: Budget, now_s: float) -> Window:
    """The window of `budget` around `now_s`."""
    return window(budget.duration, now_s, budget.time_zone)


def cap(budget: Budget, now_s: float) -> int:
    """What `budget` allows now, with what it is raised by for a time."""
    return budget.max_nanousd + (budget.raised_nanousd if now_s < budget.raised_until else 0)


def _of_party(party: Party, names: Names, began_s: float, now_s: float) -> Iterator[Counter]:
    found: dict[tuple[str, Window], list[Budget]] = {(party.scope, Window(TOTAL, 0.0, 0.0)): []}
    for budget in party.record.budgets:
        if concerns(budget.model, names):
            place = scope_of(party.scope, budget.model), budget_window(budget, began_s)
            found.setdefault(place, []).append(budget)
    for (scope, (id, start_s, end_s)), budgets in found.items():
        hard = [budget for budget in budgets if not budget.soft]
        yield Counter(
            scope=scope,
            window=id,
            start_s=start_s,
            end_s=end_s,
            cap_nanousd=min((cap(budget, now_s) for budget in hard), default=None),
            on_cap="refuse" if any(budget.on_cap == "refuse" for budget in hard) else "clamp",
            softs_nanousd=tuple(sorted({cap(budget, now_s) for budget in budgets if budget.soft})),
        )


def meters(parties: Sequence[Party], names: Names) -> tuple[Meter, ...]:
    """The limits that a request for the model of these names counts against; of several on one measure the tightest."""
    return tuple(meter for party in parties for meter in _meters_of(party, names))


def _meters_of(party: Party, names: Names) -> Iterator[Meter]:
    found: dict[tuple[str, Measure], int] = {}
    for limits in party.record.limits:
        if concerns(limits.model, names):
            for measure in _MEASURES:
                limit: int | None = getattr(limits, measure)
                if limit is not None:
                    place = scope_of(party.scope, limits.model), measure
                    found[place] = min(limit, found.get(place, limit))
    for (scope, measure), limit in found.items():
        yield Meter(scope, measure, limit)
