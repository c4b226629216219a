"""Effort as each kind of model knows it; both hosts of Claude's dialects test what they make of it."""

from typing import Any

import pytest

from translators.effort import BUDGETS, LEAST_BUDGET, is_thinking, thinking
from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped

BUDGET = ModelFacts(thinking="budget")
ADAPTIVE = ModelFacts(thinking="adaptive", efforts=("low", "high"))
ALWAYS = ModelFacts(thinking="adaptive", thinking_always=True, efforts=("low", "high"))


def asked(
    facts: ModelFacts, max_tokens: int = 100_000, forced: bool = False, **chat: Any
) -> tuple[Any, Any, list[str]]:
    """`thinking`, the level and why things were lost."""
    report: list[Dropped] = []
    made, level = thinking(chat, facts, max_tokens, forced=forced, unset="unset", report=report)
    return made, level, [lost.why for lost in report]


@pytest.mark.parametrize("effort", BUDGETS)
def test_a_budget_stays_within_the_answers_limit(effort: str) -> None:
    assert asked(BUDGET, reasoning_effort=effort) == ({"type": "enabled", "budget_tokens": BUDGETS[effort]}, None, [])
    cut, _, _ = asked(BUDGET, 2000, reasoning_effort=effort)
    assert LEAST_BUDGET <= cut["budget_tokens"] <= 1600
    made, _, (why,) = asked(BUDGET, LEAST_BUDGET, reasoning_effort=effort)
    assert made is None and "max_completion_tokens" in why


def test_a_level_is_the_nearest_from_below() -> None:
    on = {"type": "adaptive", "display": "summarized"}
    assert asked(ADAPTIVE, reasoning_effort="high") == (on, "high", [])
    assert asked(ADAPTIVE, reasoning_effort="medium")[:2] == (on, "low")
    made, level, (why,) = asked(ADAPTIVE, reasoning_effort="minimal")
    assert (made, level) == (on, "low") and "minimal" in why


def test_none_turns_it_off_where_that_can_be() -> None:
    assert asked(ADAPTIVE, reasoning_effort="none") == ({"type": "disabled"}, None, [])
    made, level, (why,) = asked(ALWAYS, reasoning_effort="none")
    assert made is None and level == "low" and "always reasons" in why


def test_what_cannot_be_is_told() -> None:
    assert asked(ModelFacts(), reasoning_effort="low") == (None, None, ["unset"])
    assert asked(ModelFacts(), reasoning_effort="none") == asked(ModelFacts()) == (None, None, [])
    made, level, (why,) = asked(ADAPTIVE, forced=True, reasoning_effort="low")
    assert made is None and level == "low" and "call a tool" in why
    assert asked(ALWAYS, forced=True, reasoning_effort="low")[0] is not None


def test_the_clients_own_thinking_goes_first_and_nonsense_is_refused() -> None:
    own = {"type": "enabled", "budget_tokens": 7}
    assert asked(ADAPTIVE, thinking=own, reasoning_effort="high") == (own, "high", [])
    with pytest.raises(LLMError) as caught:
        asked(ADAPTIVE, reasoning_effort="huge")
    assert caught.value.param == "reasoning_effort"
    with pytest.raises(LLMError) as caught:
        asked(ADAPTIVE, thinking="yes")
    assert caught.value.param == "thinking"


def test_some_think_where_nothing_is_said() -> None:
    assert is_thinking(None, ADAPTIVE) and is_thinking(None, ALWAYS) and is_thinking({"type": "enabled"}, BUDGET)
    assert not is_thinking(None, BUDGET) and not is_thinking({"type": "disabled"}, ADAPTIVE)
