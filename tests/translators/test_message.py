"""A message as it is handed out: texts, calls in each of their forms, and what is remembered of it."""

from typing import Any

from translators.exchange import Context
from translators.message import Message
from translators.recall import text_key

Json = dict[str, Any]


def call(message: Message, id: str, wire: str, *parts: str) -> list[Json]:
    begun, deltas = message.begin_call(id, wire)
    deltas += [delta for part in parts for delta in message.carry_on(begun, part)]
    return [*deltas, *message.end_call(begun, "".join(parts))]


def test_text_is_said_and_what_is_none_is_not() -> None:
    message = Message(Context())
    assert [*message.say(""), *message.say(None)] == [] and message.silent
    assert list(message.say("é!")) == [{"content": "é!"}]
    assert message.length == 2 and not message.silent


def test_a_function_is_called_under_the_clients_name() -> None:
    message = Message(Context(tool_names={"f_1": "f.1"}))
    first, *rest = call(message, "c1", "f_1", '{"a"', ":1}")
    assert first["tool_calls"][0] == {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "f.1", "arguments": ""},
    }
    assert [delta["tool_calls"][0]["function"]["arguments"] for delta in rest] == ['{"a"', ":1}"]
    assert call(message, "c2", "g")[0]["tool_calls"][0]["index"] == 1
    assert message.finish_reason("stop") == "tool_calls" and message.finish_reason("length") == "length"


def test_a_custom_tools_call_comes_whole() -> None:
    message = Message(Context(custom_tools=frozenset({"free"})))
    (delta,) = call(message, "c1", "free", '{"input":', ' "x"}')
    assert delta["tool_calls"] == [{"index": 0, "id": "c1", "type": "custom", "custom": {"name": "free", "input": "x"}}]


def test_a_client_of_functions_hears_of_one_call() -> None:
    message = Message(Context(function_call=True))
    assert call(message, "c1", "f", "{}") == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ]
    assert call(message, "c2", "g", "{}") == []
    assert message.finish_reason("stop") == "function_call"


def test_the_tool_that_stands_in_for_a_form_is_content() -> None:
    message = Message(Context(json_tool="json_output"))
    assert call(message, "c1", "json_output", '{"a":', "1}") == [{"content": '{"a":'}, {"content": "1}"}]
    assert message.layout == [{"text": 7}]
    assert message.finish_reason("stop") == "stop"


def test_the_layout_is_remembered_under_the_first_call_else_the_text() -> None:
    message = Message(Context())
    assert message.remembered("own") == {}
    list(message.say("ab"))
    message.end_text(0)
    assert message.remembered("own") == {text_key("ab"): {"own": [{"text": 2}]}}
    call(message, "c1", "f", "{}")
    call(message, "c2", "f", "{}")
    assert message.remembered("own") == {"c1": {"own": [{"text": 2}, {"call": "c1"}, {"call": "c2"}]}}


def test_citations_and_unknown_blocks_are_numbered_each_in_their_list() -> None:
    message = Message(Context())
    assert message.cite_url({"url": "u"})["annotations"][0]["index"] == 0
    assert message.cite_url({"url": "v"})["annotations"] == [
        {"index": 1, "type": "url_citation", "url_citation": {"url": "v"}}
    ]
    assert message.cite({"page": 1}) == {"citations": [{"page": 1, "index": 0}]}
    assert message.keep({"odd": 1}, 7) == {"server_tool_blocks": [{"odd": 1, "index": 0, "block_index": 7}]}


def test_what_is_told_of_the_whole_stands_beside_a_content() -> None:
    message = Message(Context())
    assert message.last({}) == []
    assert message.last({"trace": 1}) == [{"content": "", "trace": 1}]
    list(message.say("a"))
    assert message.last({"trace": 1}) == [{"trace": 1}]
