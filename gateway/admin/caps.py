"""From what was written to what is stored: a record's fields, its budgets, its limits."""

from typing import Any

from gateway.admin.forms import invalid
from gateway.admin.record_forms import CapsForm, has_calendar
from gateway.ledger.store import MAX_NANOUSD, Budget, Limits, Record
from gateway.virtual_keys import NANO

# form's field → record's field, and what null means there
PLAIN: dict[str, tuple[str, Any]] = {
    "key_alias": ("alias", None),
    "team_alias": ("alias", None),
    "team_id": ("team_id", None),
    "unsupported": ("unsupported", None),
    "expires": ("expires", None),
    "metadata": ("metadata", {}),
    "models": ("models", ()),
    "tags": ("tags", ()),
}
MEASURES = {
    "rpm_limit": "rpm",
    "tpm_limit": "tpm",
    "rpd_limit": "rpd",
    "tpd_limit": "tpd",
    "max_parallel_requests": "parallel",
}


def changed(record: Record, form: CapsForm, now_s: float) -> Record:
    """`record` with what `form` gives in place; what it does not give stays. Raises LLMError with status 422."""
    update: dict[str, Any] = {}
    for name, (field, empty) in PLAIN.items():
        if name in form.model_fields_set:
            value = getattr(form, name)
            if name == "expires" and value is not None and value <= now_s <= record.created_at:  # it is made just now
                raise invalid("`expires` must be in the future", name)
            update[field] = empty if value is None else tuple(value) if isinstance(value, list) else value
    budgets = _budgets(record.budgets, form, now_s)
    fresh = record.created_at >= now_s and not record.budgets
    update["budgets"] = budgets if fresh else tuple(_with_past(budget, record.budgets, now_s) for budget in budgets)
    update["limits"] = _limits(record.limits, form)
    return record.model_copy(update=update)


def main_budget(record: Record) -> Budget | None:
    """The cap that is the record's own `max_budget`, if it has one."""
    return next((budget for budget in record.budgets if budget.main), None)


def main_limits(record: Record) -> Limits:
    """The limits for all models."""
    return _main(record.limits)


def _main(limits: tuple[Limits, ...]) -> Limits:
    return next((entry for entry in limits if entry.model is None), Limits())


def _limits(was: tuple[Limits, ...], form: CapsForm) -> tuple[Limits, ...]:
    """The limits after `form`: those for all models are the record's own fields, the list is the others."""
    given = form.model_fields_set
    update = {measure: getattr(form, name) for name, measure in MEASURES.items() if name in given}
    main = _main(was).model_copy(update=update)
    others = tuple(entry for entry in was if entry.model is not None)
    if "limits" in given:
        others = tuple(
            Limits(model=entry.model, **{measure: getattr(entry, name) for name, measure in MEASURES.items()})
            for entry in form.limits or ()
        )
    return others if main == Limits() else (main, *others)


def _budgets(was: tuple[Budget, ...], form: CapsForm, now_s: float) -> tuple[Budget, ...]:
    """The caps after `form`: `max_budget` and what goes with it are one, the list is the others."""
    main = _own(next((budget for budget in was if budget.main), None), form, now_s)
    others = tuple(budget for budget in was if not budget.main)
    if "budgets" in form.model_fields_set:
        others = tuple(
            Budget(
                max_nanousd=cap.max_budget,
                duration=cap.budget_duration,
                time_zone=cap.time_zone,
                model=cap.model,
                on_cap=cap.on_cap,
                soft=cap.soft,
            )
            for cap in form.budgets or ()
        )
    return others if main is None else (main, *others)


