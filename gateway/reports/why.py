"""Why a request by a key would be refused now: by which cap or limit, what is spent and held, by whom, till when."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from gateway.admin.answers import iso
from gateway.admin.records import found
from gateway.ceilings import LEAST_OUTPUT_TOKENS
from gateway.ledger.parties import Names, Parties, allowed, budget_window, cap, concerns, names_of, scope_of
from gateway.ledger.store import Budget, Holder, Live, Measure, Meter, Store
from gateway.payers import Payers
from gateway.reports.report_forms import CapAnswer, HeldBy, LimitAnswer, WhyAnswer, WhyQuery
from gateway.virtual_keys import usd

MOST_HOLDS = 20  # shown of one cap
MEASURES: tuple[Measure, ...] = ("rpm", "tpm", "rpd", "tpd", "parallel")


class Ours(NamedTuple):
    """A cap on one of the request's scopes. `applies` is False where its pattern is about other models."""

    scope: str
    budget: Budget
    applies: bool


async def why(store: Store, now_s: float, id: str, query: WhyQuery) -> WhyAnswer:
    """Whether a request by this key would be refused now, by what, and when that frees."""
    holder = await _holder(store, id)
    tags = tuple(dict.fromkeys([*holder.key.tags, *([query.tag] if query.tag else [])]))
    parties = await Payers(store, 0.0).reread(holder, query.user, tags)
    holds = await store.holds()
    asked = [name for name in (query.model, query.target) if name]
    names = names_of(*asked) if asked else None
    caps = await _caps(store, parties, names, holds, now_s)
    limits = await _limits(store, parties, names, holds)
    said = _turned_away(holder, query.model, now_s) or _blocked(caps, limits)
    return WhyAnswer(
        id=holder.key.id,
        refused=said is not None,
        verdict=said or _room(caps, _whole(parties, names)),
        caps=caps,
        limits=limits,
    )


async def _holder(store: Store, id: str) -> Holder:
    key = await found(store, "key", id)
    return Holder(key, None if key.team_id is None else await store.get("team", key.team_id), None)


# --- the caps


async def _caps(
    store: Store, parties: Parties, names: Names | None, holds: Sequence[Live], now_s: float
) -> list[CapAnswer]:
    ours = list(_ours(parties, names))
    scopes = list(dict.fromkeys(one.scope for one in ours))
    balances = {(b.scope, b.window): b for b in (await store.balances(scopes) if scopes else ())}
    answers = []
    for scope, budget, applies in ours:
        window = budget_window(budget, now_s)
        balance, allowed = balances.get((scope, window.id)), cap(budget, now_s)
        spent, held = (balance.spent_nanousd, balance.held_nanousd) if balance else (0, 0)
        by = [live for live in holds if f"{scope}|{window.id}" in live.counters and live.nanousd]
        answers.append(
            CapAnswer(
                scope=scope,
                window=window.id,
                cap_usd=usd(allowed),
                spent_usd=usd(spent),
                held_usd=usd(held),
                left_usd=usd(allowed - spent - held),
                soft=budget.soft,
                applies=applies,
                blocks=applies and not budget.soft and spent + held >= allowed,
                frees=iso(window.end_s) if window.end_s else None,
                held_by=_held_by(by),
                held_by_others=max(0, len(by) - MOST_HOLDS),
            )
        )
    return answers


def _ours(parties: Parties, names: Names | None) -> Iterator[Ours]:
    """Every cap of the parties; with a model's names those alone that are about it."""
    for scope, record in parties.parties:
        for budget in record.budgets:
            applies = budget.model is None or (names is not None and concerns(budget.model, names))
            if applies or names is None:
                yield Ours(scope_of(scope, budget.model), budget, applies)


def _held_by(lives: Sequence[Live]) -> list[HeldBy]:
    largest = sorted(lives, key=lambda live: live.nanousd, reverse=True)[:MOST_HOLDS]
    return [
        HeldBy(request_id=live.request_id, held_usd=usd(live.nanousd), deadline=iso(live.deadline_s))
        for live in largest
    ]


