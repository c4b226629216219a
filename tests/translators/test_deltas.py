"""Deltas put together, and counted."""

from typing import Any

from translators import deltas


def test_texts_and_arguments_are_joined_and_entries_are_added_by_index() -> None:
    message: deltas.Json = {"content": None}
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    deltas.add(
        message,
        [
            {"content": "a"},
            {"content": "b", "reasoning_details": [{"index": 0, "text": "x"}]},
            {"reasoning_details": [{"index": 0, "text": "y"}, {"index": 1, "data": "z"}]},
            {"reasoning_details": [{"index": 0, "signature": "s"}], "tool_calls": [call]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        ],
    )
    assert message["content"] == "ab"
    assert message["reasoning_details"] == [{"index": 0, "text": "xy", "signature": "s"}, {"index": 1, "data": "z"}]
    assert message["tool_calls"] == [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]


def test_a_deprecated_call_is_joined_too() -> None:
    message: deltas.Json = {}
    deltas.add(message, [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}])
    assert message == {"function_call": {"name": "f", "arguments": "{}"}}


def test_what_is_said_is_counted_in_bytes() -> None:
    custom = {"index": 1, "custom": {"input": "abc"}}
    call = {"index": 0, "function": {"arguments": "{}"}}
    assert deltas.spoken_bytes({"content": "é", "reasoning_content": "x", "tool_calls": [call, custom]}) == 8
    assert deltas.spoken_bytes({"function_call": {"arguments": "12"}, "content": None}) == 2


def test_a_whole_message_says_something_and_its_calls_have_no_index() -> None:
    silent: deltas.Json = {"content": None}
    deltas.close(silent)
    assert silent == {"content": ""}
    calling: deltas.Json = {"content": None, "tool_calls": [{"index": 0, "id": "c"}]}
    deltas.close(calling)
    assert calling == {"content": None, "tool_calls": [{"id": "c"}]}


def test_a_call_whose_index_leaves_a_gap_is_not_lost() -> None:
    call = {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message: dict[str, Any] = {"content": None}
    deltas.add(message, [{"tool_calls": [call]}])
    assert message["tool_calls"] == [call]
