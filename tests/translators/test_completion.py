"""OpenAI's shapes, judged by OpenAI's SDK."""

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from translators import completion
from translators.errors import LLMError
from translators.usage import Usage

USED = Usage(input_tokens=5, output_tokens=3, reasoning_tokens=1)


def chunks(frames: list[bytes]) -> list[ChatCompletionChunk]:
    assert all(frame.startswith(b"data: ") and frame.endswith(b"\n\n") for frame in frames)
    return [ChatCompletionChunk.model_validate(json.loads(frame[6:])) for frame in frames]


def rebuilt(frames: list[bytes]) -> ChatCompletion:
    state: Any = ChatCompletionStreamState()
    for chunk in chunks(frames):
        state.handle_chunk(chunk)
    return ChatCompletion.model_validate(state.current_completion_snapshot.to_dict())


def test_text_and_two_tool_calls_rebuild_in_the_sdk() -> None:
    writer = completion.Chunks("chatcmpl-1", 7, "the-model")
    frames = [
        writer.delta({"reasoning_content": "hm"}),
        writer.delta({"content": "Let me "}),
        writer.delta({"content": "look."}),
        writer.delta(completion.tool_call_start(0, "c1", "weather")),
        writer.delta(completion.tool_call_arguments(0, '{"city":')),
        writer.delta(completion.tool_call_arguments(0, '"Rome"}')),
        writer.delta(completion.tool_call_start(1, "c2", "weather", "{}")),
        *writer.finish("tool_calls", "tool_use"),
        writer.usage(USED),
    ]
    whole = rebuilt(frames)
    (choice,) = whole.choices
    assert (choice.message.content, choice.finish_reason) == ("Let me look.", "tool_calls")
    calls = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
    assert [(call.name, call.arguments) for call in calls] == [("weather", '{"city":"Rome"}'), ("weather", "{}")]
    assert whole.usage is not None and whole.usage.total_tokens == 9


def test_the_role_comes_once_a_choice_and_the_head_is_stable() -> None:
    writer = completion.Chunks("chatcmpl-1", 7, "m")
    writer.extra["service_tier"] = "default"
    made = chunks([writer.delta({"content": "a"}), writer.delta({"content": "b"}, 1), writer.delta({"content": "c"})])
    assert [chunk.choices[0].delta.role for chunk in made] == ["assistant", "assistant", None]
    assert {(chunk.id, chunk.created, chunk.model, chunk.service_tier) for chunk in made} == {
        ("chatcmpl-1", 7, "m", "default")
    }


def test_the_head_may_change_between_two_pieces_of_text() -> None:
    writer = completion.Chunks("chatcmpl-1", 7, "m")
    frames = [writer.delta({"content": '"a" \u2028 é'}), writer.delta({"content": '"b" \u2028 é'})]
    writer.id, writer.extra["service_tier"] = "chatcmpl-2", "flex"
    frames += [writer.delta({"content": "c"}), writer.delta({"content": "d"})]
    made = chunks(frames)
    assert [chunk.choices[0].delta.content for chunk in made] == ['"a" \u2028 é', '"b" \u2028 é', "c", "d"]
    assert [(chunk.id, chunk.service_tier) for chunk in made] == [("chatcmpl-1", None)] * 2 + [
        ("chatcmpl-2", "flex")
    ] * 2
    assert {chunk.choices[0].index for chunk in made} == {0}


def test_an_empty_answer_still_has_a_role_and_a_finish() -> None:
    made = chunks(completion.Chunks("c", 1, "m").finish("stop"))
    assert [(chunk.choices[0].delta.role, chunk.choices[0].finish_reason) for chunk in made] == [
        ("assistant", None),
        (None, "stop"),
    ]


def test_the_usage_chunk_has_no_choices() -> None:
    (chunk,) = chunks([completion.Chunks("c", 1, "m").usage(USED)])
    assert chunk.choices == [] and chunk.usage is not None
    assert (chunk.usage.prompt_tokens, chunk.usage.completion_tokens) == (5, 4)


def test_a_whole_answer_is_valid_by_the_sdks_types() -> None:
    choices = [
        completion.choice({"content": "a"}, "stop", "end_turn"),
        completion.choice({"refusal": "no"}, "stop", index=1),
    ]
    body = completion.completion("c", 1, "m", choices, USED, {"service_tier": "priority"})
    whole = ChatCompletion.model_validate(json.loads(body))
    assert [(choice.message.content, choice.message.refusal) for choice in whole.choices] == [("a", None), (None, "no")]
    assert whole.service_tier == "priority"
    assert json.loads(body)["choices"][0]["native_finish_reason"] == "end_turn"


def test_what_is_too_deep_to_be_written_is_the_providers_fault() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    writer = completion.Chunks("c", 1, "m")
    with pytest.raises(LLMError, match="254 levels") as streamed:
        writer.delta({"beside": deep})
    with pytest.raises(LLMError, match="254 levels") as whole:
        completion.completion("c", 1, "m", [completion.choice({"beside": deep}, "stop")], USED)
    assert streamed.value.kind == whole.value.kind == "bad_upstream"


def test_a_stream_that_is_cut_ends_like_one_at_its_limit_even_before_its_first_frame() -> None:
    written = completion.Chunks("chatcmpl-1", 7, "small")
    said = [written.delta({"content": "Hal"}), written.delta({"content": "f"})]
    answer = rebuilt([*said, *completion.cut_short(said[-1], USED, {"ended_by": "budget"})])
    assert (answer.id, answer.choices[0].message.content, answer.choices[0].finish_reason) == (
        "chatcmpl-1",
        "Half",
        "length",
    )
    for text, id in (
        ("\\ud83d", "chatcmpl-1"),
        ("\\x", ""),
    ):  # half an emoji, as a host in JavaScript sends it; no JSON
        frame = said[0].replace(b"Hal", text.encode())
        last, _ = chunks(completion.cut_short(frame, USED, {"ended_by": "budget"}))
        assert (last.id, last.choices[0].finish_reason) == (id, "length")
    frame = said[0].replace(b'"chatcmpl-1"', b'{"a":' * 300 + b"1" + b"}" * 300)  # as a host may have it
    assert [chunk.id for chunk in chunks(completion.cut_short(frame, USED, {"ended_by": "budget"}))] == ["", ""]
    last, usage = chunks(completion.cut_short(b"", USED, {"ended_by": "key_gone"}))
    assert (last.choices[0].finish_reason, usage.choices) == ("length", [])
