"""Several answers as the choices of one."""

import json
from typing import Any

import pytest

from tests.replay import body_of, recording
from translators import anthropic, choices, gemini, openai, openrouter
from translators.errors import LLMError
from translators.exchange import Answer, Context, Endpoint, ModelFacts
from translators.outcomes import calls
from translators.recall import text_key
from translators.usage import Usage

BODY = body_of(recording("anthropic.messages", "fef71385d643"))


def answer(text: str, usage: Usage, name: str) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": name, "created": 1, "choices": [choice], "usage": {"prompt_tokens": 99}, "service_tier": "default"}
    return Answer(json.dumps(body).encode(), usage, {name: {"signature": "s"}})


def test_whole_answers_are_merged_with_all_that_they_used() -> None:
    first = Usage(input_tokens=5, output_tokens=2, reasoning_tokens=1, service_tier="standard", cost_usd="0.1")
    whole = choices.merged([answer("a", first, "x"), answer("b", Usage(input_tokens=5, cost_usd="0.25"), "y")])
    body = json.loads(whole.body)
    assert [(choice["index"], choice["message"]["content"]) for choice in body["choices"]] == [(0, "a"), (1, "b")]
    assert (body["id"], body["service_tier"]) == ("x", "default")
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (10, 3)
    assert body["usage"]["cost"] == 0.35
    assert whole.usage.cost_usd == "0.35" and whole.usage.service_tier == "standard"
    assert set(whole.remember) == {"x", "y"}


def test_one_answer_without_a_price_leaves_no_price_for_all() -> None:
    whole = choices.merged([answer("a", Usage(cost_usd="1"), "x"), answer("b", Usage(), "y")])
    assert whole.usage.cost_usd is None and "cost" not in json.loads(whole.body)["usage"]


DEEP = b'{"choices":[{"index":0,"message":{},"x":' + b"[" * 300 + b"]" * 300 + b"}]}"


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_too_deep_to_write_again_is_an_error_of_ours(stream: bool) -> None:
    with pytest.raises(LLMError, match="nested deeper"):
        if stream:
            choices.Decoder([], Context(), 1, "r", ()).framed(0, [b"data: " + DEEP + b"\n\n"])
        else:
            choices.merged([Answer(DEEP, Usage())])


def decoder(include_usage: bool = True) -> choices.Decoder:
    made = [anthropic.Decoder(Context(), 1, id) for id in choices.request_ids("r", 2)]
    return choices.Decoder(made, Context(include_usage=include_usage), 1, "r", ())


def fed(several: choices.Decoder, *indexes: int) -> list[dict[str, Any]]:
    frames = []
    for at in range(0, len(BODY), 50):
        for index in indexes:
            frames += several.feed(choices.piece(index, BODY[at : at + 50]))
    for index in indexes:
        frames += several.feed(choices.piece(index, b""))
    return [json.loads(frame[5:]) for frame in frames]


@pytest.mark.parametrize("asked", [True, False])
def test_streams_are_interleaved(asked: bool) -> None:
    several = decoder(asked)
    chunks = fed(several, 1, 0)
    assert [chunk["choices"][0]["index"] for chunk in chunks[:2]] == [1, 0]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert sum(choice["finish_reason"] is not None for chunk in chunks for choice in chunk["choices"]) == 2
    last = [json.loads(frame[5:]) for frame in several.close()]
    alone = anthropic.Decoder(Context(), 1, "r")
    alone.feed(BODY)
    assert several.usage.prompt_tokens == 2 * alone.usage.prompt_tokens > 0
    assert several.output_bytes == 2 * alone.output_bytes
    assert [chunk["usage"]["prompt_tokens"] for chunk in last] == [several.usage.prompt_tokens] * asked


