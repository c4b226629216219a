"""A record as an admin sees it: its caps and limits as they were written, and what stands against each of them now."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.admin.answers import (
    BudgetAnswer,
    CapsAnswer,
    KeyAnswer,
    LimitsAnswer,
    OrgAnswer,
    TagAnswer,
    TeamAnswer,
    UserAnswer,
    Window,
    iso,
)
from gateway.admin.caps import MEASURES, main_budget, main_limits
from gateway.ledger.parties import budget_window, cap, scope_of
from gateway.ledger.store import Budget, Limits, Record, Store
from gateway.ledger.windows import TOTAL
from gateway.virtual_keys import usd


class Sums(NamedTuple):
    """One counter's, in nano-USD."""

    spent: int
    held: int


Spending = Mapping[tuple[str, str], Sums]  # by scope and window
NOTHING = Sums(0, 0)


async def statements(
    store: Store, records: Sequence[Record], now_s: float, *, inherited: bool = False
) -> list[CapsAnswer]:
    """What there is to show of each record; `inherited`: their caps and limits are those of the record for everyone."""
    scopes = {scope_of(_scope(record), pattern) for record in records for pattern in _patterns(record)}
    sums = await store.balances(sorted(scopes)) if scopes else []
    spending = {(sum.scope, sum.window): Sums(sum.spent_nanousd, sum.held_nanousd) for sum in sums}
    return [_answer(record, _shown(record, spending, now_s), inherited) for record in records]


async def statement(store: Store, record: Record, now_s: float, *, inherited: bool = False) -> CapsAnswer:
    """What there is to show of one record."""
    [shown] = await statements(store, [record], now_s, inherited=inherited)
    return shown


def _scope(record: Record) -> str:
    return f"{record.kind}:{record.id}"


def _patterns(record: Record) -> set[str | None]:
    return {None, *(budget.model for budget in record.budgets)}


def _answer(record: Record, shown: Mapping[str, Any], inherited: bool) -> CapsAnswer:
    expires = None if record.expires is None else iso(record.expires)
    match record.kind:
        case "key":
            return KeyAnswer(
                key_alias=record.alias,
                team_id=record.team_id,
                models=list(record.models),
                tags=list(record.tags),
                unsupported=record.unsupported,
                expires=expires,
                key_hint=record.hint,
                **shown,
            )
        case "team":
            return TeamAnswer(team_alias=record.alias, models=list(record.models), expires=expires, **shown)
        case "user":
            return UserAnswer(user_id=record.id, inherited=inherited, **shown)
        case "tag":
            return TagAnswer(tag=record.id, inherited=inherited, **shown)
        case "org":
            return OrgAnswer(**shown)


def _shown(record: Record, spending: Spending, now_s: float) -> dict[str, Any]:
    spent, held = spending.get((_scope(record), TOTAL), NOTHING)
    return {
        "id": record.id,
        **_own(main_budget(record)),
        "budgets": [_budget(budget) for budget in record.budgets if not budget.main],
        **_rates(main_limits(record)),
        "limits": [LimitsAnswer(model=entry.model, **_rates(entry)) for entry in record.limits if entry.model],
        "metadata": record.metadata,
        "created_at": iso(record.created_at) if record.created_at else None,
        "revoked": record.revoked,
        "spend_usd": usd(spent),
        "held_usd": usd(held),
        "windows": [_window(_scope(record), budget, spending, now_s) for budget in record.budgets],
    }


def _own(main: Budget | None) -> dict[str, Any]:
    raised = main is not None and main.raised_nanousd > 0
    return {
        "max_budget": usd(main.max_nanousd) if main else None,
        "budget_duration": main.duration if main else None,
        "budget_time_zone": main.time_zone if main else "UTC",
        "temp_budget_increase": usd(main.raised_nanousd) if main and raised else None,
        "temp_budget_expiry": iso(main.raised_until) if main and raised else None,
    }


def _budget(budget: Budget) -> BudgetAnswer:
    return BudgetAnswer(
        max_budget=usd(budget.max_nanousd),
        budget_duration=budget.duration,
        time_zone=budget.time_zone,
        model=budget.model,
        on_cap=budget.on_cap,
        soft=budget.soft,
    )


def _rates(limits: Limits) -> dict[str, int | None]:
    return {name: getattr(limits, measure) for name, measure in MEASURES.items()}


def _window(scope: str, budget: Budget, spending: Spending, now_s: float) -> Window:
    id, _, end_s = budget_window(budget, now_s)
    spent, held = spending.get((scope_of(scope, budget.model), id), NOTHING)
    return Window(
        model=budget.model,
        budget_duration=budget.duration,
        time_zone=budget.time_zone,
        soft=budget.soft,
        max_budget=usd(budget.max_nanousd),
        cap_usd=usd(cap(budget, now_s)),
        spend_usd=usd(spent),
        held_usd=usd(held),
        resets_at=iso(end_s) if end_s else None,
    )
