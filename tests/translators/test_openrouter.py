"""The openrouter dialect: OpenAI's shape, OpenRouter's cost, reasoning that survives a client that drops it."""

import copy
import json
from typing import Any

import pytest

from tests.replay import body_of, recording, recordings
from translators import openrouter
from translators.errors import LLMError
from translators.exchange import NONE, Context, Endpoint, ModelFacts, UpstreamRequest
from translators.recall import text_key, wanted

CLAUDE = "anthropic/claude-haiku-4.5"
USER = {"role": "user", "content": "Hi"}


def sent(chat: dict[str, Any], remembered: Any = NONE, **host: Any) -> tuple[UpstreamRequest, dict[str, Any]]:
    chat = {"model": "fast", "messages": [USER], **chat}
    before = copy.deepcopy(chat)
    endpoint = Endpoint(**{"provider": "p", "base_url": "http://h/api/v1", "api_key": "k", "model": CLAUDE, **host})
    made = openrouter.request(chat, endpoint, {}, remembered)
    assert chat == before  # a retry translates it again
    body: dict[str, Any] = json.loads(made.body)
    return made, body


def decoded(row: dict[str, Any], size: int = 10**9) -> openrouter.Decoder:
    body, decoder = body_of(row), openrouter.Decoder(Context(CLAUDE), 0, "r")
    for at in range(0, len(body), size):
        decoder.feed(body[at : at + size])
    decoder.close()
    return decoder


def test_the_cost_is_asked_for_and_effort_is_said_in_openrouters_words() -> None:
    made, body = sent({"reasoning_effort": "high", "stream": True})
    assert (made.url, made.headers["authorization"]) == ("http://h/api/v1/chat/completions", "Bearer k")
    assert body == {
        "model": CLAUDE,
        "messages": [USER],
        "stream": True,
        "reasoning": {"effort": "high"},
        "usage": {"include": True},
        "stream_options": {"include_usage": True},
    }
    assert not made.dropped


def test_a_caller_cannot_turn_the_cost_off() -> None:
    assert sent({"usage": {"include": False}})[1]["usage"] == {"include": True}


def test_the_callers_own_reasoning_goes_before_effort() -> None:
    made, body = sent({"reasoning_effort": "high", "reasoning": {"max_tokens": 1024}})
    assert body["reasoning"] == {"max_tokens": 1024} and "reasoning_effort" not in body
    assert [drop.feature for drop in made.dropped] == ["reasoning_effort"]
    assert sent({"reasoning_effort": "low", "reasoning": {"exclude": True}})[1]["reasoning"] == {
        "exclude": True,
        "effort": "low",
    }


def test_openrouters_own_parameters_parts_and_tools_pass() -> None:
    own = {
        "provider": {"order": ["anthropic"]},
        "plugins": [{"id": "file-parser"}],
        "transforms": ["middle-out"],
        "top_k": 3,
        "tools": [{"type": "openrouter:datetime"}],
        "messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x/y"}}]}],
    }
    made, body = sent(own)
    assert {name: body[name] for name in own} == own and not made.dropped


def test_what_a_model_is_known_not_to_take_is_left_out_and_said() -> None:
    chat = {"temperature": 0.5, "top_p": 0.9, "seed": 1}
    made, body = sent(chat, facts=ModelFacts(sampling=False))
    assert {drop.feature for drop in made.dropped} == {"temperature", "top_p"}
    assert body["seed"] == 1 and not {"temperature", "top_p"} & set(body)
    assert sent(chat)[1].items() >= chat.items()


CUSTOM = [{"type": "custom", "custom": {"name": "run"}}]


