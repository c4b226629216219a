"""What cannot be is refused with the name of the field; what can be is read exactly."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.admin.forms import Nothing, PageQuery, RotationForm, read
from gateway.admin.record_forms import CapsForm, KeyForm, TeamForm
from gateway.reports.report_forms import UsageQuery
from translators.errors import LLMError


def fault(form: Any, given: dict[str, Any]) -> LLMError:
    with pytest.raises(LLMError) as raised:
        read(form, given)
    assert raised.value.status == 422
    assert raised.value.type == "invalid_request_error"
    return raised.value


@pytest.mark.parametrize("form", [KeyForm, TeamForm, CapsForm, RotationForm, Nothing, PageQuery, UsageQuery])
def test_an_unknown_field_is_named(form: Any) -> None:
    error = fault(form, {"colour": 1})
    assert (error.param, error.code) == ("colour", "unknown_parameter")
    assert "`colour`" in error.message


def test_a_slip_of_the_pen_is_recognised() -> None:
    assert "did you mean `max_budget`?" in fault(KeyForm, {"max_budgte": 1}).message
    assert "did you mean `from`?" in fault(UsageQuery, {"frm": "2026-01-01"}).message
    assert "did you mean `rpm_limit`?" in fault(KeyForm, {"rpm": 1}).message


@pytest.mark.parametrize(
    ("field", "entry", "word", "meant"),
    [
        ("budgets", {"max_budget": "1"}, "budget_time_zone", "time_zone"),
        ("budgets", {"max_budget": "1"}, "window", None),
        ("limits", {"model": "m", "rpm_limit": 1}, "rpm", "rpm_limit"),
        ("limits", {"model": "m", "rpm_limit": 1}, "max_budget", None),
    ],
)
def test_within_a_list_the_fields_of_its_entries_are_meant(
    field: str, entry: dict[str, Any], word: str, meant: str | None
) -> None:
    error = fault(KeyForm, {field: [entry, entry | {word: 1}]})
    said = f"`{field}.1.{word}` is not known here" + (f": did you mean `{meant}`?" if meant else "")
    assert (error.param, error.message) == (f"{field}.1.{word}", said)


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
