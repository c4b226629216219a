"""The exports of both providers are read to the token and to the nano-dollar; what is none is refused."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from openai.types.admin.organization import UsageCompletionsResponse, UsageCostsResponse

from gateway.reports.provider_reports import COST, Provider, Stated, plain_name, read
from translators.errors import LLMError

EXPORTS = Path(__file__).parents[2] / "fixtures" / "reconcile"


def stated(provider: Provider, name: str) -> list[Stated]:
    return read(provider, (EXPORTS / name).read_text())


def figures(lines: list[Stated]) -> list[tuple[str, str | None, dict[str, int]]]:
    return [(line.day, line.model, {name: int(n) for name, n in line.amounts.items() if n}) for line in lines]


def test_the_fixtures_are_what_openais_sdk_reads() -> None:
    usage = UsageCompletionsResponse.model_validate_json((EXPORTS / "openai_usage.json").read_text())
    assert usage.data[0].results[0].object == "organization.usage.completions.result"
    costs = UsageCostsResponse.model_validate_json((EXPORTS / "openai_costs.json").read_text())
    assert costs.data[0].results[0].object == "organization.costs.result"


def test_openai_usage_in_disjoint_buckets() -> None:
    assert figures(stated("openai", "openai_usage.json")) == [
        (
            "2026-11-19",
            "gpt-5.4-mini-2026-03-17",
            {"input_tokens": 1000, "cache_read_tokens": 200, "output_tokens": 300},
        ),
        ("2026-11-19", "gpt-6-astra", {"input_tokens": 900, "cache_write_tokens": 100, "output_tokens": 500}),
        ("2026-11-20", "gpt-5.4-mini-2026-03-17", {"input_tokens": 50, "output_tokens": 5}),
        ("2026-11-21", None, {}),
    ]


def test_openai_costs_are_exact_and_by_the_model_of_their_line_item() -> None:
    lines = stated("openai", "openai_costs.json")
    assert [(line.model, int(line.amounts[COST])) for line in lines] == [
        ("gpt-5.4-mini-2026-03-17", 1_200_000),
        ("gpt-5.4-mini-2026-03-17", 1_800_000),
        ("gpt-6-astra", 250_000_000),
        ("gpt-5.4-mini-2026-03-17", 100_000),
    ]
    assert {line.about for line in lines} == {"cost"}


@pytest.mark.parametrize(
    "change", [str, lambda text: "\ufeff" + text.replace(",", "\t"), lambda t: t.replace("\n", "\r\n")]
)
def test_openai_csv(change: Callable[[str], str]) -> None:
    usage = read("openai", change((EXPORTS / "openai_usage.csv").read_text()))
    assert figures(usage) == [*figures(stated("openai", "openai_usage.json"))[:1], ("2026-11-20", None, {})]
    costs = read("openai", change((EXPORTS / "openai_costs.csv").read_text()))
    assert [(line.day, line.model, dict(line.amounts)) for line in costs] == [
        ("2026-11-19", None, {COST: Decimal(253_000_000)}),
        ("2026-11-20", None, {}),
    ]


def test_anthropic() -> None:
    assert figures(stated("anthropic", "anthropic_usage.json")) == [
        (
            "2026-11-19",
            "claude-haiku-5-5-20261001",
            {
                "input_tokens": 100,
                "cache_read_tokens": 1000,
                "cache_write_tokens": 50,
                "output_tokens": 40,
                "web_searches": 2,
            },
        ),
        ("2026-11-20", None, {}),
    ]
    costs = stated("anthropic", "anthropic_costs.json")
    assert [(line.model, line.amounts.get(COST)) for line in costs] == [
        ("claude-haiku-5-5-20261001", 125_000),
        ("claude-haiku-5-5-20261001", 20_000_000),
        (None, 10_000_000),
        (None, None),
    ], "amounts are cents"


def test_several_pages_in_a_list_or_line_by_line_are_one_export() -> None:
    page = json.loads((EXPORTS / "anthropic_usage.json").read_text())
    one = stated("anthropic", "anthropic_usage.json")
    assert read("anthropic", json.dumps([page, page])) == one * 2
    assert read("anthropic", f"{json.dumps(page)}\n{json.dumps(page)}\n") == one * 2
    assert read("anthropic", json.dumps(page["data"])) == one


@pytest.mark.parametrize(
    "text",
    [
        *("", "hello", "{", "[1]", '{"data": 5}', '{"error": {"message": "no"}}', "start_time\nsoon"),
        '{"data": [{"start_time": 1795046400, "results": [{"object": "organization.usage.images.result"}]}]}',
        '{"data": [{"start_time": 1795046400, "results": [{"object": "organization.costs.result",'
        ' "amount": {"value": 1, "currency": "eur"}}]}]}',
    ],
)
def test_what_is_no_export_is_refused(text: str) -> None:
    with pytest.raises(LLMError, match="not what openai exports"):
        read("openai", text)


@pytest.mark.parametrize("amount", ["NaN", "-Infinity", "1e999999999", "1e19", "x"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    cost = {"object": "organization.costs.result", "amount": {"value": amount, "currency": "usd"}}
    usage = {"object": "organization.usage.completions.result", "input_tokens": amount}
    for result in (cost, usage):
        with pytest.raises(LLMError, match="not what openai exports"):
            read("openai", json.dumps({"data": [{"start_time": 1795046400, "results": [result]}]}))
    for told in ({"amount": amount}, {"server_tool_use": {"web_search_requests": amount}}):
        with pytest.raises(LLMError, match="not what anthropic exports"):
            read("anthropic", json.dumps({"data": [{"starting_at": "2026-11-19T00:00:00Z", "results": [told]}]}))


@pytest.mark.parametrize("start", ["NaN", "Infinity", "1e300"])
def test_what_is_no_time_is_refused(start: str) -> None:
    with pytest.raises(LLMError, match="not what openai exports"):
        read("openai", f'{{"data": [{{"start_time": {start}, "results": []}}]}}')


def test_snapshots_are_their_model() -> None:
    assert plain_name("gpt-5.4-mini-2026-03-17") == plain_name("gpt-5.4-mini") == "gpt-5-4-mini"
    assert plain_name("claude-haiku-5-5-20261001") == plain_name("Claude-Haiku-5.5")
    assert plain_name("models/x-latest") == "x"
    assert plain_name("gpt-4o") != plain_name("gpt-4o-mini")