def _with_past(budget: Budget, before: tuple[Budget, ...], now_s: float) -> Budget:
    """`budget` with the most that was allowed before on the same sums, and until when, where that is more."""
    if budget.soft:
        return budget
    place = budget.model, budget.duration, budget.time_zone
    same = [was for was in before if not was.soft and (was.model, was.duration, was.time_zone) == place]
    pasts = [past for was in same for past in _pasts(was, now_s)] or [(MAX_NANOUSD, now_s)]
    raised = budget.max_nanousd + budget.raised_nanousd
    more = [
        (nanousd, until)
        for nanousd, until in pasts
        if nanousd > (raised if until <= budget.raised_until else budget.max_nanousd)
    ]
    most, until = max((nanousd for nanousd, _ in more), default=0), max((until for _, until in more), default=0.0)
    return budget.model_copy(update={"was_nanousd": most, "was_until": until})


def _pasts(was: Budget, now_s: float) -> list[tuple[int, float]]:
    """What a budget has allowed, and until when."""
    raise_ended_s = min(was.raised_until, now_s)
    return [
        (was.max_nanousd, now_s),
        (was.max_nanousd + was.raised_nanousd, raise_ended_s),
        (was.was_nanousd, was.was_until),
    ]


def _own(was: Budget | None, form: CapsForm, now_s: float) -> Budget | None:
    given = form.model_fields_set
    main = was
    if "max_budget" in given:
        if form.max_budget is None:
            main = None
        else:
            main = (was or Budget(max_nanousd=0, main=True)).model_copy(update={"max_nanousd": form.max_budget})
    if main is None:
        _needs_a_cap(form)
        return None
    main = _raised(_windowed(main, form), form, now_s)
    if main.max_nanousd + main.raised_nanousd > MAX_NANOUSD:
        name = "temp_budget_increase" if "temp_budget_increase" in given else "max_budget"
        raise invalid(f"`{name}` must leave the raised cap at most {MAX_NANOUSD // NANO} USD", name)
    return main


def _needs_a_cap(form: CapsForm) -> None:
    what = {
        "budget_duration": (form.budget_duration is not None, "the window of"),
        "budget_time_zone": (form.budget_time_zone != "UTC", "the time zone of"),
        "temp_budget_increase": (form.temp_budget_increase is not None, "on top of"),
        "temp_budget_expiry": (form.temp_budget_expiry is not None, "the end of a raise of"),
    }
    for name, (says_something, role) in what.items():
        if name in form.model_fields_set and says_something:
            raise invalid(f"`{name}` needs a `max_budget` to be {role}", name)


def _windowed(main: Budget, form: CapsForm) -> Budget:
    given = form.model_fields_set
    if "budget_duration" in given:
        main = main.model_copy(update={"duration": form.budget_duration})
    if "budget_time_zone" in given:
        main = main.model_copy(update={"time_zone": form.budget_time_zone})
    if main.time_zone != "UTC" and not has_calendar(main.duration):
        name = "budget_time_zone" if "budget_time_zone" in given else "budget_duration"
        length = "the total" if main.duration is None else main.duration
        raise invalid(
            f"`{name}`: a time zone ({main.time_zone}) is for windows of the calendar only (1h, 1d, 1w, months),"
            f" and the window is {length}",
            name,
        )
    return main


def _raised(main: Budget, form: CapsForm, now_s: float) -> Budget:
    """`main` with its temporary raise: an amount and an end, of which neither stands alone."""
    given = form.model_fields_set & {"temp_budget_increase", "temp_budget_expiry"}
    if not given:
        return main
    cleared = [name for name in sorted(given) if getattr(form, name) is None]
    if cleared and len(cleared) == len(given):
        return main.model_copy(update={"raised_nanousd": 0, "raised_until": 0.0})
    if cleared:
        raise invalid(f"`{cleared[0]}` must not be null where the other of the two is given", cleared[0])
    if "temp_budget_increase" in given:
        main = main.model_copy(update={"raised_nanousd": form.temp_budget_increase})
    if "temp_budget_expiry" in given:
        main = main.model_copy(update={"raised_until": form.temp_budget_expiry})
    if not main.raised_nanousd:
        raise invalid("`temp_budget_increase` must be above 0", "temp_budget_increase")
    if main.raised_until <= now_s:
        raise invalid("`temp_budget_expiry` must be given, and in the future", "temp_budget_expiry")
    return main
