"""The order of turns, with blocks that are as simple as can be."""

from typing import Any

import pytest

from translators.errors import LLMError
from translators.outcomes import Dropped
from translators.turns import Calls, conversation

Json = dict[str, Any]


class Plain:
    """One block a message: its text."""

    def told(self, message: Json, at: int) -> list[Json]:
        return self.said(message, at)

    def tagged(self, block: Json) -> Json:
        return {"text": f"<{block['text']}>"}

    def said(self, message: Json, at: int) -> list[Json]:
        return [{"text": message["content"]}] if message["content"] else []

    def results(self, message: Json, at: int) -> list[Json]:
        return [{"result": message["content"]}]

    def assistant(self, message: Json, at: int) -> list[Json]:
        return self.said(message, at)


def laid_out(*messages: tuple[str, str], mid_system: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """`system` and the turns, their blocks one behind the other."""
    said = [{"role": role, "content": content} for role, content in messages]
    system, turns = conversation(said, Plain(), [], mid_system=mid_system, no_names="none")
    return _joined(system), [(turn["role"], _joined(turn["content"])) for turn in turns]


def _joined(blocks: list[Json]) -> str:
    return " ".join(next(iter(block.values())) for block in blocks)


def test_leading_system_messages_are_system_and_one_side_is_one_turn() -> None:
    told = laid_out(
        *(("system", "s"), ("developer", "d"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "e"))
    )
    assert told == ("s d", [("user", "a b"), ("assistant", "c e")])


def test_results_come_first_in_their_turn() -> None:
    told = laid_out(("user", "a"), ("assistant", "c"), ("user", "u"), ("tool", "1"), ("function", "2"))
    assert told == ("", [("user", "a"), ("assistant", "c"), ("user", "1 2 u")])


def test_a_later_system_message_stays_in_its_place() -> None:
    messages = ("user", "a"), ("system", "s"), ("assistant", "c"), ("system", "t"), ("user", "b")
    assert laid_out(*messages) == ("", [("user", "a <s>"), ("assistant", "c"), ("user", "<t> b")])
    native = laid_out(*messages, mid_system=True)
    assert native == ("", [("user", "a"), ("system", "s"), ("assistant", "c"), ("user", "<t> b")])
    alone = laid_out(("user", "a"), ("assistant", "c"), ("system", "s"), mid_system=True)
    assert alone[1][-1] == ("user", "<s>")  # a turn of the user's must come before it


def test_an_assistant_who_says_nothing_ends_no_turn() -> None:
    assert laid_out(("user", "a"), ("assistant", ""), ("user", "b")) == ("", [("user", "a b")])


def test_nothing_but_system_messages_is_a_user_turn_and_nothing_at_all_is_refused() -> None:
    assert laid_out(("system", "s")) == ("", [("user", "s")])
    with pytest.raises(LLMError) as caught:
        laid_out(("system", ""), ("user", ""))
    assert caught.value.param == "messages"


def test_a_participants_name_is_reported_and_a_functions_is_none() -> None:
    report: list[Dropped] = []
    messages = [{"role": "user", "name": "ann", "content": "a"}, {"role": "function", "name": "f", "content": "1"}]
    conversation(messages, Plain(), report, mid_system=False, no_names="why")
    assert report == [Dropped("name", "why")]
    report.clear()
    messages = [{"role": "system", "name": "example_user", "content": "a"}, {"role": "user", "content": "b"}]
    conversation(messages, Plain(), report, mid_system=False, no_names="why")
    assert report == [Dropped("name", "why")]


def test_a_deprecated_call_gets_an_id_that_its_result_finds() -> None:
    calls = Calls()
    call = {"id": "call_x", "function": {"name": "g"}}
    made = calls.of({"tool_calls": [call], "function_call": {"name": "f", "arguments": "{}"}}, 3)
    assert made == [call, {"id": "call_3", "function": {"name": "f", "arguments": "{}"}}]
    assert calls.answered({"role": "function", "name": "f"}, 4) == "call_3"
    assert calls.answered({"role": "tool", "tool_call_id": "call_x"}, 5) == "call_x"
    for name in ("g", None):
        with pytest.raises(LLMError) as caught:
            calls.answered({"role": "function", "name": name}, 6)
        assert caught.value.param == "messages[6].name"