@pytest.mark.parametrize(
    ("chat", "feature"),
    [
        ({"models": ["openai/o1-pro"]}, "models"),
        ({"n": 2}, "n"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": CUSTOM}, "tool:custom"),
    ],
)
def test_what_openrouter_would_forget_is_refused_by_name_or_reported(chat: dict[str, Any], feature: str) -> None:
    with pytest.raises(LLMError, match=f"`{feature}`"):
        sent(chat)
    made, body = sent({**chat, "tool_choice": "auto"} if "tools" in chat else chat, unsupported="report")
    assert [drop.feature for drop in made.dropped] == [feature]
    assert not set(chat) & set(body) and "tool_choice" not in body


def test_refusals_and_other_dialects_reasoning_are_said_in_openrouters_words() -> None:
    said = {
        "role": "assistant",
        "reasoning_content": "2+2",
        "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "No."}],
    }
    _, body = sent({"messages": [USER, said, USER]})
    assert body["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "No."}],
        "reasoning": "2+2",
    }


def test_a_format_that_an_accumulator_repeated_is_whole_again() -> None:
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1" * 3, "index": 0}
    _, body = sent({"messages": [USER, {"role": "assistant", "content": "a", "reasoning_details": [detail]}, USER]})
    assert body["messages"][1]["reasoning_details"] == [{**detail, "format": "anthropic-claude-v1"}]


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_signed_reasoning_of_a_stream_goes_back_before_its_tool_call(size: int) -> None:
    """Recorded: Claude thinks in deltas, signs, and calls a tool; the client sends back the call alone."""
    row = recording("openrouter.chat", "9b947613b470")
    remembered = decoded(row, size).remember
    ((id, _),) = remembered.items()
    call = {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    chat = {"messages": [USER, turn, {"role": "tool", "tool_call_id": id, "content": "1"}]}
    assert list(wanted({"messages": chat["messages"]})) == [id]
    _, body = sent(chat, remembered)
    (detail,) = body["messages"][1]["reasoning_details"]
    assert (detail["type"], detail["format"]) == ("reasoning.text", "anthropic-claude-v1")
    assert detail["signature"] and detail["text"] == said_in(row)
    assert "reasoning_details" not in sent(chat, remembered, model="openai/gpt-5")[1]["messages"][1]
    own = [{"type": "reasoning.text", "text": "mine", "format": "unknown", "index": 0}]
    kept = {"messages": [USER, {**turn, "reasoning_details": own}, chat["messages"][2]]}
    assert sent(kept, remembered)[1]["messages"][1]["reasoning_details"] == own


def said_in(row: dict[str, Any]) -> str:
    """The reasoning of a recorded stream, read in the plainest way."""
    lines = body_of(row).decode().splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(entry.get("text") or "" for delta in deltas for entry in delta.get("reasoning_details") or ())


def test_a_text_keeps_the_reasoning_that_stood_before_it() -> None:
    remembered = decoded(recording("openrouter.chat", "a9e2418dfdb2")).remember
    ((key, kept),) = remembered.items()
    assert key.startswith("text:") and kept["openrouter"]["maker"] == "anthropic"
    assert [entry["index"] for entry in kept["openrouter"]["reasoning_details"]] == [0]


def test_two_types_under_one_index_stay_two_entries() -> None:
    details = next(iter(decoded(recording("openrouter.chat", "0a36ba9cc666")).remember.values()))["openrouter"]
    assert [entry["type"] for entry in details["reasoning_details"]] == ["reasoning.summary", "reasoning.encrypted"]


def test_a_whole_answers_reasoning_is_remembered_where_it_is_signed_or_calls_follow() -> None:
    detail = {"type": "reasoning.text", "text": "t", "format": "unknown", "index": 0}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    def remembered(message: dict[str, Any]) -> Any:
        whole = {"model": "z-ai/glm-5", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        return openrouter.response(json.dumps(whole).encode(), Context(), 0, "r").remember

    kept = {"openrouter": {"maker": "z-ai", "reasoning_details": [detail]}}
    assert remembered({"content": "a", "reasoning_details": [detail]}) == {}
    assert remembered({"content": None, "tool_calls": [call], "reasoning_details": [detail]}) == {"c1": kept}
    signed = {**detail, "signature": "s"}
    assert list(remembered({"content": "a", "reasoning_details": [signed]})) == [text_key("a")]


def test_odd_reasoning_is_relayed_and_not_remembered() -> None:
    odd = [None, {"index": [1], "data": "x"}, 3]
    chunk = {"model": 7, "choices": [{"index": 0, "delta": {"content": "a", "reasoning_details": odd}}]}
    decoder = openrouter.Decoder(Context("m"), 0, "r")
    frames = decoder.feed(b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode())
    assert json.loads(frames[0][5:]) == chunk and decoder.close() == [] and decoder.remember == {}


HALF = rb"\ud83d"


@pytest.mark.parametrize("other", [rb"\ude00", b""], ids=["both halves", "one half"])
@pytest.mark.parametrize("place", [b"reasoning", b"content"])
def test_a_character_in_two_frames_is_remembered_whole_or_not_at_all(other: bytes, place: bytes) -> None:
    """A host in JavaScript cuts an emoji in two. What was signed goes back as it was, or not at all."""
    detail = b'"reasoning_details":[{"type":"reasoning.text","index":0,"text":"%b","signature":"s"}]'
    said = {b"reasoning": detail, b"content": b'"content":"%b"'}
    deltas = [said[b"reasoning"] % b"Hm", said[b"content"] % b"Yes", said[place] % HALF, said[place] % (other + b"!")]
    decoder = openrouter.Decoder(Context(CLAUDE), 0, "r")
    for delta in deltas:
        decoder.feed(b'data: {"choices":[{"index":0,"delta":{%b}}]}\n\n' % delta)
    decoder.feed(b"data: [DONE]\n\n")
    decoder.close()
    thought, text = ("Hm😀!", "Yes") if place == b"reasoning" else ("Hm", "Yes😀!")
    kept = {"type": "reasoning.text", "index": 0, "text": thought, "signature": "s"}
    remembered = {text_key(text): {"openrouter": {"maker": "anthropic", "reasoning_details": [kept]}}}
    assert decoder.remember == (remembered if other else {})


def test_every_recorded_answer_says_what_it_cost() -> None:
    """A caller's own key at the provider is billed there: OpenRouter's fee and that are the cost."""
    stated = []
    for row in recordings("openrouter.chat").values():
        if row["response"]["status"] == 200 and not row["stream"] and b'"cost"' in body_of(row):
            try:
                answer = openrouter.response(body_of(row), Context(), 0, "r")
            except LLMError:
                continue
            told = json.loads(answer.body)["usage"]
            own = told["cost_details"]["upstream_inference_cost"] if told.get("is_byok") else 0
            stated.append((float(answer.usage.cost_usd or "nan"), told["cost"] + own))
    assert stated and all(read == pytest.approx(cost, rel=1e-12) for read, cost in stated)
