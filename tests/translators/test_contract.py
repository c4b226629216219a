"""What holds for every dialect in the registry: a new one is picked up with no edit here."""

import json
from inspect import getmembers, isfunction
from typing import Any

import pytest
from openai.types.chat import completion_create_params

from translators import event_stream, outcomes
from translators.errors import LLMError
from translators.exchange import NONE, Context, Decoder, Endpoint, Translator
from translators.registry import TRANSLATORS

DIALECTS = pytest.mark.parametrize("translator", TRANSLATORS.values(), ids=TRANSLATORS)
ENDPOINT = Endpoint("p", "http://127.0.0.1:1", "secret-key", "the-model", unsupported="report")
TURN = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLED = [
    {"role": "user", "content": "Weather in Rome?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
            {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "warm"},
    {"role": "tool", "tool_call_id": "c2", "content": "cold"},
]
CHATS: list[dict[str, Any]] = [
    {"model": "m", "messages": TURN},
    {"model": "m", "messages": TURN, "stream": True, "stream_options": {"include_usage": True}},
    {"model": "m", "messages": TURN, "temperature": 0.5, "stop": ["a"], "max_completion_tokens": 9, "seed": 1},
    {"model": "m", "messages": CALLED, "tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": True},
]


@DIALECTS
def test_has_the_shape_of_a_translator(translator: Translator) -> None:
    names = {name for name, _ in getmembers(translator, isfunction)}
    assert {"media_urls", "request", "response", "error"} <= names
    decoder: Decoder = translator.Decoder(Context(), 0, "r")
    assert (decoder.started, decoder.output_bytes) == (False, 0) and not decoder.usage.buckets()


@DIALECTS
def test_every_parameter_of_the_sdk_has_an_outcome(translator: Translator) -> None:
    known = set(completion_create_params.CompletionCreateParamsStreaming.__annotations__)
    assert not known - set(translator.OUTCOMES)
    assert all(outcome.note for outcome in translator.OUTCOMES.values())


@DIALECTS
@pytest.mark.parametrize("chat", CHATS, ids=["plain", "stream", "limits", "tools"])
def test_a_request_is_stable_and_leaves_the_chat_alone(translator: Translator, chat: dict[str, Any]) -> None:
    before = json.dumps(chat)
    first, second = (translator.request(chat, ENDPOINT, {}, NONE) for _ in range(2))
    assert json.dumps(chat) == before
    assert first == second
    assert first.url.startswith(ENDPOINT.base_url)
    assert isinstance(json.loads(first.body), dict)
    assert "secret-key" in " ".join(first.headers.values()) and "secret-key" not in first.url
    assert first.context.include_usage is bool(chat.get("stream_options"))


@DIALECTS
def test_what_a_request_drops_was_asked_for(translator: Translator) -> None:
    chat = {"model": "m", "messages": TURN, "seed": 7, "logit_bias": {"1": 2}, "user": "u", "verbosity": "low"}
    chat |= {"max_completion_tokens": 9}
    request = translator.request(chat, ENDPOINT, {}, NONE)
    asked = {feature for feature, _ in outcomes.features(chat)}
    assert {dropped.feature for dropped in request.dropped} <= asked


@DIALECTS
@pytest.mark.parametrize("body", [b"", b"<html></html>", b"{", b"[]", b"null", b"{}", b'"text"', b"\xff\xfe"])
def test_no_answer_is_an_error_of_ours(translator: Translator, body: bytes) -> None:
    with pytest.raises(LLMError):
        translator.response(body, Context(), 0, "r")
    for status in (400, 429, 500, 503, 529):
        error = translator.error(status, {}, body)
        assert error.message and error.status >= 400
    decoder = translator.Decoder(Context(), 0, "r")
    with pytest.raises(LLMError):
        decoder.feed(body)
        decoder.close()


@DIALECTS
@pytest.mark.parametrize(("status", "ours"), [(401, 502), (404, 404), (429, 429), (500, 502), (529, 503), (504, 504)])
def test_the_status_that_the_client_sees(translator: Translator, status: int, ours: int) -> None:
    assert translator.error(status, {}, b'{"error":{"message":"no"}}').status == ours


_HALVED = rb"Hi \ud83d"
_OPENAI = (
    b'{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"length","message":'
    b'{"role":"assistant","content":"%b"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
)
_ANTHROPIC = (
    b'{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"%b"}],'
    b'"stop_reason":"max_tokens","usage":{"input_tokens":5,"output_tokens":2}}'
)
_GEMINI = (
    b'{"candidates":[{"content":{"role":"model","parts":[{"text":"%b"}]},"finishReason":"MAX_TOKENS","index":0}],'
    b'"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"totalTokenCount":7}}'
)
_BEDROCK = (
    b'{"output":{"message":{"role":"assistant","content":[{"text":"%b"}]}},"stopReason":"max_tokens",'
    b'"usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}'
)
_SHAPES = {
    "openai": "openai",
    "openrouter": "openai",
    "vertex_openai": "openai",
    "anthropic": "anthropic",
    "vertex_anthropic": "anthropic",
    "gemini": "gemini",
    "vertex": "gemini",
    "bedrock": "bedrock",
}
_BODIES = {"openai": _OPENAI, "anthropic": _ANTHROPIC, "gemini": _GEMINI, "bedrock": _BEDROCK}


@pytest.mark.parametrize("dialect", TRANSLATORS)
def test_a_whole_answer_that_was_cut_within_a_character_is_an_answer(dialect: str) -> None:
    answer = TRANSLATORS[dialect].response(_BODIES[_SHAPES[dialect]] % _HALVED, Context(), 0, "r")
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Hi \ufffd"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 2)


_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[%b]}\n\n'
_OPENAI_STREAM = (
    _CHUNK % b'{"index":0,"delta":{"content":"Hi"},"finish_reason":null}',
    _CHUNK % b'{"index":0,"delta":{},"finish_reason":"stop"}',
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\ndata: [DONE]\n\n',
)
_ANTHROPIC_STREAM = (
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n',
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"input_tokens":5,"output_tokens":2}}\n\n',
    b'data: {"type":"message_stop"}\n\n',
)
_GEMINI_STREAM = (
    b'data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]},"index":0}]}\n\n',
    b'data: {"candidates":[{"finishReason":"STOP","index":0}]}\n\n',
    b'data: {"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"totalTokenCount":7}}\n\n',
)
_BEDROCK_STREAM = tuple(
    event_stream.encode({":message-type": "event", ":event-type": kind}, payload)
    for kind, payload in (
        ("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}'),
        ("messageStop", b'{"stopReason":"end_turn"}'),
        ("metadata", b'{"usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}'),
    )
)
_STREAMS = {
    "openai": _OPENAI_STREAM,
    "anthropic": _ANTHROPIC_STREAM,
    "gemini": _GEMINI_STREAM,
    "bedrock": _BEDROCK_STREAM,
}


@pytest.mark.parametrize("dialect", TRANSLATORS)
def test_a_stream_is_finished_before_it_is_done_and_what_follows_all_the_same_counts(dialect: str) -> None:
    said, finish, rest = _STREAMS[_SHAPES[dialect]]
    decoder = TRANSLATORS[dialect].Decoder(Context(), 0, "r")
    assert not decoder.finished
    decoder.feed(said)
    assert not decoder.finished
    decoder.feed(finish)
    assert (decoder.finished, decoder.done, decoder.output_bytes) == (True, False, 2)
    decoder.feed(said)
    assert decoder.output_bytes == 4
    decoder.feed(rest)
    decoder.close()
    assert decoder.finished
    assert (decoder.usage.prompt_tokens, decoder.usage.completion_tokens) == (5, 2)


_LONG = '{"n":[-123456789012345678901234567890,1.5],"text":"\\ud83d\\ude00 é"}'


@DIALECTS
def test_a_number_that_a_client_sends_back_keeps_its_digits(translator: Translator) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": _LONG}}
    messages = [
        TURN[1],
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": _LONG},
    ]
    made = translator.request({"model": "m", "messages": messages, "tools": [WEATHER]}, ENDPOINT, {}, NONE)
    assert made.body.count(b"-123456789012345678901234567890") == 2
    assert json.loads(made.body)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (
            "anthropic",
            '{"type":"message","stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":2},'
            '"content":[{"type":"text","text":"\\ud83d"},{"type":"tool_use","id":"c","name":"f","input":%s}]}',
        ),
        (
            "bedrock",
            '{"stopReason":"tool_use","usage":{"inputTokens":5,"outputTokens":2},"output":{"message":{"content":'
            '[{"text":"\\ud83d"},{"toolUse":{"toolUseId":"c","name":"f","input":%s}}]}}}',
        ),
    ],
)
def test_a_number_that_a_model_writes_keeps_its_digits(dialect: str, body: str) -> None:
    answer = TRANSLATORS[dialect].response((body % _LONG).encode(), Context(), 0, "r")
    message = json.loads(answer.body)["choices"][0]["message"]
    assert message["content"] == "\ufffd"
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == json.loads(_LONG)
    assert answer.usage.completion_tokens == 2
