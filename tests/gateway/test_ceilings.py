"""The most a request can cost, and how long its answer may be for what is held."""

import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ceilings import (
    LEAST_OUTPUT_TOKENS,
    LONGEST_OUTPUT_TOKENS,
    Quote,
    asked_length,
    highest,
    in_sight,
    lengths,
    limited,
    quotes,
)
from gateway.config import Config, load
from gateway.prices.estimate import text_alone
from gateway.prices.pricing import cost
from gateway.routing import targets_for
from translators.errors import LLMError
from translators.usage import Usage

ROUTES = """
providers:
  openai: {dialect: openai, api_key: k}
  apart: {dialect: anthropic, api_key: k}
  gemini: {dialect: gemini, api_key: k}
routes:
  small: openai/small
  both: {targets: [{model: openai/small}], fallback: [openai/dear]}
  mixed: {targets: [{model: openai/small}], fallback: [openai/no-output-rate]}
"""
MODELS = """
models:
  openai/narrow: {max_input_tokens: 32768}
  openai/silent: {}
  openai/thinking: {reasons: true}
  openai/draws: {}
  apart/adaptive: {thinking: adaptive, reasons: true}
  apart/budget: {thinking: budget}
  gemini/flash: {thinking: budget}
  openai/researches: {max_input_tokens: 1000, max_output_tokens: 2000}
"""
PRICES = """
unpriced: POLICY
models:
  slivers: {input: 0, output: 0.0005, source: made, as_of: 2026-11-20}
  gratis: {input: 0, output: 0, source: made, as_of: 2026-11-20}
  small: {input: 1, output: 10, source: made, as_of: 2026-11-20}
  narrow: {input: 1, output: 10, source: made, as_of: 2026-11-20}
  silent: {input: 1, output: 10, source: made, as_of: 2026-11-20}
  thinking: {input: 1, output: 10, source: made, as_of: 2026-11-20}
  dear: {input: 10, output: 100, source: made, as_of: 2026-11-20}
  draws: {input: 1, output: 10, image_output: 120}
  adaptive: {input: 1, output: 10, when: [{region: us, multiply: 1.1}]}
  budget: {input: 1, output: 10}
  flash: {input: 1, output: 10}
  researches: {input: 1, output: 10, citation: 2, web_search: 0.005}
  no-output-rate: {input: 1, source: made, as_of: 2026-11-20}
"""


def configured(folder: Path, policy: str = "refuse") -> Config:
    (folder / "routes.yaml").write_text(ROUTES)
    (folder / "pricing.yaml").write_text(PRICES.replace("POLICY", policy))
    (folder / "models.yaml").write_text(MODELS)
    return load(folder / "routes.yaml", folder / "pricing.yaml", folder / "models.yaml", {})


def quoted(config: Config, chat: dict[str, Any], body_bytes: int = 100) -> tuple[Quote, ...]:
    targets = targets_for(config, chat["model"], 0)
    return quotes(chat, body_bytes, targets, config.prices.unpriced, text_alone(chat), time.time())


def asking(model: str, **more: object) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}


def test_the_ceiling_is_that_of_the_dearest_target(tmp_path: Path) -> None:
    (small,) = quoted(configured(tmp_path), asking("small", max_tokens=100))
    both = quoted(configured(tmp_path), asking("both", max_tokens=100))
    assert highest({"max_tokens": 100}, both, 50).most == 10 * highest({"max_tokens": 100}, [small], 50).most
    # 100 bytes and 16 for one message, at 1,000 n$ a token; 100 tokens at 10,000 n$
    assert small.nanousd(100) == 116 * 1000 + 100 * 10_000


def test_more_choices_cost_as_much_more(tmp_path: Path) -> None:
    (three,) = quoted(configured(tmp_path), asking("small", max_tokens=100, n=3))
    assert three.nanousd(100) == 116 * 1000 + 300 * 10_000
    assert three.length(three.nanousd(100)) == 100


