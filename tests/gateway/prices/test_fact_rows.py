"""Collected facts as rows of pricing.yaml: every condition that occurs, and nothing passed over in silence."""

import json
from typing import Any

import pytest

from gateway.prices.fact_rows import LEFT_OUT, listed, rows, unknown
from gateway.prices.price_list import Row
from gateway.prices.pricing import cost, price
from translators.usage import Usage

MONDAY_S, SATURDAY_S = 4 * 86400, 2 * 86400  # 1970-01-05 and 1970-01-03, 00:00 UTC


def read(name: str, provider: str, **more: Any) -> dict[str, dict[str, Any]]:
    facts = {
        "litellm_provider": provider,
        "mode": "chat",
        "input_cost_per_token": 2e-6,
        "output_cost_per_token": 8e-6,
        "max_output_tokens": 9,
        **more,
    }
    return listed(json.dumps({name: facts, "sample_spec": {"input_cost_per_token": "in USD"}}))


def made(name: str, provider: str, **more: Any) -> Row:
    found = rows(read(name, provider, **more))
    return Row.model_validate(next(row for ours, row in found.items() if not ours.startswith("openrouter/")))


def nanousd(row: Row, usage: Usage, at_s: float = MONDAY_S) -> int:
    return cost(usage, price("m", row), at_s)


def test_the_plain_rates_are_per_million_tokens_and_exact() -> None:
    row = made("m", "openai", cache_read_input_token_cost=2.5e-7, cache_creation_input_token_cost_above_1hr=1.5e-7)
    assert nanousd(row, Usage(1, 1, cache_write_1h_tokens=1, output_tokens=1)) == 2_000 + 250 + 150 + 8_000
    assert row.provider == "openai"


def test_sizes_and_tiers_are_conditions_and_what_a_tier_lacks_rises_with_its_input() -> None:
    row = made(
        "m",
        "openai",
        input_cost_per_token_above_200k_tokens=4e-6,
        output_cost_per_token_above_200k_tokens=12e-6,
        input_cost_per_token_priority=6e-6,
    )
    assert nanousd(row, Usage(200_001)) == 200_001 * 4_000
    assert nanousd(row, Usage(1, output_tokens=1, service_tier="priority")) == 6_000 + 24_000
    assert nanousd(row, Usage(200_001, output_tokens=1, service_tier="priority")) == 200_001 * 6_000 + 24_000


def test_regions_multiply() -> None:
    assert nanousd(made("m", "openai", regional_processing_uplift_multiplier_eu=1.1), Usage(1, region="eu")) == 2_200
    claude = made("m", "anthropic", provider_specific_entry={"us": 1.1, "fast": 2})
    assert nanousd(claude, Usage(1, region="us", service_tier="fast")) == 4_400
    assert nanousd(claude, Usage(1, service_tier="priority")) == 2_000
    vertex = made("vertex_ai/gemini-9", "vertex_ai", regional_endpoint_uplift_multiplier=1.1)
    assert nanousd(vertex, Usage(1, region="regional")) == 2_200


def test_azures_zones_are_multiples_of_the_dearer_of_both_rates() -> None:
    facts = read("azure/m", "azure") | read("azure/eu/m", "azure", output_cost_per_token=10e-6)
    row = Row.model_validate(rows(facts)["azure/m"])
    assert nanousd(row, Usage(1, output_tokens=1, region="eu")) == 2_500 + 10_000


