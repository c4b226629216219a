"""Usage of hosts that speak OpenAI's shape: worked out by hand from the recorded objects."""

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replay import body_of, recording
from translators import openai, openai_usage
from translators.exchange import Context
from translators.openai_usage import usage_of
from translators.usage import MOST_TOKENS, Usage


@pytest.mark.parametrize(
    ("api", "id", "expected"),
    [
        ("openai.chat", "20ff24396c79", Usage(input_tokens=22, output_tokens=6, audio_output_tokens=12)),
        ("openai.chat", "00b2cdfe7e16", Usage(input_tokens=19, audio_input_tokens=2, output_tokens=1)),
        ("mistral.chat", "c27a6c0e0a45", Usage(input_tokens=1, cache_read_tokens=69, output_tokens=12)),
        (
            "mistral.chat",
            "c434b0f9ee4f",
            Usage(
                input_tokens=2, cache_read_tokens=9, audio_input_tokens=375, output_tokens=15, service_tier="standard"
            ),
        ),
        (
            "xai.chat",
            "92ff3ccc3c5c",
            Usage(
                input_tokens=9, cache_read_tokens=156, output_tokens=2, reasoning_tokens=125, cost_usd="0.0000731000"
            ),
        ),
        ("azure.chat", "e41b6aff074d", Usage(cache_read_tokens=347, output_tokens=18)),
        (
            "openrouter.chat",
            "2f99ba74a874",
            Usage(
                input_tokens=0,
                cache_read_tokens=2161,
                cache_write_tokens=7,
                output_tokens=100,
                cost_usd="0.0004970133333333333",
            ),
        ),
        (
            "openrouter.chat",
            "c07880ce4be7",  # our own key at the provider: OpenRouter charges nothing, the provider does
            Usage(input_tokens=14, output_tokens=118, reasoning_tokens=46, cost_usd="0.00417"),
        ),
    ],
)
def test_usage_of_each_hosts_spelling(api: str, id: str, expected: Usage) -> None:
    row = recording(api, id)
    if row["stream"]:
        decoder = openai.Decoder(Context(include_usage=True), 0, "r")
        decoder.feed(body_of(row))
        usage = decoder.usage
    else:
        usage = openai.response(body_of(row), Context(), 0, "r").usage
    tier = usage.service_tier if not expected.service_tier else expected.service_tier
    assert usage == _with_tier(expected, tier)


def test_perplexitys_research_reasons_beside_the_answer_and_reads_beside_the_prompt() -> None:
    """As its users record it: the costs are for 4,240 tokens at 8 USD the million and for 92,431 at 3."""
    told = {
        "prompt_tokens": 1188,
        "completion_tokens": 4240,
        "total_tokens": 5428,
        "citation_tokens": 8014,
        "num_search_queries": 54,
        "reasoning_tokens": 92431,
        "search_context_size": "high",
        "cost": {"reasoning_tokens_cost": 0.27729, "total_cost": 0.59962},
    }
    assert usage_of({"usage": told}) == Usage(
        input_tokens=1188,
        output_tokens=4240,
        reasoning_tokens=92_431,
        citation_tokens=8014,
        web_searches=54,
        search_context="high",
        cost_usd="0.59962",
    )


def _with_tier(usage: Usage, tier: str) -> Usage:
    return Usage(**asdict(usage) | {"service_tier": tier})


@pytest.mark.parametrize(
    ("told", "prompt", "cached", "written", "completion", "reasoning"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 8}, 10, 8, 0, 5, 0),  # DeepSeek
        (  # Venice
            {
                "prompt_tokens": 1670,
                "completion_tokens": 18,
                "total_tokens": 1688,
                "cache_creation_input_tokens": 6,
                "prompt_tokens_details": {"cached_tokens": 1661},
            },
            1670, 1661, 6, 18, 0,
        ),
        (  # Vercel: its price shows that the reasoning is on top
            {
                "prompt_tokens": 61,
                "completion_tokens": 10,
                "total_tokens": 71,
                "market_cost": 0.1,
                "completion_tokens_details": {"reasoning_tokens": 96},
            },
            61, 0, 0, 106, 96,
        ),
        (  # OpenRouter: its price shows that it is not
            {
                "prompt_tokens": 15,
                "completion_tokens": 256,
                "total_tokens": 271,
                "completion_tokens_details": {"reasoning_tokens": 260},
            },
            15, 0, 0, 256, 256,
        ),
        ({"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 20}, 5, 0, 0, 15, 0),  # hidden output is billed
        ({"prompt_tokens": -5, "completion_tokens": None, "total_tokens": "x"}, 0, 0, 0, 0, 0),
    ],
)  # fmt: skip
def test_usage_is_disjoint_and_never_negative(
    told: dict[str, Any], prompt: int, cached: int, written: int, completion: int, reasoning: int
) -> None:
    usage = usage_of({"usage": told})
    assert usage is not None
    assert (usage.prompt_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (prompt, cached, written)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (completion, reasoning)
    assert all(getattr(usage, name) >= 0 for name in usage.buckets())


_COUNTS = st.integers(0, 9) | st.sampled_from([0, 0, None, -1, True, 2.0, 0.5, "3", {}, {"a": 1}, MOST_TOKENS, 10**12])
_READS = ("cached_tokens", "audio_tokens", "cache_write_tokens", "text_tokens")
_MADE = ("reasoning_tokens", "audio_tokens", "image_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
_TOLD = st.fixed_dictionaries(
    {"prompt_tokens": _COUNTS, "completion_tokens": _COUNTS},
    optional={
        "total_tokens": _COUNTS,
        "prompt_tokens_details": st.dictionaries(st.sampled_from(_READS), _COUNTS) | _COUNTS,
        "completion_tokens_details": st.dictionaries(st.sampled_from(_MADE), _COUNTS) | _COUNTS,
        "num_cached_tokens": _COUNTS,
        "cost": _COUNTS,
        "service_tier": st.sampled_from(["flex", None, 5]),
    },
)


@given(_TOLD, st.booleans(), st.sampled_from([None, "", "default", "priority", 7]))
def test_the_usual_form_is_read_as_any_other(told: dict[str, Any], adds_up: bool, tier: object) -> None:
    if adds_up and isinstance(told["prompt_tokens"], int) and isinstance(told["completion_tokens"], int):
        told = {**told, "total_tokens": told["prompt_tokens"] + told["completion_tokens"]}
    answer = {"usage": told, "service_tier": tier}
    assert usage_of(answer) == openai_usage._read(answer, told)


@pytest.mark.parametrize("cached", [0, 5, 11])
@pytest.mark.parametrize("reasoning", [0, 7])
def test_openais_own_form_is_the_usual_one(cached: int, reasoning: int) -> None:
    told = {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": dict.fromkeys(_MADE, 0) | {"reasoning_tokens": reasoning},
    }
    found = openai_usage._usual({"service_tier": "default"}, told)
    assert found == Usage(
        11 - cached, cached, output_tokens=7 - reasoning, reasoning_tokens=reasoning, service_tier="default"
    )
