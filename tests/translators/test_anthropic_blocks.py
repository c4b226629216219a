"""Content blocks as OpenAI's message: the cases that no recording shows."""

from typing import Any

import orjson
import pytest

from translators import anthropic
from translators.exchange import Answer, Context, Endpoint, Json, ModelFacts
from translators.recall import text_key

PLAIN = Context()


def answered(*content: Json, context: Context = PLAIN, stop: str = "end_turn", **more: Any) -> tuple[Json, Answer]:
    """The choice of a whole answer with these blocks."""
    message = {"type": "message", "id": "msg_1", "model": "claude-x", "content": content, "stop_reason": stop, **more}
    made = anthropic.response(orjson.dumps(message), context, 1, "r")
    choice: Json = orjson.loads(made.body)["choices"][0]
    return choice, made


def tool_use(id: str, name: str, input: Json) -> Json:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def streamed(context: Context, *events: Json) -> list[Json]:
    """The choices' deltas of a stream of these block events, the finish last."""
    decoder = anthropic.Decoder(context, 1, "r")
    end = [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    data = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in (*events, *end))
    choices = [orjson.loads(frame[5:])["choices"][0] for frame in [*decoder.feed(data), *decoder.close()]]
    return [
        choice["delta"] | ({"finish": choice["finish_reason"]} if choice["finish_reason"] else {}) for choice in choices
    ]


def block_events(start: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]


def json_delta(part: str) -> Json:
    return {"type": "input_json_delta", "partial_json": part}


@pytest.mark.parametrize(
    ("native", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_every_stop_reason_has_a_finish_and_is_kept(native: str, finish: str) -> None:
    choice, _ = answered({"type": "text", "text": "Hi"}, stop=native)
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (finish, native)


def test_calls_finish_as_tool_calls_unless_they_were_cut_short() -> None:
    call = tool_use("toolu_1", "f", {"a": 1})
    choice, _ = answered(call, stop="tool_use")
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]
    assert answered(call, stop="max_tokens")[0]["finish_reason"] == "length"


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "That could do harm."}
    choice, _ = answered(stop="refusal", stop_details=details)
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"] == "That could do harm."
    assert choice["message"]["stop_details"] == details


def test_names_are_the_clients_again() -> None:
    context = Context(tool_names={"a_b_1234": "a.b"})
    choice, _ = answered(tool_use("t", "a_b_1234", {}), context=context, stop="tool_use")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "a.b", "arguments": "{}"}


def test_a_custom_tools_call_is_custom_again() -> None:
    context = Context(custom_tools=frozenset({"code"}))
    expected = {"id": "t", "type": "custom", "custom": {"name": "code", "input": "x = 1"}}
    choice, _ = answered(tool_use("t", "code", {"input": "x = 1"}), context=context, stop="tool_use")
    assert choice["message"]["tool_calls"] == [expected]
    parts = [json_delta('{"inp'), json_delta('ut": "x = 1"}')]
    deltas = streamed(context, *block_events(tool_use("t", "code", {}), *parts))
    assert [delta["tool_calls"] for delta in deltas if "tool_calls" in delta] == [[{"index": 0, **expected}]]
    assert deltas[-1] == {"finish": "tool_calls"}


def test_the_json_tools_input_is_the_content() -> None:
    context = Context(json_tool="json_output")
    choice, _ = answered(tool_use("t", "json_output", {"x": 1}), context=context, stop="tool_use")
    assert choice["message"]["content"] == '{"x":1}' and "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "stop"
    parts = [json_delta('{"x"'), json_delta(": 1}")]
    deltas = streamed(context, *block_events(tool_use("t", "json_output", {}), *parts))
    assert [delta.get("content") for delta in deltas] == ['{"x"', ": 1}", None]
    assert deltas[-1] == {"finish": "stop"}


def test_a_client_of_functions_gets_a_function_call() -> None:
    context = Context(function_call=True)
    choice, _ = answered(tool_use("t", "f", {"a": 1}), context=context, stop="tool_use")
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert choice["finish_reason"] == "function_call" and "tool_calls" not in choice["message"]
    deltas = streamed(context, *block_events(tool_use("t", "f", {}), json_delta("{}")))
    assert [delta.get("function_call") for delta in deltas] == [
        {"name": "f", "arguments": ""},
        {"arguments": "{}"},
        None,
    ]


