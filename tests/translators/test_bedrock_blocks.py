"""Converse's blocks as OpenAI's deltas."""

from typing import Any

import pytest

from translators import deltas
from translators.bedrock_blocks import FINISH, Reply
from translators.exchange import Context, Json

PLAIN = Context()


def message(*blocks: Json, context: Context = PLAIN, native: str = "end_turn") -> tuple[Json, str, Any]:
    """The whole message, its finish, and what is remembered."""
    reply, made = Reply(context), dict[str, Any]()
    for index, block in enumerate(blocks):
        deltas.add(made, reply.whole(index, block))
    last, reason = reply.finish(native, {})
    deltas.add(made, last)
    return made, reason, reply.remember


CALL = {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}}


def test_text_and_calls() -> None:
    made, reason, remembered = message({"text": "Hi"}, CALL, native="tool_use")
    assert made["content"] == "Hi" and reason == "tool_calls" and not remembered
    function = {"name": "f", "arguments": '{"a":1}'}
    assert made["tool_calls"] == [{"index": 0, "id": "t1", "type": "function", "function": function}]


def test_a_streamed_call_without_arguments_has_an_empty_object() -> None:
    reply, made = Reply(Context()), dict[str, Any]()
    deltas.add(made, reply.start(0, {"toolUse": {"toolUseId": "t", "name": "f"}}))
    deltas.add(made, reply.delta(0, {"toolUse": {"input": ""}}))
    deltas.add(made, reply.stop(0))
    assert made["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_call_whose_input_is_null_has_an_empty_object() -> None:
    made, _, _ = message({"toolUse": {**CALL["toolUse"], "input": None}})
    assert made["tool_calls"][0]["function"]["arguments"] == "{}"


def test_signed_reasoning_is_handed_out_and_remembered() -> None:
    hidden = {"reasoningContent": {"redactedContent": "AAAA"}}
    made, _, remembered = message(THOUGHT, hidden, CALL)
    assert made["reasoning_content"] == "Hm."
    head = {"format": "anthropic-claude-v1"}
    assert made["reasoning_details"] == [
        {"index": 0, "type": "reasoning.text", **head, "block_index": 0, "text": "Hm.", "signature": "sig"},
        {"index": 1, "type": "reasoning.encrypted", **head, "block_index": 1, "data": "AAAA"},
    ]
    assert remembered == {"t1": {"bedrock": [THOUGHT, hidden, {"call": "t1"}]}}


def test_unsigned_reasoning_is_not_remembered() -> None:
    made, _, remembered = message({"reasoningContent": {"reasoningText": {"text": "[REDACTED]"}}}, {"text": "A"})
    assert made["reasoning_content"] == "[REDACTED]" and not remembered


def test_cited_text_is_text_and_its_citations_say_where() -> None:
    page = {"title": "s", "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}}
    web = {"title": "W", "location": {"web": {"url": "https://w", "domain": "w"}}}
    cited = {"citationsContent": {"content": [{"text": "two"}, {"text": "!"}], "citations": [page, web]}}
    made, _, _ = message({"text": "one "}, cited)
    assert made["content"] == "one two!"
    assert made["citations"] == [{**page, "start_index": 4, "end_index": 8, "index": 0}]
    found = made["annotations"][0]["url_citation"]
    assert (found["url"], found["title"], found["start_index"], found["end_index"]) == ("https://w", "W", 4, 8)


def test_the_providers_own_tools_are_kept_and_not_handed_out_as_calls() -> None:
    use = {"toolUse": {"toolUseId": "s", "name": "nova_code_interpreter", "input": {"x": 1}, "type": "server_tool_use"}}
    result = {"toolResult": {"toolUseId": "s", "content": [{"json": {"stdOut": "7"}}], "status": "success"}}
    made, reason, _ = message(use, result, {"text": "7"}, native="tool_use")
    assert reason == "stop" and "tool_calls" not in made
    assert made["server_tool_blocks"] == [
        {**use, "index": 0, "block_index": 0},
        {**result, "index": 1, "block_index": 1},
    ]


def test_a_streamed_server_tool_is_kept_whole() -> None:
    reply, made = Reply(Context()), dict[str, Any]()
    deltas.add(made, reply.start(0, {"toolUse": {"toolUseId": "s", "name": "n", "type": "server_tool_use"}}))
    deltas.add(made, reply.delta(0, {"toolUse": {"input": '{"x"'}}))
    deltas.add(made, reply.delta(0, {"toolUse": {"input": ":1}"}}))
    deltas.add(made, reply.stop(0))
    deltas.add(made, reply.start(1, {"toolResult": {"toolUseId": "s", "status": "success"}}))
    deltas.add(made, reply.delta(1, {"toolResult": [{"json": {"a": 1}}]}))
    deltas.add(made, reply.stop(1))
    use, result = made["server_tool_blocks"]
    assert use["toolUse"]["input"] == {"x": 1} and result["toolResult"]["content"] == [{"json": {"a": 1}}]


def test_images_come_as_data_uris_and_unknown_blocks_are_kept() -> None:
    audio = {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}}
    made, _, _ = message({"image": {"format": "png", "source": {"bytes": "iVBO"}}}, audio)
    assert made["images"][0]["image_url"]["url"] == "data:image/png;base64,iVBO"
    assert made["server_tool_blocks"] == [{**audio, "index": 0, "block_index": 1}]


def test_an_image_in_pieces_is_one() -> None:
    reply, made = Reply(Context()), dict[str, Any]()
    deltas.add(made, reply.start(0, {"image": {"format": "png"}}))
    for piece in ("AQ==", "Ag=="):
        deltas.add(made, reply.delta(0, {"image": {"source": {"bytes": piece}}}))
    deltas.add(made, reply.stop(0))
    assert made["images"][0]["image_url"]["url"] == "data:image/png;base64,AQI="


IMAGE = {"format": "png"}
BLOCKED = {"error": {"message": "blocked"}}


@pytest.mark.parametrize(
    "image",
    [
        {**IMAGE, "source": {"s3Location": {"uri": "s3://b/k.png"}}},
        {**IMAGE, "source": {}, **BLOCKED},
        {**IMAGE, "source": {"bytes": ""}, **BLOCKED},
        {**IMAGE, "source": {"bytes": "AQ=="}, **BLOCKED},
        {**IMAGE, "source": {"bytes": ""}},
        IMAGE,
    ],
    ids=["in S3", "no source", "no bytes but an error", "bytes and an error", "no bytes", "nothing"],
)
def test_an_image_that_cannot_be_shown_is_kept(image: Json) -> None:
    made, _, remembered = message(THOUGHT, {"text": "see"}, {"image": image})
    assert made["content"] == "see" and "images" not in made
    assert made["server_tool_blocks"] == [{"image": image, "index": 0, "block_index": 2}]
    (layout,) = remembered.values()  # what goes back with the next turn: one with an error would be refused there
    assert layout == {"bedrock": [THOUGHT, {"text": 3}]}


@pytest.mark.parametrize(
    ("pieces", "error", "source"),
    [
        ([], {"source": {"bytes": ""}, **BLOCKED}, {}),
        (["AQ==", "Ag=="], BLOCKED, {"source": {"bytes": "AQI="}}),
    ],
    ids=["at once", "behind bytes"],
)
def test_a_streamed_image_that_fails_is_kept(pieces: list[str], error: Json, source: Json) -> None:
    reply, made = Reply(Context()), dict[str, Any]()
    deltas.add(made, reply.start(0, {"image": IMAGE}))
    for piece in pieces:
        deltas.add(made, reply.delta(0, {"image": {"source": {"bytes": piece}}}))
    deltas.add(made, reply.delta(0, {"image": error}))
    deltas.add(made, reply.stop(0))
    assert "images" not in made
    kept = {"image": {**IMAGE, **source}, "deltas": [{"image": error}]}
    assert made["server_tool_blocks"] == [{**kept, "index": 0, "block_index": 0}]


def test_the_tool_that_stands_in_for_a_format_is_content() -> None:
    made, reason, _ = message(CALL, context=Context(json_tool="f"), native="tool_use")
    assert (made["content"], reason) == ('{"a":1}', "stop") and "tool_calls" not in made


def test_custom_and_deprecated_calls_have_their_own_shapes() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "w", "input": {"input": "ls"}}}
    made, _, _ = message(use, context=Context(custom_tools=frozenset({"run"}), tool_names={"w": "run"}))
    assert made["tool_calls"] == [{"index": 0, "id": "t", "type": "custom", "custom": {"name": "run", "input": "ls"}}]
    made, reason, _ = message(CALL, context=Context(function_call=True))
    assert made["function_call"] == {"name": "f", "arguments": '{"a":1}'} and reason == "function_call"


@pytest.mark.parametrize(("native", "reason"), FINISH.items())
def test_every_stop_reason_has_a_word(native: str, reason: str) -> None:
    assert message({"text": "x"}, native=native)[1] == reason


def test_every_stop_reason_of_the_service_model_is_known() -> None:
    from botocore.session import Session  # type: ignore[import-untyped]

    shape = Session().get_service_model("bedrock-runtime").operation_model("Converse").output_shape
    assert set(shape.members["stopReason"].enum) == set(FINISH)