# --- the limits


async def _limits(store: Store, parties: Parties, names: Names | None, holds: Sequence[Live]) -> list[LimitAnswer]:
    ours = list(_meters(parties, names))
    levels = await store.levels([meter for meter, _ in ours]) if ours else ()
    answers = []
    for (meter, applies), (used, full_s) in zip(ours, levels, strict=True):
        by = [live for live in holds if meter.measure == "parallel" and meter.scope in live.slots]
        answers.append(
            LimitAnswer(
                scope=meter.scope,
                measure=meter.measure,
                limit=meter.limit,
                used=used,
                applies=applies,
                blocks=applies and used >= meter.limit,
                empty_in_s=round(full_s, 3),
                held_by=_held_by(by),
            )
        )
    return answers


def _meters(parties: Parties, names: Names | None) -> Iterator[tuple[Meter, bool]]:
    for scope, record in parties.parties:
        for limits in record.limits:
            applies = limits.model is None or (names is not None and concerns(limits.model, names))
            if applies or names is None:
                for measure in MEASURES:
                    limit: int | None = getattr(limits, measure)
                    if limit is not None:
                        yield Meter(scope_of(scope, limits.model), measure, limit), applies


# --- the verdict


def _turned_away(holder: Holder, model: str | None, now_s: float) -> str | None:
    """What refuses the request before any money is asked for."""
    if holder.key.team_id is not None and holder.team is None:
        return f"Refused (401): its team {holder.key.team_id} is not there."
    for record in holder.records:
        what = f"the {record.kind} {record.id}"
        if record.revoked:
            return f"Refused (401): {what} is revoked."
        if record.expires is not None and record.expires <= now_s:
            return f"Refused (401): {what} has been expired since {iso(record.expires)}."
        if model is not None and not allowed(record.models, model):
            return f"Refused (403): {what} may not use {model!r}, only {', '.join(record.models)}."
    return None


def _blocked(caps: Sequence[CapAnswer], limits: Sequence[LimitAnswer]) -> str | None:
    for one in caps:
        if one.blocks:
            frees = f"its window ends at {one.frees}" if one.frees else "its window never ends: raise it"
            if Decimal(one.spent_usd) >= Decimal(one.cap_usd):
                return f"Refused (429): {one.scope} has spent {one.spent_usd} of {one.cap_usd} USD; {frees}."
            names = ", ".join(by.request_id for by in one.held_by[:3])
            return (
                f"Refused (429), after waiting for it: {one.scope} has spent {one.spent_usd} of {one.cap_usd} USD and"
                f" {one.held_usd} is held ({names}); what is not used of it is given back; {frees}."
            )
    for limit in limits:
        if limit.blocks:
            frees = "one of them ends" if limit.measure == "parallel" else f"{limit.empty_in_s:.0f} s at the latest"
            what = f"{limit.used} of {limit.limit} ({limit.measure})"
            return f"Refused (429): {limit.scope} is at {what}; room again when {frees}."
    return None


def _whole(parties: Parties, names: Names | None) -> bool:
    """Whether a cap makes the request take the most that it can cost, or nothing."""
    hard = [budget for _, budget, applies in _ours(parties, names) if applies and not budget.soft]
    return any(budget.on_cap == "refuse" for budget in hard)


def _room(caps: Sequence[CapAnswer], whole: bool) -> str:
    """What is left, and what must fit in it: what a request costs is not known without one."""
    hard = [one for one in caps if one.applies and not one.soft]
    if not hard:
        return "Not refused: no cap stands over it."
    least = min(hard, key=lambda one: Decimal(one.left_usd))
    wanted = "the most that it can cost" if whole else f"its prompt with {LEAST_OUTPUT_TOKENS} tokens of an answer"
    left = f"{least.left_usd} USD is left, which {least.scope} has least of ({least.window})"
    return f"Not refused if {wanted} fits: {left}."
