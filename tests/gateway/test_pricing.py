"""Money: what an answer cost to the nano-dollar, and the most that one can cost."""

import random
from dataclasses import fields
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import load
from gateway.price_list import Rates, Row
from gateway.pricing import RATES, UNLIMITED_TOKENS, Price, Unpriced, affordable_output, ceiling, cost, price
from translators.usage import BILLED, Usage

ROW: dict[str, Any] = {
    "input": "2.5",
    "cache_read": "0.25",
    "output": "15",
    "as_of": "2026-11",
    "when": [
        {"input_above": 1000, "input": "5", "cache_read": "0.5", "output": "22.5"},
        {"service_tier": "priority", "input": "5", "cache_read": "0.5", "output": "30"},
        {"service_tier": "flex", "output": "7.5"},
        {"service_tier": "priority", "input_above": 1000, "input": "10", "cache_read": "1", "output": "45"},
        {"region": "eu", "multiply": "1.1"},
    ],
}


def of(row: dict[str, Any], service_tier: str = "default", region: str = "") -> Price:
    return price("m", Row.model_validate(row), service_tier, region)


# --- cost


@pytest.mark.parametrize(
    ("usage", "nanousd"),
    [
        (Usage(), 0),
        (Usage(input_tokens=1000, output_tokens=10), 2_500_000 + 150_000),
        (Usage(input_tokens=1), 2_500),
        (Usage(cache_read_tokens=3), 750),
        (Usage(output_tokens=2, reasoning_tokens=3), 5 * 15_000),  # reasoning at the output rate
        (Usage(input_tokens=2, image_input_tokens=3), 5 * 2_500),  # images at the input rate
        (Usage(input_tokens=900, cache_read_tokens=101), 900 * 5_000 + 101 * 500),  # cached tokens count to the size
        (Usage(input_tokens=1000, service_tier="priority"), 1000 * 5_000),
        (Usage(input_tokens=1, output_tokens=1, service_tier="flex"), 2_500 + 7_500),  # what flex does not name stays
        (Usage(input_tokens=1001, output_tokens=1, service_tier="priority"), 1001 * 10_000 + 45_000),
        (Usage(input_tokens=1, region="eu"), 2_750),
        (Usage(input_tokens=1001, service_tier="priority", region="eu"), 1001 * 11_000),
        (Usage(input_tokens=1, service_tier="default", region="global"), 2_500),
        (Usage(input_tokens=1, service_tier="ON_DEMAND", region="not_available"), 2_500),
        (Usage(output_tokens=5, accepted_prediction_tokens=2, rejected_prediction_tokens=2), 5 * 15_000),
    ],
)
def test_an_answer_costs_what_its_buckets_cost(usage: Usage, nanousd: int) -> None:
    assert cost(usage, of(ROW)) == nanousd


def test_part_of_a_nano_dollar_is_charged_as_a_whole_one() -> None:
    assert cost(Usage(input_tokens=1), of({"input": "0.0001"})) == 1
    assert cost(Usage(input_tokens=10_001), of({"input": "0.0001"})) == 1001
    assert cost(Usage(input_tokens=10_000), of({"input": "0.0001"})) == 1000
    assert cost(Usage(input_tokens=1), of({"input": "0.000000001"})) == 1


def test_a_tenth_is_a_tenth() -> None:
    assert cost(Usage(input_tokens=3), of({"input": "0.1"})) == 300
    assert cost(Usage(input_tokens=10**12), of({"input": "0.1"})) == 10**14


@pytest.mark.parametrize(
    "usage",
    [
        Usage(cache_write_tokens=1),
        Usage(cache_write_1h_tokens=1),
        Usage(audio_input_tokens=1),
        Usage(audio_output_tokens=1),
        Usage(image_output_tokens=1),
        Usage(cache_read_audio_tokens=1),
        Usage(web_searches=1),
        Usage(input_tokens=1, service_tier="ultrafast"),
        Usage(input_tokens=1, region="jp"),
    ],
)
def test_a_rate_that_is_missing_is_never_another_one(usage: Usage) -> None:
    with pytest.raises(Unpriced, match="'m'"):
        cost(usage, of(ROW))


def test_zero_is_a_rate() -> None:
    free = of({"input": "0", "output": "0", "web_search": "0"})
    assert cost(Usage(input_tokens=9, output_tokens=9, reasoning_tokens=9, web_searches=2), free) == 0


def test_a_row_without_tiers_or_regions_charges_the_same_in_all() -> None:
    assert cost(Usage(input_tokens=1, service_tier="performance", region="jp"), of({"input": "1"})) == 1000


