"""Money: what an answer cost to the nano-dollar, and the most that one can cost."""

import random
from dataclasses import fields
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.prices.price_list import PriceList, Rates, Row
from gateway.prices.pricing import (
    FEES,
    NAMED,
    RATES,
    UNLIMITED_TOKENS,
    Extras,
    Price,
    Unpriced,
    affordable_output,
    ceiling,
    cost,
    price,
)
from translators.usage import BILLED, Usage

PRICES = load(None, None, None, {}).prices
AT = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()  # a Wednesday
PEAK = AT - 4 * 3600  # 8 in the morning
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
    assert cost(usage, of(ROW), AT) == nanousd


def test_part_of_a_nano_dollar_is_charged_as_a_whole_one() -> None:
    assert cost(Usage(input_tokens=1), of({"input": "0.0001"}), AT) == 1
    assert cost(Usage(input_tokens=10_001), of({"input": "0.0001"}), AT) == 1001
    assert cost(Usage(input_tokens=10_000), of({"input": "0.0001"}), AT) == 1000
    assert cost(Usage(input_tokens=1), of({"input": "0.000000001"}), AT) == 1


def test_a_tenth_is_a_tenth() -> None:
    assert cost(Usage(input_tokens=3), of({"input": "0.1"}), AT) == 300
    assert cost(Usage(input_tokens=10**12), of({"input": "0.1"}), AT) == 10**14


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
        cost(usage, of(ROW), AT)


def test_zero_is_a_rate() -> None:
    free = of({"input": "0", "output": "0", "web_search": "0"})
    assert cost(Usage(input_tokens=9, output_tokens=9, reasoning_tokens=9, web_searches=2), free, AT) == 0


def test_a_row_without_tiers_or_regions_charges_the_same_in_all() -> None:
    assert cost(Usage(input_tokens=1, service_tier="performance", region="jp"), of({"input": "1"}), AT) == 1000


def test_fees_are_per_search_and_per_request_and_not_multiplied() -> None:
    row = {"input": "1", "web_search": "0.01", "request": "0.005", "when": [{"region": "us", "multiply": "2"}]}
    assert cost(Usage(input_tokens=1, web_searches=3, region="us"), of(row), AT) == 2_000 + 30_000_000 + 5_000_000


def test_the_last_matching_word_wins_and_a_multiple_raises_what_is_in_force_by_then() -> None:
    when = [{"service_tier": "a", "input": "2"}, {"multiply": "3"}, {"service_tier": "a", "output": "7"}]
    row = of({"input": "1", "output": "1", "when": when})
    assert cost(Usage(input_tokens=1, output_tokens=1, service_tier="a"), row, AT) == 6_000 + 7_000
    assert cost(Usage(input_tokens=1, output_tokens=1), row, AT) == 3_000 + 3_000


@pytest.mark.parametrize(
    ("stated", "nanousd"),
    [("0.00014", 140_000), ("0.0000000001", 1), ("0", 0), ("-1", 5_000), ("NaN", 5_000), ("x", 5_000)],
)
def test_the_providers_own_figure_is_believed_where_the_row_says_so(stated: str, nanousd: int) -> None:
    usage = Usage(input_tokens=5, cost_usd=stated)
    assert cost(usage, of({"input": "1", "trust_provider_cost": "true"}), AT) == nanousd
    assert cost(usage, of({"input": "1"}), AT) == 5_000


def test_the_accounts_own_tier_and_region_hold_where_nobody_says_otherwise() -> None:
    theirs = of(ROW, "priority", "eu")
    assert cost(Usage(input_tokens=1), theirs, AT) == 5_500
    assert cost(Usage(input_tokens=1, service_tier="default", region="global"), theirs, AT) == 2_500


def test_every_billed_bucket_has_a_rate_of_its_own() -> None:
    assert len(set(RATES)) == len(RATES) == len(BILLED)
    assert set(NAMED) == set(Rates.model_fields) and set(NAMED) - FEES <= set(RATES)
    assert {field.name for field in fields(Usage)} > set(BILLED)


def test_the_journal_is_told_the_row_and_its_month() -> None:
    assert of(ROW).named(AT) == "m@2026-11"
    assert of({"input": "1"}).named(AT) == "m"