def test_the_last_streams_end_is_remembered_and_told_with_the_cost_of_all() -> None:
    """The relay reads no further once each has said [DONE]: no end of theirs is fed."""
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "index": 0}
    made = [openrouter.Decoder(Context("m"), 1, id) for id in choices.request_ids("r", 2)]
    several = choices.Decoder(made, Context(include_usage=True), 1, "r", ())
    frames = []
    for index, cost in enumerate((0.1, 0.2)):
        delta = {"content": f"Answer {index}", "reasoning_details": [detail]}
        chunk = {
            "id": f"gen-{index}",
            "created": 7 + index,
            "model": "a/m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": cost},
        }
        frames += several.feed(choices.piece(index, b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()))
    assert several.done and not several.remember
    closed = several.close()
    assert len(frames) == 2 and len(closed) == 1
    told = [json.loads(frame[5:]) for frame in (*frames, *closed)]
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in told} == {("gen-0", 7, "a/m")}
    assert told[-1]["usage"]["cost"] == 0.3 and told[-1]["usage"]["prompt_tokens"] == 10
    assert set(several.remember) == {text_key("Answer 0"), text_key("Answer 1")}


def test_half_an_emoji_does_no_harm() -> None:
    frame = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}\n\n'
    (made,) = choices.Decoder([], Context(), 1, "r", ()).framed(1, [frame])
    assert json.loads(made[5:])["choices"][0] == {"index": 1, "delta": {"content": "\ufffd"}, "finish_reason": None}


def test_an_answer_that_is_not_at_its_end_is_an_error() -> None:
    several = decoder()
    fed(several, 0)
    with pytest.raises(LLMError):
        several.close()
    with pytest.raises(LLMError, match="ended before"):
        several.feed(choices.piece(1, b""))


def test_all_are_finished_once_each_is_however_it_came_to_its_end() -> None:
    made = [dialect.Decoder(Context(), 1, "r") for dialect in (gemini, openai, openai)]
    several = choices.Decoder(made, Context(), 1, "r", ())
    word = b'data: {"id":"i","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":%b}]}\n\n'
    several.feed(choices.piece(0, b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n'))
    several.feed(choices.piece(1, word % b"null" + b"data: [DONE]\n\n"))
    several.feed(choices.piece(2, word % b'"stop"'))
    assert not several.finished  # the first may have more to say
    several.feed(choices.piece(0, b""))
    assert several.finished and not several.done


def test_a_hosts_frame_that_is_no_json_is_an_error_of_ours() -> None:
    made = [openai.Decoder(Context(), 1, "r") for _ in range(2)]
    several = choices.Decoder(made, Context(), 1, "r", ())
    good = b'data: {"id":"i","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    assert several.feed(choices.piece(0, good))
    with pytest.raises(LLMError):
        several.feed(choices.piece(0, good.replace(b'"id":"i"', b'"id":i')))


def test_made_up_ids_differ_between_the_choices() -> None:
    assert choices.request_ids("r", 3) == ["r", "r_1", "r_2"]


@pytest.mark.parametrize(
    ("table", "facts", "stream", "drop", "expected"),
    [
        (anthropic.OUTCOMES, ModelFacts(), False, (), 3),
        (openai.OUTCOMES, ModelFacts(), True, (), 1),
        (openai.OUTCOMES, ModelFacts(), True, ("n",), 3),
        (gemini.OUTCOMES, ModelFacts(thinking="budget"), False, (), 1),
        (gemini.OUTCOMES, ModelFacts(thinking="budget"), True, (), 3),
        (gemini.OUTCOMES, ModelFacts(thinking="level"), False, (), 3),
    ],
    ids=["anthropic", "openai", "a host without n", "gemini 2.5", "gemini 2.5 streaming", "gemini 3"],
)
def test_how_many_calls_the_choices_take(
    table: Any, facts: ModelFacts, stream: bool, drop: tuple[str, ...], expected: int
) -> None:
    endpoint = Endpoint("p", "http://127.0.0.1:1", None, "m", facts, drop=frozenset(drop))
    assert calls({"n": 3, "stream": stream, "messages": []}, table, endpoint) == expected
    assert calls({"stream": stream, "messages": []}, table, endpoint) == 1
