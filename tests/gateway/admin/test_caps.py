"""What becomes of a record when a form is applied to it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.admin.caps import changed, main_budget, main_limits
from gateway.admin.forms import read
from gateway.admin.record_forms import CapsForm, TeamForm
from gateway.ledger.store import Limits, Record
from translators.errors import LLMError

NOW_S = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
FRESH = Record(id="default", kind="org")
BEFORE, AFTER, LATER = "2026-11-19T23:59:59Z", "2026-11-20T00:00:01Z", "2026-12-01T00:00:00Z"


def after(record: Record, **given: Any) -> Record:
    return changed(record, read(CapsForm, given), NOW_S)


def fault(record: Record, **given: Any) -> LLMError:
    with pytest.raises(LLMError) as raised:
        after(record, **given)
    assert raised.value.status == 422
    assert raised.value.param is not None
    assert raised.value.message.startswith(f"`{raised.value.param}`")
    return raised.value


def test_nothing_given_changes_nothing() -> None:
    record = after(FRESH, max_budget=1, rpm_limit=2, budgets=[{"max_budget": 3}], metadata={"a": 1})
    assert after(record) == record


@pytest.mark.parametrize(
    "given",
    [
        {"budget_duration": "1d"},
        {"budget_time_zone": "Europe/Berlin"},
        {"temp_budget_increase": 1},
        {"temp_budget_expiry": AFTER},
    ],
)
def test_what_goes_with_max_budget_needs_one(given: dict[str, Any]) -> None:
    [name] = given
    assert fault(FRESH, **given).param == name
    capped = after(FRESH, max_budget=1, budget_duration="1d")
    assert fault(capped, max_budget=None, **given).param == name
    assert after(FRESH, **{name: None}) == FRESH


def test_a_new_amount_keeps_the_window_and_the_raise() -> None:
    first = after(
        FRESH,
        max_budget=1,
        budget_duration="1d",
        budget_time_zone="Europe/Berlin",
        temp_budget_increase=1,
        temp_budget_expiry=AFTER,
    )
    was, now = main_budget(first), main_budget(after(first, max_budget=2))
    assert was is not None
    assert now == was.model_copy(update={"max_nanousd": 2 * 10**9})
    assert after(first, max_budget=None).budgets == ()
    anew = main_budget(after(after(first, max_budget=None), max_budget=1))
    assert anew is not None
    assert (anew.duration, anew.time_zone, anew.raised_nanousd) == (None, "UTC", 0)


def test_a_time_zone_needs_a_window_of_the_calendar() -> None:
    zoned = after(FRESH, max_budget=1, budget_duration="1mo", budget_time_zone="Europe/Berlin")
    for length in (None, "30d", "24h"):
        assert fault(FRESH, max_budget=1, budget_duration=length, budget_time_zone="Europe/Berlin").param == (
            "budget_time_zone"
        )
        assert fault(zoned, budget_duration=length).param == "budget_duration"
        loose = main_budget(after(zoned, budget_duration=length, budget_time_zone=None))
        assert loose is not None
        assert (loose.duration, loose.time_zone) == (length, "UTC")


def test_a_raise_is_an_amount_and_an_end() -> None:
    capped = after(FRESH, max_budget=1)
    assert fault(capped, temp_budget_increase=1).param == "temp_budget_expiry"
    assert fault(capped, temp_budget_expiry=AFTER).param == "temp_budget_increase"
    assert fault(capped, temp_budget_increase=0, temp_budget_expiry=AFTER).param == "temp_budget_increase"
    assert fault(capped, temp_budget_increase=1, temp_budget_expiry=BEFORE).param == "temp_budget_expiry"
    assert fault(capped, temp_budget_increase=1, temp_budget_expiry=None).param == "temp_budget_expiry"
    raised = after(capped, temp_budget_increase=1, temp_budget_expiry=AFTER)
    longer, more = after(raised, temp_budget_expiry=LATER), after(raised, temp_budget_increase=2)
    assert [main_budget(record) for record in (raised, longer, more)] == [
        main_budget(after(capped, temp_budget_increase=amount, temp_budget_expiry=end))
        for amount, end in ((1, AFTER), (1, LATER), (2, AFTER))
    ]
    for name in ("temp_budget_increase", "temp_budget_expiry"):
        assert after(raised, **{name: None}) == capped


def test_what_is_made_expires_in_the_future_and_what_is_there_may_expire_at_once() -> None:
    new = FRESH.model_copy(update={"created_at": NOW_S})
    with pytest.raises(LLMError) as raised:
        changed(new, read(TeamForm, {"expires": BEFORE}), NOW_S)
    assert (raised.value.status, raised.value.param) == (422, "expires")
    assert changed(new, read(TeamForm, {"expires": AFTER}), NOW_S).expires == NOW_S + 1
    over = changed(FRESH, read(TeamForm, {"expires": BEFORE}), NOW_S)
    assert over.expires == NOW_S - 1
    assert changed(over, read(TeamForm, {"max_budget": 1}), NOW_S).expires == over.expires
    assert changed(over, read(TeamForm, {"expires": None}), NOW_S).expires is None


def test_a_raise_that_is_over_stops_no_other_change() -> None:
    over = changed(FRESH, read(CapsForm, {"max_budget": 1, "temp_budget_increase": 1, "temp_budget_expiry": BEFORE}), 0)
    assert after(over, rpm_limit=1).limits == (Limits(rpm=1),)
    assert fault(over, temp_budget_increase=2).param == "temp_budget_expiry"


def test_a_raised_cap_is_one_that_can_be_counted() -> None:
    most = after(FRESH, max_budget=8_999_999, temp_budget_increase=1, temp_budget_expiry=AFTER)
    assert fault(most, max_budget=9_000_000).param == "max_budget"
    assert fault(most, temp_budget_increase=2).param == "temp_budget_increase"


def test_limits_for_all_models_and_for_some_do_not_touch_each_other() -> None:
    record = after(FRESH, rpm_limit=1, max_parallel_requests=0, limits=[{"model": "gpt-*", "tpd_limit": 5}])
    some = Limits(model="gpt-*", tpd=5)
    assert record.limits == (Limits(rpm=1, parallel=0), some)
    assert after(record, rpm_limit=None, tpm_limit=9).limits == (Limits(tpm=9, parallel=0), some)
    assert after(record, limits=None).limits == (Limits(rpm=1, parallel=0),)
    bare = after(record, rpm_limit=None, max_parallel_requests=None)
    assert bare.limits == (some,)
    assert main_limits(bare) == Limits()


def past(record: Record) -> list[tuple[float, float]]:
    return [(budget.was_nanousd / 10**9, budget.was_until) for budget in record.budgets]


def test_what_a_cap_was_before_it_was_lowered_is_kept() -> None:
    fresh = Record(id="k", kind="key", created_at=NOW_S)
    made = after(fresh, max_budget=9, budgets=[{"max_budget": 8, "budget_duration": "1d"}])
    assert past(made) == [(0, 0.0)] * 2
    aged = made.model_copy(update={"created_at": NOW_S - 9})
    lowered = after(aged, max_budget=5, budgets=[{"max_budget": 7, "budget_duration": "1d"}])
    assert past(lowered) == [(9, NOW_S), (8, NOW_S)]
    assert past(after(lowered, max_budget=6)) == [(9, NOW_S), (8, NOW_S)]
    assert past(after(lowered, max_budget=9)) == [(0, 0.0), (8, NOW_S)], "it allows that again"
    assert past(after(lowered, rpm_limit=1)) == past(lowered)
    assert past(after(lowered, budget_duration="1h"))[0] == (9_000_000, NOW_S), "another sum, that nothing capped"
    assert past(after(aged, budgets=[{"max_budget": 1, "budget_duration": "1d", "soft": True}]))[1] == (0, 0.0)


def test_a_raise_that_is_taken_away_is_kept_too() -> None:
    fresh = Record(id="k", kind="key", created_at=NOW_S)
    raised = after(fresh, max_budget=5, temp_budget_increase=2, temp_budget_expiry=LATER)
    aged = raised.model_copy(update={"created_at": NOW_S - 9})
    assert past(after(aged, temp_budget_increase=None)) == [(7, NOW_S)]
    assert past(after(aged, temp_budget_increase=1)) == [(7, NOW_S)]
    assert past(after(aged, temp_budget_increase=3)) == [(0, 0.0)]
    assert past(after(aged, max_budget=6)) == [(0, 0.0)]
