"""Keys and teams as an admin sees them: made, changed, revoked, rotated, shown with what they have spent."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.admin_answers import (
    BudgetAnswer,
    KeyAnswer,
    KeysAnswer,
    NewKeyAnswer,
    TeamAnswer,
    TeamsAnswer,
    Window,
    iso,
)
from gateway.admin_forms import KeyForm, Nothing, PageQuery, RotationForm, TeamForm, invalid
from gateway.keys import digest
from gateway.ledger.store import Balance, Budget, Conflict, Kind, Record, Store
from gateway.ledger.windows import TOTAL, window
from gateway.virtual_keys import hint, new_id, new_token, usd
from translators.errors import LLMError

TRIES = 8  # how often a change is applied anew when others change the same record at the same time


async def create_key(store: Store, now_s: float, _id: str, form: KeyForm) -> NewKeyAnswer:
    """A new key and its token, which only this answer ever holds."""
    await _team_of(store, form)
    token = new_token()
    fresh = Record(id=new_id("key"), kind="key", created_at=now_s, hint=hint(token))
    record = _changed(fresh, form)
    await _create(store, record, digest(token))
    return _with_token(_key(record, {}, now_s), token)


async def create_team(store: Store, now_s: float, _id: str, form: TeamForm) -> TeamAnswer:
    """A new team."""
    record = _changed(Record(id=new_id("team"), kind="team", created_at=now_s), form)
    await _create(store, record, None)
    return _team(record, {}, now_s)


async def show_key(store: Store, now_s: float, id: str, _: Nothing) -> KeyAnswer:
    """One key."""
    return _key(*await _with_balances(store, await _found(store, "key", id)), now_s)


async def show_team(store: Store, now_s: float, id: str, _: Nothing) -> TeamAnswer:
    """One team."""
    return _team(*await _with_balances(store, await _found(store, "team", id)), now_s)


async def list_keys(store: Store, now_s: float, _id: str, page: PageQuery) -> KeysAnswer:
    """One page of keys."""
    records, following = await _page(store, "key", page)
    sums = await _balances(store, records)
    return KeysAnswer(data=[_key(record, sums, now_s) for record in records], next=following)


async def list_teams(store: Store, now_s: float, _id: str, page: PageQuery) -> TeamsAnswer:
    """One page of teams."""
    records, following = await _page(store, "team", page)
    sums = await _balances(store, records)
    return TeamsAnswer(data=[_team(record, sums, now_s) for record in records], next=following)


async def change_key(store: Store, now_s: float, id: str, form: KeyForm) -> KeyAnswer:
    """Put in place what the body gives; what it does not give stays."""
    await _found(store, "key", id)
    await _team_of(store, form)
    record = await _replaced(store, "key", id, lambda was: _changed(_alive(was), form))
    return _key(*await _with_balances(store, record), now_s)


async def change_team(store: Store, now_s: float, id: str, form: TeamForm) -> TeamAnswer:
    """Put in place what the body gives; what it does not give stays."""
    record = await _replaced(store, "team", id, lambda was: _changed(_alive(was), form))
    return _team(*await _with_balances(store, record), now_s)


async def revoke_key(store: Store, now_s: float, id: str, _: Nothing) -> KeyAnswer:
    """The key, refused from now on, for good."""
    record = await _replaced(store, "key", id, _revoked)
    return _key(*await _with_balances(store, record), now_s)


async def revoke_team(store: Store, now_s: float, id: str, _: Nothing) -> TeamAnswer:
    """The team, whose keys are refused from now on."""
    record = await _replaced(store, "team", id, _revoked)
    return _team(*await _with_balances(store, record), now_s)


async def rotate_key(store: Store, now_s: float, id: str, form: RotationForm) -> NewKeyAnswer:
    """The key under a new token; the old one stays good for the grace period."""
    token = new_token()
    for _ in range(TRIES):
        record = _alive(await _found(store, "key", id))
        try:
            rotated = await store.rotate(id, record.version, digest(token), hint(token), form.grace_period)
        except Conflict:
            continue
        return _with_token(_key(*await _with_balances(store, rotated), now_s), token)
    raise _contended()


# --- from what was written to what is stored


def _changed(record: Record, form: KeyForm | TeamForm) -> Record:
    given = form.model_fields_set
    update: dict[str, Any] = {}
    if "models" in given:
        update["models"] = tuple(form.models or ())
    if "expires" in given:
        update["expires"] = form.expires
    if "metadata" in given:
        update["metadata"] = form.metadata or {}
    if isinstance(form, TeamForm):
        if "team_alias" in given:
            update["alias"] = form.team_alias
    else:
        if "key_alias" in given:
            update["alias"] = form.key_alias
        if "team_id" in given:
            update["team_id"] = form.team_id
        if "unsupported" in given:
            update["unsupported"] = form.unsupported
    return record.model_copy(update=update | {"budgets": _budgets(record.budgets, form)})


def _budgets(was: tuple[Budget, ...], form: KeyForm | TeamForm) -> tuple[Budget, ...]:
    """The caps after `form`: `max_budget` and its duration are one, the list is the others."""
    given = form.model_fields_set
    main = next((budget for budget in was if budget.main), None)
    if "max_budget" in given:
        kept = main.duration if main else None
        main = None if form.max_budget is None else Budget(max_nanousd=form.max_budget, duration=kept, main=True)
    if "budget_duration" in given:
        if main is None and form.budget_duration is not None:
            raise invalid("`budget_duration` needs a `max_budget` to be the window of", "budget_duration")
        main = main and main.model_copy(update={"duration": form.budget_duration})
    others = tuple(budget for budget in was if not budget.main)
    if "budgets" in given:
        others = tuple(
            Budget(max_nanousd=cap.max_budget, duration=cap.budget_duration, on_cap=cap.on_cap, soft=cap.soft)
            for cap in form.budgets or ()
        )
    return others if main is None else (main, *others)


def _alive(record: Record) -> Record:
    if record.revoked:
        raise LLMError(
            "invalid_request", f"{record.id} is revoked, and stays so: make a new one", code="revoked", status=409
        )
    return record


def _revoked(record: Record) -> Record:
    return record if record.revoked else record.model_copy(update={"revoked": True})


# --- the store


async def _team_of(store: Store, form: KeyForm) -> None:
    if form.team_id is not None:
        team = await store.get("team", form.team_id)
        if team is None or team.revoked:
            why = "is no team" if team is None else "is revoked"
            raise invalid(f"`team_id` {form.team_id!r} {why}", "team_id", "team_not_found")


async def _found(store: Store, kind: Kind, id: str) -> Record:
    record = await store.get(kind, id)
    if record is None:
        raise LLMError("not_found", f"There is no {kind} {id!r}", param="id", code=f"{kind}_not_found")
    return record


async def _create(store: Store, record: Record, digest: str | None) -> None:
    try:
        await store.create(record, digest)
    except Conflict:
        raise _taken(record) from None


async def _replaced(store: Store, kind: Kind, id: str, change: Callable[[Record], Record]) -> Record:
    """The record after `change`, which is applied anew when someone else was faster."""
    for _ in range(TRIES):
        was = await _found(store, kind, id)
        record = change(was)
        if record == was:
            return was
        record = record.model_copy(update={"version": was.version + 1})
        try:
            await store.replace(record)
        except Conflict:
            holder = None if record.alias is None else await store.find(kind, record.alias)
            if holder is not None and holder.id != id:
                raise _taken(record) from None
        else:
            return record
    raise _contended()


def _taken(record: Record) -> LLMError:
    param = f"{record.kind}_alias"
    message = f"`{param}` {record.alias!r} is the name of another {record.kind}"
    return LLMError("invalid_request", message, param=param, code="alias_taken", status=409)


def _contended() -> LLMError:
    message = "Others are changing this at the same time: try again"
    return LLMError("invalid_request", message, code="conflict", status=409)


async def _page(store: Store, kind: Kind, page: PageQuery) -> tuple[Sequence[Record], str | None]:
    records = await store.list(kind, page.after, page.limit + 1)
    if len(records) <= page.limit:
        return records, None
    return records[: page.limit], records[page.limit - 1].id


# --- what they have spent


class Sums(NamedTuple):
    """One counter's, in nano-USD."""

    spent: int
    held: int