def test_fees_are_per_search_and_per_request_and_not_multiplied() -> None:
    row = {"input": "1", "web_search": "0.01", "request": "0.005", "when": [{"region": "us", "multiply": "2"}]}
    assert cost(Usage(input_tokens=1, web_searches=3, region="us"), of(row)) == 2_000 + 30_000_000 + 5_000_000


def test_the_last_matching_word_wins_and_a_multiple_raises_what_is_in_force_by_then() -> None:
    when = [{"service_tier": "a", "input": "2"}, {"multiply": "3"}, {"service_tier": "a", "output": "7"}]
    row = of({"input": "1", "output": "1", "when": when})
    assert cost(Usage(input_tokens=1, output_tokens=1, service_tier="a"), row) == 6_000 + 7_000
    assert cost(Usage(input_tokens=1, output_tokens=1), row) == 3_000 + 3_000


@pytest.mark.parametrize(
    ("stated", "nanousd"),
    [("0.00014", 140_000), ("0.0000000001", 1), ("0", 0), ("-1", 5_000), ("NaN", 5_000), ("x", 5_000)],
)
def test_the_providers_own_figure_is_believed_where_the_row_says_so(stated: str, nanousd: int) -> None:
    usage = Usage(input_tokens=5, cost_usd=stated)
    assert cost(usage, of({"input": "1", "trust_provider_cost": "true"})) == nanousd
    assert cost(usage, of({"input": "1"})) == 5_000


def test_the_accounts_own_tier_and_region_hold_where_nobody_says_otherwise() -> None:
    theirs = of(ROW, "priority", "eu")
    assert cost(Usage(input_tokens=1), theirs) == 5_500
    assert cost(Usage(input_tokens=1, service_tier="default", region="global"), theirs) == 2_500


def test_every_billed_bucket_has_a_rate_of_its_own() -> None:
    assert len(set(RATES)) == len(RATES) == len(BILLED)
    assert set(RATES) | {"request"} == set(Rates.model_fields)
    assert {field.name for field in fields(Usage)} > set(BILLED)


def test_the_journal_is_told_the_row_and_its_month() -> None:
    assert of(ROW).row == "m@2026-11"
    assert of({"input": "1"}).row == "m"


# --- worked out by hand, from the shipped list


@pytest.mark.parametrize(
    ("provider", "model", "usage", "nanousd"),
    [
        # 0.75, 0.075 and 4.5 USD per million
        ("openai", "gpt-5.4-mini", Usage(input_tokens=1203, cache_read_tokens=1024, output_tokens=57), 1_235_550),
        # 0.1, 0.01, 0.125, 0.2 and 0.5; above 100,000 five times that; in the US 1.1 times
        (
            "anthropic",
            "claude-haiku-5-5",
            Usage(11, 2_000, 300, 400, output_tokens=90, service_tier="standard", region="global"),
            1_100 + 20_000 + 37_500 + 80_000 + 45_000,
        ),
        ("anthropic", "claude-haiku-5-5", Usage(1, 100_000, output_tokens=2), 500 + 5_000_000 + 5_000),
        ("anthropic", "claude-haiku-5-5", Usage(10, output_tokens=10, region="us"), 1_100 + 5_500),
        ("anthropic", "claude-haiku-5-5", Usage(web_searches=2), 20_000_000),
        # 0.3, 2.5 and 1 for audio; priority 0.54, 4.5, 1.8
        (
            "gemini",
            "gemini-2.5-flash",
            Usage(100, audio_input_tokens=50, output_tokens=20, reasoning_tokens=30, service_tier="standard"),
            30_000 + 50_000 + 125_000,
        ),
        ("gemini", "gemini-2.5-flash", Usage(100, output_tokens=20, service_tier="priority"), 54_000 + 90_000),
        ("demo", "demo", Usage(10, output_tokens=50), 1_000 + 20_000),
    ],
)
def test_the_shipped_prices_give_the_figures_worked_out_by_hand(
    provider: str, model: str, usage: Usage, nanousd: int
) -> None:
    found = load(None, None, None, {}).prices.find(provider, model)
    assert found is not None
    assert cost(usage, price(*found)) == nanousd


# --- the most that a request can cost


