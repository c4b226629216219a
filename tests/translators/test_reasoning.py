"""Signed reasoning put back, with blocks that are as simple as can be."""

from typing import Any

import pytest

from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped
from translators.reasoning import FORMAT, Blocks, Turns, fitted, put_back

Json = dict[str, Any]
BLOCKS = Blocks(
    dialect="own",
    unsigned="unsigned",
    thought=lambda entry: {"thought": entry["text"]} if entry.get("signature") else None,
    served=lambda entry: {"served": entry["id"]} if "id" in entry else None,
    is_thought=lambda block: "thought" in block,
    text=lambda text: {"text": text},
    call_id=lambda block: block.get("call_id"),
)
CALLS: list[Json] = [{"call_id": "c1"}, {"call_id": "c2"}]
MESSAGE: Json = {"role": "assistant", "content": "one two", "tool_calls": [{"id": "c1"}, {"id": "c2"}]}
LAYOUT: list[Json] = [{"thought": "x"}, {"text": 4}, {"call": "c1"}, {"thought": "y"}, {"text": 3}, {"call": "c2"}]


def turn(
    message: Json, content: list[Json], calls: list[Json], layout: Any = None, *, allowed: bool = True
) -> tuple[list[Json], list[str]]:
    """The blocks, and what was lost."""
    report: list[Dropped] = []
    remembered = {"c1": {"own": layout}} if layout else {}
    made = put_back(BLOCKS, message, (content, calls), remembered, report, allowed=allowed)
    return made, [lost.feature for lost in report]


def test_what_was_remembered_goes_back_in_its_place() -> None:
    made, lost = turn(MESSAGE, [{"text": "one two"}], CALLS, LAYOUT)
    assert made == [
        *({"thought": "x"}, {"text": "one "}, {"call_id": "c1"}, {"thought": "y"}, {"text": "two"}, {"call_id": "c2"})
    ]
    assert not lost


@pytest.mark.parametrize(
    ("content", "calls"),
    [
        ([{"text": "one two three"}], CALLS),
        ([{"text": "one two", "marked": True}], CALLS),
        ([{"text": "one two"}], CALLS[::-1]),
        ([{"text": "one two"}], [*CALLS, {"point": 1}]),
    ],
    ids=["other text", "a marked text", "other calls", "something between"],
)
def test_it_goes_first_where_the_client_changed_the_message(content: list[Json], calls: list[Json]) -> None:
    assert turn(MESSAGE, content, calls, LAYOUT)[0] == [{"thought": "x"}, {"thought": "y"}, *content, *calls]


def test_what_the_client_sends_back_goes_before_what_was_remembered_by_its_place() -> None:
    details = [
        {"format": FORMAT, "signature": "s", "text": "late", "block_index": 5},
        {"format": FORMAT, "signature": "s", "text": "early", "block_index": 1},
        {"format": "another", "signature": "s", "text": "no"},
        "nonsense",
    ]
    message = {**MESSAGE, "reasoning_details": details, "server_tool_blocks": [{"id": "q", "block_index": 3}, {}]}
    made, lost = turn(message, [], CALLS, LAYOUT)
    assert made == [{"thought": "early"}, {"served": "q"}, {"thought": "late"}, *CALLS] and not lost
    made, lost = turn(message, [], CALLS, allowed=False)
    assert made == [{"served": "q"}, *CALLS] and lost == ["reasoning_details"]


def test_none_goes_where_thinking_is_off_and_the_unsigned_is_reported() -> None:
    content = [{"text": "one two"}]
    assert turn(MESSAGE, content, CALLS, LAYOUT, allowed=False) == ([*content, *CALLS], [])
    unsigned = {**MESSAGE, "reasoning_content": "hm"}
    assert turn(unsigned, content, CALLS) == ([*content, *CALLS], ["reasoning_content"])
    assert turn(unsigned, content, CALLS, LAYOUT)[1] == []


def test_thinking_gives_way_where_the_turns_do_not_allow_it() -> None:
    seen: list[bool] = []
    report: list[Dropped] = []

    def turns_with(allowed: bool) -> Turns:
        seen.append(allowed)
        return [], [{"role": "user", "content": []}]

    on = {"type": "enabled"}
    facts = ModelFacts(thinking="budget")
    assert fitted(on, {}, facts, turns_with, lambda turns: True, report)[0] == on and seen == [True]
    assert fitted(on, {}, facts, turns_with, lambda turns: False, report)[0] is None and seen == [True, True, False]
    assert [lost.feature for lost in report] == ["reasoning_effort"]
    assert fitted(on, {"thinking": on}, facts, turns_with, lambda turns: False, report)[0] == on  # the client's own
    assert fitted(None, {}, facts, turns_with, lambda turns: False, report)[0] is None and seen[-1] is False


def test_an_assistant_message_that_stands_last_needs_a_model_that_carries_it_on() -> None:
    def turns_with(allowed: bool) -> Turns:
        return [], [{"role": "assistant", "content": []}]

    assert fitted(None, {}, ModelFacts(), turns_with, lambda turns: True, [])[2][-1]["role"] == "assistant"
    with pytest.raises(LLMError) as caught:
        fitted(None, {}, ModelFacts(prefill=False), turns_with, lambda turns: True, [])
    assert caught.value.param == "messages"