Spending = Mapping[tuple[str, str], Sums]  # by scope and window
NOTHING = Sums(0, 0)


async def _balances(store: Store, records: Iterable[Record]) -> Spending:
    balances: Sequence[Balance] = await store.balances([f"{record.kind}:{record.id}" for record in records])
    return {(sum.scope, sum.window): Sums(sum.spent_nanousd, sum.held_nanousd) for sum in balances}


async def _with_balances(store: Store, record: Record) -> tuple[Record, Spending]:
    return record, await _balances(store, [record])


def _key(record: Record, spending: Spending, now_s: float) -> KeyAnswer:
    shown = _shown(record, spending, now_s)
    return KeyAnswer(
        key_alias=record.alias,
        team_id=record.team_id,
        unsupported=record.unsupported,
        key_hint=record.hint,
        **shown,
    )


def _team(record: Record, spending: Spending, now_s: float) -> TeamAnswer:
    return TeamAnswer(team_alias=record.alias, **_shown(record, spending, now_s))


def _with_token(key: KeyAnswer, token: str) -> NewKeyAnswer:
    return NewKeyAnswer(key=token, **dict(key))


def _shown(record: Record, spending: Spending, now_s: float) -> dict[str, Any]:
    main = next((budget for budget in record.budgets if budget.main), None)
    spent, held = spending.get((f"{record.kind}:{record.id}", TOTAL), NOTHING)
    return {
        "id": record.id,
        "models": list(record.models),
        "max_budget": usd(main.max_nanousd) if main else None,
        "budget_duration": main.duration if main else None,
        "budgets": [
            BudgetAnswer(
                max_budget=usd(cap.max_nanousd), budget_duration=cap.duration, on_cap=cap.on_cap, soft=cap.soft
            )
            for cap in record.budgets
            if not cap.main
        ],
        "expires": None if record.expires is None else iso(record.expires),
        "metadata": record.metadata,
        "created_at": iso(record.created_at),
        "revoked": record.revoked,
        "spend_usd": usd(spent),
        "held_usd": usd(held),
        "windows": [_window(record, budget, spending, now_s) for budget in record.budgets],
    }


def _window(record: Record, budget: Budget, spending: Spending, now_s: float) -> Window:
    id, _, end_s = window(budget.duration, now_s)
    spent, held = spending.get((f"{record.kind}:{record.id}", id), NOTHING)
    return Window(
        budget_duration=budget.duration,
        max_budget=usd(budget.max_nanousd),
        spend_usd=usd(spent),
        held_usd=usd(held),
        resets_at=iso(end_s) if end_s else None,
    )