def test_searches_may_be_charged_by_the_answer_and_maps_by_the_answer_that_has_them() -> None:
    row = of({"input": "1", "output": "1", "web_search": "0", "grounded": "0.035", "map_search": "0.025"})
    assert cost(Usage(web_searches=4), row, AT) == 35_000_000
    assert cost(Usage(map_searches=1), row, AT) == 25_000_000
    assert cost(Usage(), row, AT) == 0
    assert ceiling(row, 0, 0, AT, Extras(searches=20)) == 35_000_000
    assert ceiling(row, 0, 0, AT, Extras(calls=2, searches=40, map_searches=2)) == 2 * 35_000_000 + 2 * 25_000_000
    with pytest.raises(Unpriced, match="map_search"):
        ceiling(of({"input": "1", "output": "1"}), 0, 0, AT, Extras(map_searches=1))


def test_a_fee_may_depend_on_how_much_of_what_was_found_is_read() -> None:
    row = of({"input": "1", "output": "1", "request": "0.012", "when": [{"search_context": "low", "request": "0.005"}]})
    assert cost(Usage(search_context="low"), row, AT) == 5_000_000
    assert cost(Usage(search_context="high"), row, AT) == cost(Usage(), row, AT) == 12_000_000
    assert ceiling(row, 0, 0, AT) == 12_000_000


def test_a_fee_by_the_request_is_held_for_each_call() -> None:
    row = of({"input": "1", "output": "1", "request": "0.01"})
    assert ceiling(row, 0, 0, AT, Extras(calls=3)) == 3 * cost(Usage(), row, AT)


# --- hours and versions

OFF_PEAK: dict[str, Any] = {
    "input": "2",
    "output": "4",
    "web_search": "0.01",
    "when": [
        {"hours_utc": "00:00-01:00, 10:30-24:00", "days": "mon-fri", "input": "1", "output": "2"},
        {"days": ["sat", "sun"], "multiply": "0.25"},
    ],
}


@pytest.mark.parametrize(
    ("begun", "nanousd"),
    [
        ("2026-11-18T00:59:59", 1_000),  # a Wednesday
        ("2026-11-18T01:00:00", 2_000),
        ("2026-11-18T10:29:59", 2_000),
        ("2026-11-18T10:30:00", 1_000),
        ("2026-11-20T23:59:59", 1_000),
        ("2026-11-21T00:00:00", 500),  # Saturday
        ("2026-11-22T23:59:59", 500),
        ("2026-11-23T00:00:00", 1_000),  # Monday
        ("2026-11-23T01:00:00", 2_000),
        ("1970-01-01T05:00:00", 2_000),  # a Thursday
    ],
)
def test_the_hour_at_which_a_request_began_chooses_its_rates(begun: str, nanousd: int) -> None:
    assert cost(Usage(input_tokens=1), of(OFF_PEAK), at(begun)) == nanousd
    assert cost(Usage(web_searches=1), of(OFF_PEAK), at(begun)) == 10_000_000


def at(written: str) -> float:
    return datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp()


def test_a_hold_is_for_the_dearest_hour() -> None:
    assert ceiling(of(OFF_PEAK), 1, 1, at("2026-11-21T00:00:00")) == 2_000 + 4_000


@settings(deadline=None)
@given(st.integers(0, 2 * 10**9), st.integers(0, 1000), st.integers(0, 1000))
def test_no_hour_costs_more_than_its_ceiling(begun: int, read: int, made: int) -> None:
    usage = Usage(input_tokens=read, output_tokens=made)
    assert cost(usage, of(OFF_PEAK), begun) <= ceiling(of(OFF_PEAK), read, made, begun)


def dated() -> Price:
    versions = [
        {"since": "2026-12-01", "input": "3", "output": "30", "as_of": "2026-11"},
        {"input": "1", "output": "10", "as_of": "2026-10"},
        {"since": "2026-11-19T06:00:00Z", "input": "2", "output": "20", "when": [{"input_above": 5, "input": "5"}]},
    ]
    return price("m", PriceList.model_validate({"models": {"m": versions}}).models["m"])


