"""Which row is for which target, and what the shipped list holds."""

from decimal import Decimal

import pytest

from gateway.config import load
from gateway.price_list import PriceList, Prices, covers

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


# --- pricing.yaml as shipped


def test_every_shipped_row_says_what_text_costs_and_where_that_was_read() -> None:
    for name, row in load(None, None, None, {}).prices:
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
    assert load(None, None, None, {}).prices.find(provider, model) is not None


def test_a_cheaper_plain_rate_is_never_dearer_than_its_large_or_priority_one() -> None:
    for name, row in load(None, None, None, {}).prices:
        for when in row.when:
            if when.multiply is None and when.service_tier in (None, "priority") and when.input is not None:
                assert row.input is not None and when.input >= row.input, name
