"""Several answers as the choices of one."""

import json
from typing import Any

import pytest

from tests.replay import body_of, recording
from translators import anthropic, choices, gemini, openai
from translators.errors import LLMError
from translators.exchange import Answer, Context, Endpoint, ModelFacts
from translators.outcomes import calls
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
    assert whole.usage.cost_usd == "0.35" and whole.usage.service_tier == "standard"
    assert set(whole.remember) == {"x", "y"}


def test_one_answer_without_a_price_leaves_no_price_for_all() -> None:
    assert choices.summed([Usage(cost_usd="1"), Usage()]).cost_usd is None


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
