"""What is known of a model, and what of one that is not listed."""

import pytest

from gateway.config import load
from gateway.prices.facts import Facts, Listed, ModelList
from translators.exchange import ModelFacts

SHIPPED = load(None, None, None, {}).facts


def facts() -> Facts:
    rows = {
        "claude-x-5-5": {"max_output_tokens": 1},
        "claude-x-5-5-20260101": {"max_output_tokens": 2},
        "host/claude-x-5-5": {"max_output_tokens": 3},
        "claude-*": {"max_output_tokens": 4},
        "claude-x-*": {"max_output_tokens": 5},
        "ft:gpt-4o-2024-08-06": {"max_output_tokens": 6},
        "gpt-oss": {"max_output_tokens": 7},
        "host/only-here": {"max_output_tokens": 8},
    }
    return Facts(ModelList.model_validate({"models": rows}))


@pytest.mark.parametrize(
    ("provider", "model", "limit"),
    [
        ("anthropic", "claude-x-5-5", 1),
        ("host", "claude-x-5-5", 3),
        ("anthropic", "claude-x-5-5-20260101", 2),
        ("anthropic", "claude-x-5-5-20260202", 1),  # a snapshot that is not listed is its model
        ("anthropic", "claude-x-5-5-latest", 1),
        ("openrouter", "anthropic/claude-x-5.5", 1),
        ("openrouter", "anthropic/claude-x-5.5:free", 1),
        ("gemini", "models/claude-x-5-5", 1),
        ("vertex", "claude-x-5-5@20260303", 1),
        ("anthropic", "claude-x-9", 5),  # the longest pattern
        ("anthropic", "claude-y", 4),
        ("openrouter", "anthropic/claude-y", 4),
        ("openai", "ft:gpt-4o-2024-08-06:acme::abc", 6),
        ("groq", "openai/gpt-oss", 7),
        ("host", "only-here", 8),
        ("other", "only-here", None),  # what one host says of itself holds there alone
        ("other", "unheard-of", None),
    ],
)
def test_a_model_is_found_under_the_names_that_hosts_give_it(provider: str, model: str, limit: int | None) -> None:
    assert facts().lookup(provider, model).max_output_tokens == limit


@pytest.mark.parametrize(
    ("model", "publisher"),
    [
        ("claude-sonnet-5-5@default", "anthropic"),
        ("gemini-3.8-flash", "google"),
        ("meta/llama-4", "meta"),
        ("anthropic/unheard-of", "anthropic"),
        ("unheard-of", ""),
    ],
)
def test_who_made_a_model_is_in_its_name_or_listed(model: str, publisher: str) -> None:
    assert SHIPPED.publisher(model) == publisher


def test_the_longest_pattern_says_who_made_a_model() -> None:
    made = Facts(ModelList(publishers={"a-*": "one", "a-b-*": "two"}))
    assert [made.publisher(name) for name in ("a-c", "a-b-c", "b")] == ["one", "two", ""]


def test_nothing_known_is_every_default() -> None:
    assert facts().lookup("nobody", "unheard-of") == ModelFacts()
    assert Facts(ModelList()).lookup("a", "b") == ModelFacts()
    known = ModelFacts(reasons=False)  # a model that is listed at all reasons only if its row says so
    assert {name: field.default for name, field in Listed.model_fields.items()} == {
        name: getattr(known, name) for name in Listed.model_fields
    }


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("claude-haiku-5-5", {"sampling": False, "thinking": "adaptive", "thinking_always": False, "prefill": False}),
        ("claude-haiku-5-5", {"efforts": ("low", "medium", "high", "xhigh", "max"), "mid_system": True}),
        ("claude-opus-5-5", {"thinking_always": True, "forced_tool": False, "max_output_tokens": 128_000}),
        ("claude-haiku-4-5", {"sampling": True, "thinking": "budget", "efforts": (), "prefill": True}),
        ("claude-opus-4-6", {"thinking": "adaptive", "efforts": ("low", "medium", "high", "max")}),
        ("gemini-2.5-flash", {"thinking": "budget", "thinking_always": False, "audio": True, "video": True}),
        ("gemini-2.5-pro", {"thinking": "budget", "thinking_always": True}),
        ("gemini-3.8-flash", {"thinking": "level", "efforts": ("low", "medium", "high"), "sampling": False}),
        ("gemini-3.5-flash", {"thinking": "level", "efforts": ("minimal", "low", "medium", "high")}),
        ("gpt-5.4", {"efforts": ("none", "low", "medium", "high", "xhigh"), "max_input_tokens": 1_050_000}),
        ("gpt-4o", {"thinking": "none", "efforts": (), "max_output_tokens": 16_384}),
    ],
)
def test_the_shipped_facts_are_those_of_the_models(model: str, known: dict[str, object]) -> None:
    found = SHIPPED.lookup("", model)
    assert {name: getattr(found, name) for name in known} == known


def test_an_unlisted_model_of_a_family_has_the_newest_generations_manner() -> None:
    assert SHIPPED.lookup("anthropic", "claude-next-9") == SHIPPED.lookup("anthropic", "claude-sonnet-5-5")
    assert SHIPPED.lookup("gemini", "gemini-9-flash").thinking == "level"
    assert SHIPPED.lookup("gemini", "gemini-2.5-flash-something").thinking == "budget"
    assert SHIPPED.lookup("anthropic", "claude-opus-4-1-20250805").thinking == "budget"


def test_a_model_that_can_be_asked_to_think_may_reason() -> None:
    listed = Facts(ModelList.model_validate({"models": {"a": {"thinking": "budget"}, "b": {}, "c": {"reasons": True}}}))
    assert [listed.lookup("x", model).reasons for model in "abcd"] == [True, False, True, None]