@pytest.mark.parametrize(
    ("provider", "more", "usage", "fee"),
    [
        ("openai", {}, Usage(web_searches=2), 28_000_000),
        ("gemini", {"web_search_billing_unit": "per_query"}, Usage(web_searches=2), 28_000_000),
        ("gemini", {}, Usage(web_searches=2), 14_000_000),
        ("gemini", {"google_maps_grounding_cost_per_query": 0.025}, Usage(map_searches=1), 25_000_000),
        ("perplexity", {}, Usage(web_searches=9, search_context="low"), 5_000_000),
        ("perplexity", {}, Usage(web_searches=9), 14_000_000),
    ],
)
def test_searches_have_their_fees(provider: str, more: dict[str, Any], usage: Usage, fee: int) -> None:
    sizes = {"low": 0.005 if provider == "perplexity" else 0.014, "medium": 0.014, "high": 0.014}
    more = more | {"search_context_cost_per_query": {f"search_context_size_{size}": fee for size, fee in sizes.items()}}
    name = "perplexity/m" if provider == "perplexity" else "m"
    assert nanousd(made(name, provider, **more), usage) == fee


def test_a_model_of_openais_that_always_searches_has_its_fee_by_the_request() -> None:
    row = made("gpt-9-search-api", "openai", search_context_cost_per_query={"search_context_size_low": 0.01})
    assert nanousd(row, Usage(1)) == 10_000_000 + 2_000
    assert row.web_search == 0  # asked for with `web_search_options`, which the hold counts


def test_off_peak_hours_come_with_their_days() -> None:
    windows = [
        {"hours_utc": ["00:00-01:00", "22:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
        {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
    ]
    row = made("deepseek/m", "deepseek", off_peak_pricing={"input_cost_per_token": 1e-6, "windows": windows})
    hours = {0: 1_000, 1: 2_000, 21: 2_000, 22: 1_000, 23: 1_000}
    assert {hour: nanousd(row, Usage(1), MONDAY_S + hour * 3600) for hour in hours} == hours
    assert nanousd(row, Usage(1), SATURDAY_S + 12 * 3600) == 1_000


def test_a_window_past_midnight_is_two() -> None:
    off_peak = {"input_cost_per_token": 1e-6, "hours_utc": "16:30-00:30"}
    row = made("deepseek/m", "deepseek", off_peak_pricing=off_peak)
    at = {0: 1_000, 29 * 60: 1_000, 30 * 60: 2_000, 16 * 3600: 2_000, 17 * 3600: 1_000}
    assert {second: nanousd(row, Usage(1), SATURDAY_S + second) for second in at} == at


def test_what_is_left_out_is_known_and_changes_nothing() -> None:
    left = dict.fromkeys(LEFT_OUT, 1e-6) | {"input_cost_per_token_batches": 1e-9, "output_cost_per_token_decisions": 0}
    assert made("m", "openai", **left) == made("m", "openai")
    assert unknown(read("m", "openai", **left)) == {}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"input_cost_per_smell": 1}, "input_cost_per_smell"),
        ({"input_cost_per_token_overnight": 1}, "input_cost_per_token_overnight"),
        ({"provider_specific_entry": {"eu": 1.2}}, "provider_specific_entry.eu"),
        ({"off_peak_pricing": {"months": [1]}}, "off_peak_pricing.months"),
        ({"web_search_billing_unit": "per_page"}, "web_search_billing_unit: per_page"),
        ({"surcharge": 1}, "surcharge"),
    ],
)
def test_a_field_of_which_nothing_is_known_is_named(more: dict[str, Any], field: str) -> None:
    assert unknown(read("m", "openai", **more)) == {field: "m"}


def test_capabilities_are_no_prices() -> None:
    assert unknown(read("m", "openai", supports_smell=True, supported_endpoints=["/v1/chat/completions"])) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("[]", '{"m": 1}', "models:", '{"m": {"input_cost_per_token_flex": "1"}}'),
        '{"m": {"search_context_cost_per_query": 0.01}}',
    ],
)
def test_what_is_no_collection_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        listed(text)


def test_openrouters_rates_are_the_dearest_of_any_maker() -> None:
    facts = read("m", "openai", input_cost_per_token_above_200k_tokens=9e-6) | read("c", "anthropic")
    row = Row.model_validate(rows(facts)["openrouter/*"])
    assert row.input == 9 and row.trust_provider_cost