@pytest.mark.parametrize(
    ("begun", "nanousd", "named"),
    [
        ("2026-11-19T05:59:59", 1_000, "m@2026-10"),
        ("2026-11-19T06:00:00", 2_000, "m@2026-11-19T06:00:00+00:00"),
        ("2026-11-30T23:59:59", 2_000, "m@2026-11-19T06:00:00+00:00"),
        ("2026-12-01T00:00:00", 3_000, "m@2026-12-01"),
        ("2030-01-01T00:00:00", 3_000, "m@2026-12-01"),
    ],
)
def test_the_newest_version_that_was_in_force_is_billed_and_named(begun: str, nanousd: int, named: str) -> None:
    assert cost(Usage(input_tokens=1), dated(), at(begun)) == nanousd
    assert dated().named(at(begun)) == named


def test_a_hold_covers_the_version_that_may_begin_before_the_bill() -> None:
    assert ceiling(dated(), 1, 1, at("2026-11-18T00:00:00")) == 11_000
    assert ceiling(dated(), 6, 0, at("2026-11-19T05:30:00")) == 6 * 5_000
    assert ceiling(dated(), 1, 1, at("2026-11-20T00:00:00")) == 22_000
    assert ceiling(dated(), 1, 1, at("2026-11-30T23:30:00")) == 33_000
    assert affordable_output(dated(), 33_000, 1, at("2026-11-30T23:30:00")) == 1


def test_before_its_first_version_a_model_has_no_price() -> None:
    early = of({"since": "2026-12-01", "input": "1", "output": "1"})
    with pytest.raises(Unpriced, match="a time so early"):
        cost(Usage(input_tokens=1), early, AT)
    with pytest.raises(Unpriced, match="a time so early"):
        ceiling(early, 1, 1, AT)
    assert early.named(AT) == "m"


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
        # an image of 1,120 tokens at 120 USD per million, its text at 12
        ("gemini", "gemini-3-pro-image", Usage(100, output_tokens=10, image_output_tokens=1120), 200_000 + 134_520_000),
        # 2 USD the million in, 8 out, 3 reasoning, 2 citations, 5 USD the thousand searches
        (
            "perplexity",
            "sonar-deep-research",
            Usage(1188, output_tokens=4240, reasoning_tokens=92_431, citation_tokens=8014, web_searches=54),
            2_376_000 + 33_920_000 + 277_293_000 + 16_028_000 + 270_000_000,
        ),
        # a search is paid once an answer, however often
        ("gemini", "gemini-2.5-pro", Usage(1, web_searches=3), 1_250 + 35_000_000),
        ("gemini", "gemini-3.8-flash", Usage(web_searches=3, map_searches=1), 4 * 14_000_000),
        # Azure's data zone in the EU: a fifth more than 10 and 50
        ("azure", "gpt-6-astra", Usage(10, output_tokens=10, region="eu"), 120_000 + 600_000),
        # peak: 1.32, 0.044 and 3.96
        ("deepseek", "deepseek-v4-pro", Usage(10, 1000, output_tokens=10), 13_200 + 44_000 + 39_600),
    ],
)
def test_the_shipped_prices_give_the_figures_worked_out_by_hand(
    provider: str, model: str, usage: Usage, nanousd: int
) -> None:
    found = PRICES.find(provider, model)
    assert found is not None
    assert cost(usage, price(*found), PEAK) == nanousd


def test_deepseek_is_half_as_dear_off_peak() -> None:
    found = PRICES.find("deepseek", "deepseek-v4-pro")
    assert found is not None
    usage = Usage(10, 1000, output_tokens=10)
    for begun in ("2026-11-18T00:30:00", "2026-11-18T05:00:00", "2026-11-18T10:00:00", "2026-11-21T02:00:00"):
        assert cost(usage, price(*found), at(begun)) == 6_600 + 22_000 + 19_800


# --- the most that a request can cost


def test_a_ceiling_is_the_dearest_that_can_apply() -> None:
    plain = of(ROW, region="global")
    assert ceiling(plain, 1000, 100, AT) == 1000 * 2_500 + 100 * 15_000
    assert ceiling(plain, 1001, 100, AT) == 1001 * 5_000 + 100 * 22_500
    assert ceiling(plain, 1000, 100, AT, Extras(tier="priority")) == 1000 * 5_000 + 100 * 30_000
    assert ceiling(plain, 1000, 100, AT, Extras(tier="fast")) == ceiling(plain, 1000, 100, AT, Extras(tier="priority"))
    assert ceiling(plain, 1000, 100, AT, Extras(tier="flex")) == ceiling(
        plain, 1000, 100, AT
    )  # it may be answered at the plain tier
    assert ceiling(plain, 1000, 100, AT, Extras(tier="unheard-of")) == ceiling(plain, 1000, 100, AT)
    anywhere = of(ROW)
    assert ceiling(anywhere, 1000, 100, AT) == 1000 * 2_750 + 100 * 16_500
    assert ceiling(of(ROW, "priority", "global"), 1000, 100, AT, Extras(tier="auto")) == 1000 * 5_000 + 100 * 30_000


