"""Of keys, teams and the others, what cannot be is refused with the name of the field."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.admin.forms import read
from gateway.admin.record_forms import CapsForm, KeyForm, NewTagForm, NewUserForm, TeamForm
from translators.errors import LLMError

MEASURES = ("rpm_limit", "tpm_limit", "rpd_limit", "tpd_limit", "max_parallel_requests")
NO_COUNTS: list[object] = [-1, 1.5, "5", True, 10**15 + 1, []]


def fault(form: Any, given: dict[str, Any]) -> LLMError:
    with pytest.raises(LLMError) as raised:
        read(form, given)
    assert raised.value.status == 422
    assert raised.value.type == "invalid_request_error"
    return raised.value


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
        ("budget_time_zone", "Berlin"),
        ("budget_time_zone", 1),
        ("budget_time_zone", "../UTC"),
        ("budget_time_zone", ""),
        ("temp_budget_increase", -1),
        ("temp_budget_increase", "much"),
        ("temp_budget_expiry", "2031-01-01"),
        ("temp_budget_expiry", "1d"),
        *[(name, value) for name in MEASURES for value in NO_COUNTS],
        ("limits", {}),
        ("limits", [{"model": f"m{n}", "rpm_limit": 1} for n in range(17)]),
        ("limits", [{"model": "demo", "rpm_limit": 1}, {"model": "demo", "tpm_limit": 1}]),
        ("tags", "a"),
        ("tags", [f"t{n}" for n in range(17)]),
        ("tags", ["a", "a"]),
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
        ({"max_budget": 1, "model": ""}, "budgets.0.model"),
        ({"max_budget": 1, "model": "a\n"}, "budgets.0.model"),
        ({"max_budget": 1, "budget_duration": "1d", "time_zone": "Mars/Crater"}, "budgets.0.time_zone"),
        ({"max_budget": 1, "budget_duration": "24h", "time_zone": "Europe/Berlin"}, "budgets.0.time_zone"),
        ({"max_budget": 1, "budget_duration": "2w", "time_zone": "Europe/Berlin"}, "budgets.0.time_zone"),
        ({"max_budget": 1, "time_zone": "Europe/Berlin"}, "budgets.0.time_zone"),
    ],
)
def test_a_fault_within_a_budget_says_where(budget: object, param: str) -> None:
    assert fault(KeyForm, {"budgets": [budget]}).param == param


@pytest.mark.parametrize(
    ("limits", "param"),
    [
        ({"rpm_limit": 1}, "limits.0.model"),
        ({"model": None, "rpm_limit": 1}, "limits.0.model"),
        ({"model": "demo", "rpm_limit": -1}, "limits.0.rpm_limit"),
        ({"model": "demo", "rpm": 1}, "limits.0.rpm"),
        ({"model": "demo"}, "limits.0"),
        ({"model": "demo", "tpm_limit": None}, "limits.0"),
    ],
)
def test_a_fault_within_a_limit_says_where(limits: object, param: str) -> None:
    assert fault(CapsForm, {"limits": [limits]}).param == param


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "ü", "a" * 65, "*", 5, "a\n"])
def test_a_keys_tags_are_plain_words(tag: object) -> None:
    assert fault(KeyForm, {"tags": ["good", tag]}).param == "tags.1"


def test_tags_of_all_the_marks_there_are() -> None:
    tags = ["team:search/eu-1", "v1.2_b@c", "a" * 64]
    assert read(KeyForm, {"tags": tags}).tags == tags


@pytest.mark.parametrize("zone", ["UTC", None])
@pytest.mark.parametrize("duration", ["24h", None, "1d"])
def test_utc_goes_with_every_window(zone: str | None, duration: str | None) -> None:
    form = read(CapsForm, {"budgets": [{"max_budget": 1, "budget_duration": duration, "time_zone": zone}]})
    assert form.budgets is not None
    assert form.budgets[0].time_zone == "UTC"


@pytest.mark.parametrize("duration", ["1h", "1d", "1w", "1mo", "3mo"])
def test_a_time_zone_goes_with_windows_of_the_calendar(duration: str) -> None:
    budget = {"max_budget": 1, "budget_duration": duration, "time_zone": "Asia/Kolkata"}
    form = read(CapsForm, {"budgets": [budget]})
    assert form.budgets is not None
    assert form.budgets[0].time_zone == "Asia/Kolkata"


@pytest.mark.parametrize("id", ["ada@example.com", "a/b?c=d%20#e", "a\nb", "*", "日本", "u" * 256, " ", "..."])
def test_a_user_may_be_called_anything(id: str) -> None:
    assert read(NewUserForm, {"user_id": id}).user_id == id


@pytest.mark.parametrize("id", ["", "u" * 257, ".", "..", 5, None])
def test_but_not_nothing_nor_too_long(id: object) -> None:
    assert fault(NewUserForm, {"user_id": id}).param == "user_id"
    assert fault(NewUserForm, {}).param == "user_id"


@pytest.mark.parametrize("tag", ["", "a" * 65, "a,b", " a", "a\n", "..", None])
def test_a_tag_is_one_that_a_caller_can_send(tag: object) -> None:
    assert fault(NewTagForm, {"tag": tag}).param == "tag"


@pytest.mark.parametrize("form", [NewUserForm, NewTagForm, CapsForm])
@pytest.mark.parametrize("field", ["models", "expires", "tags", "team_id", "key_alias"])
def test_what_only_keys_and_teams_have_is_not_known_elsewhere(form: Any, field: str) -> None:
    assert field in fault(form, {field: None}).message


def test_a_team_has_no_team_and_no_key_alias() -> None:
    assert fault(TeamForm, {"team_id": "team_1"}).param == "team_id"
    assert fault(TeamForm, {"key_alias": "a"}).param == "key_alias"


def test_every_fault_is_told_at_once() -> None:
    message = fault(KeyForm, {"max_budget": -1, "models": 5, "colour": "red"}).message
    assert all(f"`{field}`" in message for field in ("max_budget", "models", "colour"))


def test_metadata_too_deep_to_give_back_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(500):
        nested = {"a": nested}
    assert fault(KeyForm, {"metadata": nested}).param == "metadata"