def test_a_ceiling_is_the_dearest_that_can_apply() -> None:
    plain = of(ROW, region="global")
    assert ceiling(plain, 1000, 100) == 1000 * 2_500 + 100 * 15_000
    assert ceiling(plain, 1001, 100) == 1001 * 5_000 + 100 * 22_500
    assert ceiling(plain, 1000, 100, tier="priority") == 1000 * 5_000 + 100 * 30_000
    assert ceiling(plain, 1000, 100, tier="fast") == ceiling(plain, 1000, 100, tier="priority")
    assert ceiling(plain, 1000, 100, tier="flex") == ceiling(plain, 1000, 100)  # it may be answered at the plain tier
    assert ceiling(plain, 1000, 100, tier="unheard-of") == ceiling(plain, 1000, 100)
    anywhere = of(ROW)
    assert ceiling(anywhere, 1000, 100) == 1000 * 2_750 + 100 * 16_500
    assert ceiling(of(ROW, "priority", "global"), 1000, 100, tier="auto") == 1000 * 5_000 + 100 * 30_000


def test_a_ceiling_takes_special_rates_only_where_the_request_needs_them() -> None:
    row = of(
        {"input": "1", "cache_write": "2", "cache_write_1h": "3", "audio_input": "10", "output": "4", "reasoning": "5"}
    )
    assert ceiling(row, 100, 10) == 100 * 2_000 + 10 * 5_000
    assert ceiling(row, 100, 10, special=frozenset({"cache_write_1h"})) == 100 * 3_000 + 10 * 5_000
    assert ceiling(row, 100, 10, special=frozenset({"audio_input"})) == 100 * 10_000 + 10 * 5_000
    with pytest.raises(Unpriced, match="audio_output"):
        ceiling(row, 100, 10, special=frozenset({"audio_output"}))


def test_a_ceiling_counts_fees_and_refuses_those_it_does_not_know() -> None:
    row = of({"input": "1", "output": "1", "web_search": "0.01", "request": "0.002"})
    assert ceiling(row, 0, 0, searches=3) == 32_000_000
    with pytest.raises(Unpriced, match="web_search"):
        ceiling(of(ROW), 1, 1, searches=1)
    with pytest.raises(Unpriced, match="output"):
        ceiling(of({"input": "1"}), 1, 1)


tiers = st.sampled_from([None, "priority", "flex"])
regions = st.sampled_from(["", "eu", "global"])


@given(st.integers(0, 2_000_000), st.integers(0, 10**12), tiers, regions)
def test_the_affordable_answer_is_the_longest_whose_ceiling_fits(
    prompt: int, amount: int, tier: str | None, region: str
) -> None:
    row = of(ROW, region=region)
    tokens = affordable_output(row, amount, prompt, tier=tier)
    if ceiling(row, prompt, 0, tier=tier) > amount:
        assert tokens == 0
    else:
        assert ceiling(row, prompt, tokens, tier=tier) <= amount < ceiling(row, prompt, tokens + 1, tier=tier)


def test_a_free_answer_may_be_as_long_as_it_likes() -> None:
    assert affordable_output(of({"input": "1", "output": "0"}), 10_000, 5) == UNLIMITED_TOKENS
    assert affordable_output(of({"input": "1", "output": "0"}), 4_000, 5) == 0


counts = st.integers(0, 300_000)


@given(
    st.builds(
        Usage,
        input_tokens=counts,
        cache_read_tokens=counts,
        cache_write_tokens=counts,
        output_tokens=counts,
        reasoning_tokens=counts,
        service_tier=st.sampled_from(["", "default", "priority", "flex"]),
        region=st.sampled_from(["", "us", "global"]),
    ),
    st.sampled_from(["gpt-6-sol", "gpt-5.6", "claude-haiku-5-5", "claude-opus-5-5", "gemini-3.1-pro-preview"]),
)
def test_no_answer_costs_more_than_its_ceiling(usage: Usage, model: str) -> None:
    found = PRICES.find("", model)
    assert found is not None
    row = price(*found)
    if row.rates.cache_write is None:
        usage = Usage(usage.input_tokens, usage.cache_read_tokens, output_tokens=usage.output_tokens)
    held = ceiling(row, usage.prompt_tokens, usage.completion_tokens, tier=usage.service_tier)
    assert cost(usage, row) <= held


PRICES = load(None, None, None, {}).prices


def test_the_sum_equals_exact_fractions_over_every_shipped_row() -> None:
    chance = random.Random(7)
    for name, row in PRICES:
        usage = Usage(chance.randrange(90_000), output_tokens=chance.randrange(90_000))
        if row.request is not None or (row.when and row.when[0].service_tier is None and row.when[0].region is None):
            usage = Usage(chance.randrange(1_000), output_tokens=usage.output_tokens)
        exact = Fraction(row.input or 0) * usage.input_tokens + Fraction(row.output or 0) * usage.output_tokens
        nano = exact * 1000 + Fraction(row.request or 0) * 10**9
        whole = (Decimal(nano.numerator) / Decimal(nano.denominator)).to_integral_value(ROUND_CEILING)
        assert cost(usage, price(name, row)) == int(whole), name
