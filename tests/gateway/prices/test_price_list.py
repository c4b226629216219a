"""Which row is for which target, and what the shipped list holds."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from gateway.config import load
from gateway.prices.price_list import PriceList, Prices, When, covers

SHIPPED = load(None, None, None, {}).prices
LIST = {  # name → whose list price it is
    "gpt-5": "openai",
    "claude-x": "anthropic",
    "cheap": None,
    "a/claude-x": None,
    "b/*": None,
    "b/special-*": None,
    "free-*": None,
}


def prices() -> Prices:
    rows = {name: {"input": 1, "provider": owner} for name, owner in LIST.items()}
    return Prices(PriceList.model_validate({"models": rows}))


@pytest.mark.parametrize(
    ("provider", "model", "route", "row"),
    [
        ("a", "claude-x", "", "a/claude-x"),  # provider/model before the model's own
        ("anthropic", "claude-x", "gpt-5", "claude-x"),  # a list price is its provider's, and no other route's
        ("azure", "gpt-5", "claude-x", "gpt-5"),
        ("c", "m", "cheap", "cheap"),  # a route's own price
        ("c", "gpt-5", "cheap", "cheap"),  # before the model's
        ("b", "gpt-5", "cheap", "b/*"),  # a pattern for the provider before both
        ("b", "special-1", "", "b/special-*"),  # the longer pattern
        ("c", "free-1", "", "free-*"),
        ("c", "m", "", None),
        ("demo", "demo", "demo", "demo"),  # always there
    ],
)
def test_a_target_finds_its_row(provider: str, model: str, route: str, row: str | None) -> None:
    found = prices().find(provider, model, route)
    assert (found and found[0]) == row


def test_rates_are_kept_exactly_as_written() -> None:
    row = PriceList.model_validate({"models": {"m": {"input": "0.100000001"}}}).models["m"]
    assert row.input == Decimal("0.100000001")


def test_covering_takes_a_star_for_anything_and_all_else_for_itself() -> None:
    assert covers("a*", "a") and covers("*", "") and covers("a.b", "a.b")
    assert not covers("a.b", "axb") and not covers("a*a", "a") and not covers("?", "x")


@pytest.mark.parametrize(
    ("written", "spans"),
    [
        ({}, []),
        ({"hours_utc": "01:00-04:00", "days": "mon"}, [(60, 240)]),
        ({"hours_utc": ["00:00-00:30", "23:00-24:00"], "days": "tue"}, [(1440, 1470), (2820, 2880)]),
        ({"days": "sat-sun"}, [(7200, 8640), (8640, 10080)]),
        ({"days": ["sun", "mon"]}, [(8640, 10080), (0, 1440)]),
        ({"hours_utc": "12:00-12:01"}, [(720 + 1440 * day, 721 + 1440 * day) for day in range(7)]),
    ],
)
def test_hours_are_minutes_of_the_week(written: dict[str, object], spans: list[tuple[int, int]]) -> None:
    assert When.model_validate({"input": "1", **written}).spans() == spans


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"hours_utc": "22:00-02:00"}, "its end behind its beginning"),
        ({"hours_utc": "1:00-2:00"}, "must be as"),
        ({"hours_utc": "23:00-25:00"}, "must be as"),
        ({"days": "fri-mon"}, "Input should be 'mon'"),
        ({"days": "monday"}, "Input should be 'mon'"),
    ],
)
def test_hours_that_cannot_be_are_refused(written: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        When.model_validate(written)


def test_a_list_of_versions_is_its_newest_which_leads_to_the_others() -> None:
    rows = [{"since": "2026-12-01", "input": 3}, {"input": 1, "as_of": "2026-10"}, {"since": "2026-11-01", "input": 2}]
    newest = PriceList.model_validate({"models": {"m": rows}}).models["m"]
    seen, row = [], newest
    while row.before is not None:
        seen.append(row.version)
        row = row.before
    assert [*seen, row.version] == ["2026-12-01", "2026-11-01", "2026-10"]
    assert PriceList.model_validate({"models": {"m": {"input": 1}}}).models["m"].before is None


@pytest.mark.parametrize("rows", [[], [{"input": 1}, {"input": 2}], [{"since": "2026-12-01"}] * 2])
def test_versions_that_cannot_be_told_apart_are_refused(rows: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError, match="a `since` of its own"):
        PriceList.model_validate({"models": {"m": rows}})


# --- pricing.yaml as shipped


def test_every_shipped_row_says_what_text_costs_and_where_that_was_read() -> None:
    for name, row in SHIPPED:
        assert row.input is not None and row.output is not None, name
        assert row.source, name
        assert row.as_of == "2026-11" or name.startswith(("ollama/", "vllm/")), name


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-5.4-mini"),
        ("openai", "gpt-6-sol"),
        ("openai", "gpt-4o-2024-08-06"),
        ("anthropic", "claude-opus-5-5"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("gemini", "gemini-2.5-flash"),
        ("gemini", "gemini-4-argon"),
        ("groq", "openai/gpt-oss-120b"),
        ("mistral", "mistral-large-latest"),
        ("deepseek", "deepseek-v4-pro"),
        ("xai", "grok-4.7"),
        ("openrouter", "anthropic/claude-sonnet-5.5"),
        ("ollama", "anything"),
    ],
)
def test_current_models_have_a_price(provider: str, model: str) -> None:
    assert SHIPPED.find(provider, model) is not None


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("anthropic/claude-sonnet-5.5", "claude-sonnet-5-5"),
        ("openai/gpt-5.4-mini:nitro", "gpt-5.4-mini"),
        ("google/gemini-2.5-flash", "gemini-2.5-flash"),
        ("x-ai/grok-4.7", "xai/grok-4.7"),
        ("unheard/of", None),
        ("openrouter/auto", None),
    ],
)
def test_a_host_of_many_makers_models_leads_to_their_own_prices(model: str, row: str | None) -> None:
    found = SHIPPED.of_maker(model)
    assert (None if found is None else found[0]) == row


def test_a_cheaper_plain_rate_is_never_dearer_than_its_large_or_priority_one() -> None:
    for name, row in SHIPPED:
        for when in row.when:
            if when.multiply is not None or when.service_tier not in (None, "priority") or when.input is None:
                continue
            assert row.input is not None, name
            assert when.input < row.input if when.spans() else when.input >= row.input, name
