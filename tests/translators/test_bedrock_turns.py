"""Messages as Converse's system and turns."""

from typing import Any

import orjson
import pytest

from tests.translators.bedrock_types import assert_valid
from translators import bedrock
from translators.errors import LLMError
from translators.exchange import NONE, Context, Endpoint, Json, ModelFacts
from translators.recall import text_key
from translators.tools import wire_name

USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
THINKS = ModelFacts(thinking="adaptive", own_words="anthropic", prefill=False)


def sent(*messages: Json, facts: ModelFacts = THINKS, remembered: Any = NONE) -> tuple[Json, dict[str, str]]:
    made = bedrock.request(
        {"model": "m", "messages": list(messages)}, Endpoint("b", "https://h", "k", "m", facts), {}, remembered
    )
    body: Json = orjson.loads(made.body)
    assert_valid(body)
    return body, {lost.feature: lost.why for lost in made.dropped}


def test_system_messages_lead_and_later_ones_stay_where_they_are() -> None:
    first, later = {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Now in French."}
    body, _ = sent(first, USER, {"role": "assistant", "content": "Hello"}, later, USER)
    assert body["system"] == [{"text": "Be brief."}]
    assert body["messages"][-1]["content"] == [{"text": "<system>\nNow in French.\n</system>"}, {"text": "Hi"}]
    body, _ = sent(first, USER, later, facts=ModelFacts(mid_system=True))
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "Hi"}]},
        {"role": "system", "content": [{"text": "Now in French."}]},
    ]


def test_a_conversation_of_system_messages_alone_is_asked_as_the_user() -> None:
    assert sent({"role": "system", "content": "Say hi."})[0] == {
        "messages": [{"role": "user", "content": [{"text": "Say hi."}]}]
    }
    with pytest.raises(LLMError):
        sent({"role": "user", "content": " "})


def test_parallel_results_are_one_turn_and_come_first_in_it() -> None:
    second = {**CALL, "id": "c2"}
    picture = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}}
    body, _ = sent(
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, second]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"t": 3}'},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "no"}, picture], "is_error": True},
        {"role": "user", "content": "Well?"},
    )
    assert body["messages"][1]["content"] == [
        {"text": "Let me see."},
        {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "c2", "name": "f", "input": {"a": 1}}},
    ]
    image = {"image": {"format": "gif", "source": {"bytes": "R0lGODlhAQABAAAAACw="}}}
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "c1", "content": [{"text": '{"t": 3}'}]}},
        {"toolResult": {"toolUseId": "c2", "content": [{"text": "no"}, image], "status": "error"}},
        {"text": "Well?"},
    ]


def test_arguments_that_are_no_object_go_wrapped_and_ids_are_made_fit() -> None:
    broken = {"id": "call|1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    body, _ = sent(
        USER, {"role": "assistant", "tool_calls": [broken]}, {"role": "tool", "tool_call_id": "call|1", "content": ""}
    )
    use = body["messages"][1]["content"][0]["toolUse"]
    assert use["input"] == {"invalid_arguments": '{"a":'}
    assert use["toolUseId"] == wire_name("call|1") == body["messages"][2]["content"][0]["toolResult"]["toolUseId"]
    assert wire_name("call|1") != wire_name("call_1") and wire_name("a" * 70) != wire_name("a" * 71)


def test_deprecated_calls_are_answered_by_name() -> None:
    body, _ = sent(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    )
    assert body["messages"][2]["content"][0]["toolResult"]["toolUseId"] == "call_1"
    with pytest.raises(LLMError):
        sent(USER, {"role": "function", "name": "g", "content": "1"})


def test_cache_points_stand_behind_what_is_marked_and_never_within_a_result() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    body, _ = sent(
        {"role": "system", "content": [{"type": "text", "text": "Long.", **mark}]},
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "x", **mark}]},
        {"role": "user", "content": "Go", "cache_control": {"type": "ephemeral"}},
    )
    assert body["system"] == [{"text": "Long."}, point]
    assert body["messages"][-1]["content"] == [
        {"toolResult": {"toolUseId": "c1", "content": [{"text": "x"}]}},
        point,
        {"text": "Go"},
        {"cachePoint": {"type": "default"}},
    ]


# Reasoning.

SIGNED = {"type": "reasoning.text", "format": "anthropic-claude-v1", "text": "Hm.", "signature": "sig", "index": 0}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "1"}


def test_signed_reasoning_that_the_client_sends_goes_back_in_front() -> None:
    hidden = {"type": "reasoning.encrypted", "format": "anthropic-claude-v1", "data": "AAAA", "block_index": 1}
    told = {"role": "assistant", "tool_calls": [CALL], "reasoning_details": [SIGNED, hidden]}
    body, dropped = sent(USER, told, RESULT)
    redacted = {"reasoningContent": {"redactedContent": "AAAA"}}
    assert body["messages"][1]["content"][:2] == [THOUGHT, redacted] and not dropped
    body, dropped = sent(USER, told, RESULT, facts=ModelFacts())
    assert "toolUse" in body["messages"][1]["content"][0] and "reasoning_details" in dropped


def test_what_was_remembered_goes_back_where_the_model_had_put_it() -> None:
    layout = [THOUGHT, {"text": 3}, THOUGHT, {"call": "c1"}]
    told = {"role": "assistant", "content": "Yes", "tool_calls": [CALL]}
    body, _ = sent(USER, told, RESULT, remembered={"c1": {"bedrock": layout}})
    use = {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}}
    assert body["messages"][1]["content"] == [THOUGHT, {"text": "Yes"}, THOUGHT, use]
    body, _ = sent(
        USER, {"role": "assistant", "content": "Yes"}, USER, remembered={text_key("Yes"): {"bedrock": layout[:2]}}
    )
    assert body["messages"][1]["content"] == [THOUGHT, {"text": "Yes"}]


def test_unsigned_reasoning_is_left_out_and_reported() -> None:
    body, dropped = sent(USER, {"role": "assistant", "content": "A", "reasoning_content": "Hm."}, USER)
    assert body["messages"][1]["content"] == [{"text": "A"}] and "reasoning_content" in dropped


def test_server_tool_blocks_go_back_in_converses_words() -> None:
    use = {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "input": {}, "type": "server_tool_use"}}
    result = {"toolResult": {"toolUseId": "s1", "content": [{"json": {"a": 1}}], "status": "success"}}
    blocks = [{**use, "index": 0, "block_index": 0}, {**result, "index": 1, "block_index": 1}]
    body, _ = sent(USER, {"role": "assistant", "content": "A", "server_tool_blocks": blocks}, USER)
    assert body["messages"][1]["content"] == [use, result, {"text": "A"}]


def test_what_a_client_without_extensions_needs_on_turn_two_survives() -> None:
    answer: Json = {
        "output": {
            "message": {
                "role": "assistant",
                "content": [THOUGHT, {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}}],
            }
        },
        "stopReason": "tool_use",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    }
    given = bedrock.response(orjson.dumps(answer), Context(), 1, "r")
    message = orjson.loads(given.body)["choices"][0]["message"]
    plain = {"role": "assistant", "content": message["content"], "tool_calls": message["tool_calls"]}
    body, _ = sent(USER, plain, RESULT, remembered=given.remember)
    assert body["messages"][1]["content"] == answer["output"]["message"]["content"]
