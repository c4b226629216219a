"""What cannot be is refused with the name of the field; what can be is read exactly."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gateway.admin_forms import KeyForm, Nothing, PageQuery, RotationForm, TeamForm, UsageQuery, read
from translators.errors import LLMError


def fault(form: Any, given: dict[str, Any]) -> LLMError:
    with pytest.raises(LLMError) as raised:
        read(form, given)
    assert raised.value.status == 422
    assert raised.value.type == "invalid_request_error"
    return raised.value


@pytest.mark.parametrize("form", [KeyForm, TeamForm, RotationForm, Nothing, PageQuery, UsageQuery])
def test_an_unknown_field_is_named(form: Any) -> None:
    error = fault(form, {"tpm_limit": 1})
    assert (error.param, error.code) == ("tpm_limit", "unknown_parameter")
    assert "`tpm_limit`" in error.message


def test_a_slip_of_the_pen_is_recognised() -> None:
    assert "did you mean `max_budget`?" in fault(KeyForm, {"max_budgte": 1}).message
    assert "did you mean `from`?" in fault(UsageQuery, {"frm": "2026-01-01"}).message


def test_a_team_has_no_team_and_no_key_alias() -> None:
    assert fault(TeamForm, {"team_id": "team_1"}).param == "team_id"
    assert fault(TeamForm, {"key_alias": "a"}).param == "key_alias"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_alias", ""),
        ("key_alias", 5),
        ("key_alias", "a\x1b[2J"),
        ("key_alias", "a" * 256),
        ("team_id", 5),
        ("models", "gpt-*"),
        ("max_budget", -1),
        ("max_budget", Decimal("0.0000000001")),
        ("max_budget", "1e3"),
        ("max_budget", "ten"),
        ("max_budget", True),
        ("max_budget", 9_000_001),
        ("max_budget", []),
        ("budget_duration", "1y"),
        ("budget_duration", "0d"),
        ("budget_duration", "d"),
        ("budget_duration", 86_400),
        ("budgets", {}),
        ("budgets", [{"max_budget": 1}] * 17),
        ("expires", "2031-01-01"),
        ("expires", "2031-01-01T00:00:00"),
        ("expires", "soon"),
        ("expires", "30d"),
        ("expires", 1_900_000_000),
        ("expires", "0001-01-01T00:00:00+14:00"),
        ("expires", "9999-12-31T23:59:59-14:00"),
        ("expires", "9999-12-31T23:59:59.999999Z"),
        ("metadata", []),
        ("metadata", "a=b"),
    ],
)
def test_a_value_that_cannot_be_is_named(field: str, value: object) -> None:
    error = fault(KeyForm, {"models": ["demo"], field: value})
    assert (error.param, error.code) == (field, "invalid_value")
    assert error.message.startswith(f"`{field}`")


@pytest.mark.parametrize(
    ("budget", "param"),
    [
        ({}, "budgets.0.max_budget"),
        ({"max_budget": None}, "budgets.0.max_budget"),
        ({"max_budget": 1, "on_cap": "explode"}, "budgets.0.on_cap"),
        ({"max_budget": 1, "soft": "yes"}, "budgets.0.soft"),
        ({"max_budget": 1, "budget_duration": "1x"}, "budgets.0.budget_duration"),
        ({"max_budget": 1, "duration": "1d"}, "budgets.0.duration"),
        ("1", "budgets.0"),
    ],
)
def test_a_fault_within_a_budget_says_where(budget: object, param: str) -> None:
    assert fault(KeyForm, {"budgets": [budget]}).param == param


def test_every_fault_is_told_at_once() -> None:
    message = fault(KeyForm, {"max_budget": -1, "models": 5, "colour": "red"}).message
    assert all(f"`{field}`" in message for field in ("max_budget", "models", "colour"))


def test_metadata_too_deep_to_give_back_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(500):
        nested = {"a": nested}
    assert fault(KeyForm, {"metadata": nested}).param == "metadata"


@pytest.mark.parametrize("grace", ["1y", "", "24", 24, None, "-1h", "1mo", "367d", "9999999999s"])
def test_a_grace_period_that_cannot_be_is_refused(grace: object) -> None:
    assert fault(RotationForm, {"grace_period": grace}).param == "grace_period"


def test_a_grace_period_is_a_day_unless_told() -> None:
    assert read(RotationForm, {}).grace_period == 86_400
    assert read(RotationForm, {"grace_period": "30m"}).grace_period == 1800
    assert read(RotationForm, {"grace_period": "0s"}).grace_period == 0


def test_expires_is_the_same_moment_in_every_zone() -> None:
    for text in ("2031-01-01T00:00:00Z", "2031-01-01T02:00:00+02:00", "2030-12-31T19:00:00-05:00"):
        assert read(KeyForm, {"expires": text}).expires == datetime(2031, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"by": "colour"}, "by"),
        ({"by": "key,key"}, "by"),
        ({"by": ""}, "by"),
        ({"by": "key,"}, "by"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-13-01"}, "from"),
        ({"to": "2026-11-20T10:00:00"}, "to"),
        ({"to": "2026-11-20 10:00"}, "to"),
        ({"from": "2026-11-21", "to": "2026-11-20"}, None),
        ({"limit": "-1"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "10001"}, "limit"),
    ],
)
def test_a_usage_query_that_cannot_be_is_refused(query: dict[str, str], param: str | None) -> None:
    assert fault(UsageQuery, query).param == param


def test_a_date_is_its_midnight_in_utc_and_a_plus_survives_a_query() -> None:
    query = read(UsageQuery, {"from": "2026-11-20", "to": "2026-11-20T02:00:00 02:00", "by": "team,day"})
    assert query.start == query.end == datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    assert query.by == ["team", "day"]


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_a_page_has_between_one_and_a_thousand(limit: str) -> None:
    assert fault(PageQuery, {"limit": limit}).param == "limit"