def test_a_ceiling_takes_special_rates_only_where_the_request_needs_them() -> None:
    row = of(
        {"input": "1", "cache_write": "2", "cache_write_1h": "3", "audio_input": "10", "output": "4", "reasoning": "5"}
    )
    assert ceiling(row, 100, 10, AT) == 100 * 2_000 + 10 * 5_000
    assert ceiling(row, 100, 10, AT, Extras(special=frozenset({"cache_write_1h"}))) == 100 * 3_000 + 10 * 5_000
    assert ceiling(row, 100, 10, AT, Extras(special=frozenset({"audio_input"}))) == 100 * 10_000 + 10 * 5_000
    draws = of({"input": "1", "output": "4", "image_output": "30"})
    assert ceiling(draws, 100, 10, AT) == 100 * 1_000 + 10 * 30_000
    with pytest.raises(Unpriced, match="audio_output"):
        ceiling(row, 100, 10, AT, Extras(special=frozenset({"audio_output"})))


def test_a_ceiling_counts_fees_and_refuses_those_it_does_not_know() -> None:
    row = of({"input": "1", "output": "1", "web_search": "0.01", "request": "0.002"})
    assert ceiling(row, 0, 0, AT, Extras(searches=3)) == 32_000_000
    with pytest.raises(Unpriced, match="web_search"):
        ceiling(of(ROW), 1, 1, AT, Extras(searches=1))
    with pytest.raises(Unpriced, match="output"):
        ceiling(of({"input": "1"}), 1, 1, AT)


tiers = st.sampled_from([None, "priority", "flex"])
regions = st.sampled_from(["", "eu", "global"])


@settings(deadline=None)
@given(st.integers(0, 2_000_000), st.integers(0, 10**12), tiers, regions)
def test_the_affordable_answer_is_the_longest_whose_ceiling_fits(
    prompt: int, amount: int, tier: str | None, region: str
) -> None:
    row = of(ROW, region=region)
    tokens = affordable_output(row, amount, prompt, AT, Extras(tier=tier))
    if ceiling(row, prompt, 0, AT, Extras(tier=tier)) > amount:
        assert tokens == 0
    else:
        assert (
            ceiling(row, prompt, tokens, AT, Extras(tier=tier))
            <= amount
            < ceiling(row, prompt, tokens + 1, AT, Extras(tier=tier))
        )


def test_a_free_answer_may_be_as_long_as_it_likes() -> None:
    assert affordable_output(of({"input": "1", "output": "0"}), 10_000, 5, AT) == UNLIMITED_TOKENS
    assert affordable_output(of({"input": "1", "output": "0"}), 4_000, 5, AT) == 0


counts = st.integers(0, 300_000)


@settings(deadline=None)
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
    held = ceiling(row, usage.prompt_tokens, usage.completion_tokens, AT, Extras(tier=usage.service_tier))
    assert cost(usage, row, AT) <= held


def test_the_sum_equals_exact_fractions_over_every_shipped_row() -> None:
    chance = random.Random(7)
    for name, row in PRICES:
        usage = Usage(chance.randrange(90_000), output_tokens=chance.randrange(90_000))
        if row.request is not None or (row.when and row.when[0].service_tier is None and row.when[0].region is None):
            usage = Usage(chance.randrange(1_000), output_tokens=usage.output_tokens)
        exact = Fraction(row.input or 0) * usage.input_tokens + Fraction(row.output or 0) * usage.output_tokens
        nano = exact * 1000 + Fraction(row.request or 0) * 10**9
        whole = (Decimal(nano.numerator) / Decimal(nano.denominator)).to_integral_value(ROUND_CEILING)
        assert cost(usage, price(name, row), PEAK) == int(whole), name