def test_calls_apart_are_each_rounded_up(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (three,) = quoted(config, asking("apart/slivers", max_tokens=1, n=3))
    assert three.extras.calls == 3
    (target,) = targets_for(config, "apart/slivers", 0)
    assert target.price is not None
    assert three.nanousd(1) >= 3 * cost(Usage(output_tokens=1), target.price, time.time()) == 3
    assert all(three.length(three.nanousd(length)) >= length for length in (1, 2, 7))
    (free,) = quoted(config, asking("apart/gratis", max_tokens=9, n=3))
    assert free.nanousd(9) == 0 and free.length(0) > 9


@given(held=st.integers(0, 10**9), asked=st.integers(1, 10**6), choices=st.integers(1, 8))
def test_no_answer_of_the_length_that_is_sent_can_cost_more_than_is_held(held: int, asked: int, choices: int) -> None:
    config = _CONFIG[0]
    found = quoted(config, asking("both", max_tokens=asked, n=choices))
    limits = lengths(found, held, capped=True)
    for quote in found:
        limit = limits.get(quote.target.name, asked)
        least = quote.nanousd(1)
        assert quote.nanousd(limit) <= max(held, least)
        assert limit <= asked


_CONFIG: list[Config] = []


@pytest.fixture(autouse=True)
def _configured(tmp_path_factory: pytest.TempPathFactory) -> None:
    if not _CONFIG:
        _CONFIG.append(configured(tmp_path_factory.mktemp("config")))


def test_a_limit_is_sent_where_neither_the_caller_nor_the_model_has_one(tmp_path: Path) -> None:
    found = quoted(configured(tmp_path), asking("small"))
    assert lengths(found, highest({}, found, 50).most, capped=True) == {"openai/small": LONGEST_OUTPUT_TOKENS}
    assert lengths(found, highest({}, found, 50).most, capped=False) == {}
    limited = quoted(configured(tmp_path), asking("small", max_completion_tokens=70))
    assert lengths(limited, highest({}, limited, 50).most, capped=True) == {}


def test_no_limit_is_sent_where_the_context_bounds_the_answer_and_the_budget_affords_that(tmp_path: Path) -> None:
    found = quoted(configured(tmp_path), asking("openai/narrow"))
    most = highest({}, found, 50).most
    assert most == found[0].nanousd(32_768)
    assert lengths(found, most, capped=True) == {}
    assert lengths(found, found[0].nanousd(700), capped=True) == {"openai/narrow": 700}


@pytest.mark.parametrize(
    ("model", "more", "watched"),
    [
        ("silent", {"stream": True}, True),
        ("silent", {}, False),
        ("silent", {"stream": True, "n": 2}, False),
        ("silent", {"stream": True, "prediction": {"type": "content", "content": "x"}}, False),
        ("thinking", {"stream": True}, False),
        ("small", {"stream": True}, False),  # models.yaml says nothing of it: it may reason out of sight
    ],
)
def test_no_limit_is_guessed_for_a_stream_that_is_watched(
    tmp_path: Path, model: str, more: dict[str, Any], watched: bool
) -> None:
    found = quoted(configured(tmp_path), asking(f"openai/{model}", **more))
    most = highest({}, found, 50).most
    assert most == found[0].nanousd(LONGEST_OUTPUT_TOKENS)
    assert lengths(found, most, capped=True) == ({} if watched else {f"openai/{model}": LONGEST_OUTPUT_TOKENS})
    assert lengths(found, found[0].nanousd(700), capped=True) == {f"openai/{model}": 700}


OFF = {"type": "disabled"}


@pytest.mark.parametrize(
    ("model", "more", "seen"),
    [
        ("apart/adaptive", {}, False),  # Claude 5 thinks unasked
        ("apart/adaptive", {"thinking": OFF}, True),
        ("apart/adaptive", {"reasoning_effort": "none"}, True),
        ("apart/adaptive", {"reasoning_effort": "none", "thinking": {"type": "adaptive"}}, False),
        ("apart/adaptive", {"reasoning_effort": "high", "thinking": OFF}, True),
        ("apart/budget", {}, True),  # earlier ones do when they are asked to
        ("apart/budget", {"reasoning_effort": "low"}, False),
        ("apart/budget", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, False),
        ("gemini/flash", {}, False),
        ("gemini/flash", {"reasoning_effort": "none"}, True),
        ("gemini/flash", {"reasoning_effort": "none", "thinking_config": {"thinkingBudget": -1}}, False),
        ("openai/draws", {}, False),  # a picture is no text that could be counted as it comes
    ],
)
def test_what_may_be_generated_unseen_is_told_from_the_model_and_the_request(
    tmp_path: Path, model: str, more: dict[str, Any], seen: bool
) -> None:
    chat = asking(model, stream=True, **more)
    (quote,) = quoted(configured(tmp_path), chat)
    assert in_sight(chat, quote) == seen


def test_research_that_nobody_asked_for_is_held_for(tmp_path: Path) -> None:
    (quote,) = quoted(configured(tmp_path), asking("openai/researches", max_tokens=10))
    found = Usage(20, output_tokens=10, reasoning_tokens=2000, citation_tokens=900, web_searches=54)
    assert quote.price is not None
    assert quote.nanousd(10) >= cost(found, quote.price, quote.at_s)


def test_searches_that_the_choice_bars_at_google_are_not_held_for(tmp_path: Path) -> None:
    config = configured(tmp_path)
    tools = {"tools": [{"type": "google_search"}, {"type": "google_maps"}], "web_search_options": {}}
    (plain,) = quoted(config, asking("gemini/flash", max_tokens=9))
    (barred,) = quoted(config, asking("gemini/flash", max_tokens=9, tool_choice="none", **tools))
    assert barred.nanousd(9) == plain.nanousd(9)
    with pytest.raises(LLMError):  # the model's price has no rate for searches
        quoted(config, asking("gemini/flash", max_tokens=9, **tools))


def test_a_region_that_the_request_names_itself_is_held_for(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (target,) = targets_for(config, "apart/adaptive", 0)
    assert target.price is not None
    pinned = [replace(target, price=replace(target.price, region="global"))]
    for more, most in (({}, 10_000), ({"inference_geo": "us"}, 11_000)):
        chat = asking("apart/adaptive", max_tokens=1, **more)
        (quote,) = quotes(chat, 100, pinned, "refuse", text_alone(chat), time.time())
        assert quote.nanousd(1001) - quote.nanousd(1) == 1000 * most


def test_what_is_of_no_use_is_not_held(tmp_path: Path) -> None:
    (quote,) = quoted(configured(tmp_path), asking("small"))
    ceiling = highest({}, [quote], 50)
    assert ceiling.least == quote.nanousd(LEAST_OUTPUT_TOKENS) < ceiling.usual == quote.nanousd(50) < ceiling.most
    assert (ceiling.whole, highest({"max_tokens": 9}, [quote], 50).whole) == (False, True)


def test_a_target_without_a_complete_price_is_left_out_or_refused_or_allowed(tmp_path: Path) -> None:
    mixed = asking("mixed", max_tokens=10)
    assert [quote.target.model for quote in quoted(configured(tmp_path), mixed)] == ["small"]
    with pytest.raises(LLMError) as caught:
        quoted(configured(tmp_path), asking("openai/no-output-rate"))
    assert caught.value.code == "unpriced_model"
    allowed = quoted(configured(tmp_path, "allow"), asking("openai/no-output-rate"))
    assert [Decimal(quote.nanousd(10)) for quote in allowed] == [0]


def test_of_two_limits_the_higher_counts_and_both_are_lowered() -> None:
    chat = asking("small", max_tokens=10, max_completion_tokens=500)
    assert asked_length(chat) == 500
    assert limited(chat, 7) == chat | {"max_tokens": 7, "max_completion_tokens": 7}
    assert limited(asking("small"), 7)["max_completion_tokens"] == 7
    assert limited(chat, None) is chat


def test_a_prediction_is_held_for_as_output_beside_the_answer(tmp_path: Path) -> None:
    predicted = {"type": "content", "content": "x" * 1000}
    (plain,) = quoted(configured(tmp_path), asking("small", max_tokens=100))
    (quote,) = quoted(configured(tmp_path), asking("small", max_tokens=100, prediction=predicted))
    assert quote.nanousd(100) - plain.nanousd(100) >= 1000 * 10_000
    assert quote.length(quote.nanousd(100)) == 100