def test_a_call_whose_input_came_whole_in_its_start_loses_nothing() -> None:
    deltas = streamed(PLAIN, *block_events(tool_use("t", "f", {"a": 1})))
    said = "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas if "tool_calls" in delta)
    assert said == '{"a":1}'


def test_server_tools_and_unknown_blocks_are_kept_and_are_no_calls() -> None:
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    unknown = {"type": "hologram", "data": [1]}
    choice, _ = answered(use, unknown, {"type": "text", "text": "Hi"})
    assert choice["message"]["server_tool_blocks"] == [
        {**use, "index": 0, "block_index": 0},
        {**unknown, "index": 1, "block_index": 1},
    ]
    assert "tool_calls" not in choice["message"] and choice["finish_reason"] == "stop"
    growing = block_events({"type": "hologram"}, {"type": "hologram_delta", "data": 1})
    kept = [delta["server_tool_blocks"] for delta in streamed(PLAIN, *growing) if "server_tool_blocks" in delta]
    assert kept == [
        [{"type": "hologram", "deltas": [{"type": "hologram_delta", "data": 1}], "index": 0, "block_index": 0}]
    ]


def test_citations_point_into_the_text() -> None:
    web = {
        "type": "web_search_result_location",
        "url": "https://a.example",
        "title": None,
        "cited_text": "so",
        "encrypted_index": "e",
    }
    page = {
        "type": "page_location",
        "cited_text": "p",
        "document_index": 0,
        "start_page_number": 1,
        "end_page_number": 2,
    }
    choice, _ = answered(
        {"type": "text", "text": "Né à "},
        {"type": "text", "text": "Ulm", "citations": [web, page]},
        {"type": "text", "text": "."},
    )
    found = choice["message"]["annotations"][0]["url_citation"]
    assert choice["message"]["content"][found["start_index"] : found["end_index"]] == "Ulm"
    assert (found["url"], found["title"], found["content"]) == ("https://a.example", "", "so")
    assert choice["message"]["citations"] == [{**page, "start_index": 5, "end_index": 8, "index": 0}]


THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "sig"}


def test_reasoning_is_remembered_by_the_first_call_or_by_the_text() -> None:
    text = {"type": "text", "text": "Hi"}
    _, made = answered(THOUGHT, text, tool_use("a", "f", {}), tool_use("b", "f", {}), stop="tool_use")
    assert made.remember == {"a": {"anthropic": [THOUGHT, {"text": 2}, {"call": "a"}, {"call": "b"}]}}
    assert answered(THOUGHT, text)[1].remember == {text_key("Hi"): {"anthropic": [THOUGHT, {"text": 2}]}}
    assert answered(text)[1].remember == {}


def test_a_paused_turn_is_remembered_for_its_server_tools() -> None:
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    text = {"type": "text", "text": "Searching"}
    assert answered(text, use, stop="pause_turn")[1].remember == {
        text_key("Searching"): {"anthropic": [{"text": 9}, use]}
    }
    assert answered(text, use)[1].remember == {}


@pytest.mark.parametrize("sends_it_back", [True, False])
def test_a_tool_conversation_with_thinking_goes_round(sends_it_back: bool) -> None:
    """By a client that returns the whole message, and by one that knows nothing of extension fields."""
    redacted = {"type": "redacted_thinking", "data": "xyz"}
    blocks = [
        THOUGHT,
        redacted,
        {"type": "text", "text": "Let me look"},
        tool_use("a", "f", {"x": 1}),
        tool_use("b", "f", {}),
    ]
    choice, made = answered(*blocks, stop="tool_use")
    message = choice["message"]
    if not sends_it_back:
        message = {name: message[name] for name in ("role", "content", "tool_calls")}
    results = [{"role": "tool", "tool_call_id": id, "content": "ok"} for id in ("a", "b")]
    chat = {"messages": [{"role": "user", "content": "Go"}, message, *results], "reasoning_effort": "low"}
    endpoint = Endpoint(
        "anthropic", "https://api.example", "k", "claude-x", ModelFacts(thinking="budget", max_output_tokens=9000)
    )
    remembered = {} if sends_it_back else made.remember
    body, _, dropped = anthropic.messages_body(chat, endpoint, orjson.loads(orjson.dumps(remembered)))
    assert body["messages"][1] == {"role": "assistant", "content": blocks}
    assert body["thinking"]["type"] == "enabled" and dropped == ()
