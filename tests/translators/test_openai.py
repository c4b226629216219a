"""The openai dialect: the client's own JSON out, the host's own bytes back."""

import json
import typing
from itertools import accumulate, pairwise
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionContentPartParam,
    ChatCompletionMessageParam,
    ChatCompletionToolUnionParam,
    completion_create_params,
)

from tests.fixtures import made
from tests.replay import body_of, recording, recordings
from translators import openai
from translators.errors import LLMError
from translators.exchange import NONE, Context, Endpoint, UpstreamRequest
from translators.openai_error import failure_within
from translators.usage import Usage

HOST = Endpoint("openai", "https://api.openai.com/v1", "sk-1", "gpt-5.4")
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "model": "fast", "temperature": 0.5}


def sent(chat: dict[str, Any], **host: Any) -> tuple[UpstreamRequest, dict[str, Any]]:
    endpoint = Endpoint(**{"provider": "p", "base_url": "http://h/v1", "api_key": "k", "model": "m", **host})
    before = json.dumps(chat)
    made = openai.request(chat, endpoint, {}, NONE)
    assert json.dumps(chat) == before  # a retry translates it again
    body: dict[str, Any] = json.loads(made.body)
    return made, body


def decoded(row: dict[str, Any], size: int = 10**9, *, include_usage: bool = True, crlf: bool = False) -> Any:
    body = body_of(row).replace(b"\n", b"\r\n") if crlf else body_of(row)
    decoder = openai.Decoder(Context(include_usage=include_usage), 0, "r")
    frames = [frame for at in range(0, len(body), size) for frame in decoder.feed(body[at : at + size])]
    return frames + decoder.close(), decoder


# ── the request ──


def test_the_clients_json_goes_out_in_its_own_order_with_the_targets_model() -> None:
    request = openai.request(CHAT | {"vendor_option": {"a": 1}}, HOST, {}, NONE)
    assert request.url == "https://api.openai.com/v1/chat/completions"
    assert request.headers == {"content-type": "application/json", "authorization": "Bearer sk-1"}
    assert request.body == (
        b'{"messages":[{"role":"user","content":"Hi"}],"model":"gpt-5.4","temperature":0.5,"vendor_option":{"a":1}}'
    )
    assert request.dropped == () and not request.context.include_usage


def test_azures_deployments_stand_in_the_path_and_the_key_in_a_header_of_its_own() -> None:
    request, body = sent(CHAT, base_url="https://r.openai.azure.com", model="my gpt", api_version="2024-10-21")
    path = "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"
    assert request.url == f"https://r.openai.azure.com{path}"
    assert request.headers == {"content-type": "application/json", "api-key": "k"}
    assert body["model"] == "my gpt"
    again, _ = sent(CHAT, base_url="https://r.openai.azure.com/openai", model="my gpt", api_version="2024-10-21")
    assert again.url == request.url
    token, _ = sent(CHAT, api_key=None, api_version="2024-10-21", headers={"Authorization": "Bearer t"})
    assert token.headers == {"content-type": "application/json", "authorization": "Bearer t"}


def test_no_key_means_no_authorization_and_the_operators_headers_win() -> None:
    request, _ = sent(CHAT, api_key=None, headers={"X-Title": "us"})
    assert request.headers == {"content-type": "application/json", "x-title": "us"}


@pytest.mark.parametrize(
    ("asked", "stream_usage", "upstream", "for_client"),
    [
        (None, True, {"include_usage": True}, False),
        ({"include_usage": True}, True, {"include_usage": True}, True),
        ({"include_obfuscation": False}, True, {"include_obfuscation": False, "include_usage": True}, False),
        ({"include_usage": True}, False, None, True),
        (None, False, None, False),
    ],
)
def test_usage_is_always_asked_for_in_a_stream(asked: Any, stream_usage: bool, upstream: Any, for_client: bool) -> None:
    chat = CHAT | {"stream": True} | ({"stream_options": asked} if asked else {})
    request, body = sent(chat, stream_usage=stream_usage)
    assert body.get("stream_options") == upstream
    assert request.context.include_usage is for_client
    assert [dropped.feature for dropped in request.dropped] == (
        ["stream_options"] if asked and not stream_usage else []
    )


def test_what_a_host_does_not_take_is_left_out_and_reported() -> None:
    chat = CHAT | {"seed": 1, "user": None, "store": True}
    request, body = sent(chat, drop=frozenset({"seed", "user"}))
    assert "seed" not in body and "user" not in body and body["store"] is True
    assert [dropped.feature for dropped in request.dropped] == ["seed"]


@pytest.mark.parametrize(
    "chat", [{"max_completion_tokens": 7, "max_tokens": 9}, {"max_tokens": 9, "max_completion_tokens": 7}]
)
def test_a_renamed_parameter_is_sent_once_and_its_newer_name_wins(chat: dict[str, Any]) -> None:
    _, body = sent(CHAT | chat, rename={"max_completion_tokens": "max_tokens"})
    assert body["max_tokens"] == 7 and "max_completion_tokens" not in body


def test_reasoning_on_messages_is_kept_unless_the_host_refuses_it() -> None:
    said = {"role": "assistant", "content": "4", "reasoning_content": "2+2", "reasoning_details": [{"type": "x"}]}
    messages = [{"role": "developer", "content": "Sum"}, {"role": "user", "content": "2+2"}, said]
    assert sent(CHAT | {"messages": messages})[1]["messages"] == messages
    request, body = sent(
        CHAT | {"messages": messages},
        drop=frozenset({"message:reasoning_details"}),
        rename={"message:reasoning_content": "reasoning", "role:developer": "system"},
    )
    assert body["messages"][0] == {"role": "system", "content": "Sum"}
    assert body["messages"][2] == {"role": "assistant", "content": "4", "reasoning": "2+2"}
    assert [dropped.feature for dropped in request.dropped] == ["message:reasoning_details"]


def _types(union: Any, key: str) -> set[str]:
    hints = [typing.get_type_hints(member) for member in get_args(union)]
    return {value for hint in hints for value in get_args(hint[key])}


def test_the_table_knows_every_feature_of_the_sdk() -> None:
    parameters = set(completion_create_params.CompletionCreateParamsStreaming.__annotations__)
    roles = {f"role:{role}" for role in _types(ChatCompletionMessageParam, "role")}
    parts = {f"part:{part}" for part in _types(ChatCompletionContentPartParam, "type")}
    tools = {f"tool:{tool}" for tool in _types(ChatCompletionToolUnionParam, "type")}
    formats = {f"format:{name}" for name in _types(completion_create_params.ResponseFormat, "type")}
    features = parameters | roles | parts | tools | formats | {"part:refusal", "part:assistant_audio"}
    assert len(parameters) > 30 and len(roles) == 6 and len(parts) == 4 and len(tools) == 2 and len(formats) == 3
    assert features == set(openai.OUTCOMES)


# ── the whole answer ──


def test_a_whole_answer_is_the_hosts_own_bytes() -> None:
    rows = [row for row in recordings("openai.chat").values() if not row["stream"] and row["response"]["status"] == 200]
    assert len(rows) > 10
    for row in rows:
        answer = openai.response(body_of(row), Context(), 0, "r")
        assert answer.body == body_of(row)
        ChatCompletion.model_validate(json.loads(answer.body))


def test_whitespace_and_comments_before_the_json_do_no_harm() -> None:
    row = recording("openrouter.chat", "c07880ce4be7")
    body = body_of(row)
    assert body.startswith(b"\n   ") and openai.response(body, Context(), 0, "r").body == body
    commented = b": OPENROUTER PROCESSING\n\n" + body.lstrip()
    assert openai.response(commented, Context(), 0, "r").body == body.lstrip()


def test_a_wholly_filtered_answer_of_azure_gets_the_message_that_every_sdk_reads() -> None:
    body = json.loads(openai.response(body_of(recording("azure.chat", "ee0cf8619c97")), Context(), 0, "r").body)
    choice = ChatCompletion.model_validate(body).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("content_filter", None)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<html>Bad gateway</html>", "bad_upstream", 502),
        (b"", "bad_upstream", 502),
        (b'{"id":"x","choi', "bad_upstream", 502),
        (b"[]", "bad_upstream", 502),
        (b'{"id":"x","choices":[]}', "bad_upstream", 502),
        (b'{"choices":[null]}', "bad_upstream", 502),
        (b'{"choices":[{"finish_reason":null,"index":0}]}', "bad_upstream", 502),
        (b'{"error":{"message":"slow down","code":429},"user_id":"u"}', "rate_limit", 429),
        (b'{"object":"error","message":"too long","code":"context_length_exceeded","type":"x"}', "context_length", 400),
        (b'{"choices":[{"message":{"content":""},"finish_reason":"error"}]}', "bad_upstream", 502),
    ],
)
def test_a_200_that_is_no_answer_is_an_error(body: bytes, kind: str, status: int) -> None:
    with pytest.raises(LLMError) as caught:
        openai.response(body, Context(), 0, "r")
    assert (caught.value.kind, caught.value.status) == (kind, status)


def test_an_answer_too_deep_to_be_written_anew_is_billed_as_it_was_counted() -> None:
    used = b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}'
    filtered = b'{"choices":[{"finish_reason":"content_filter","x":' + b"[" * 300 + b"]" * 300 + b"}]," + used + b"}"
    with pytest.raises(LLMError, match="254 levels") as caught:
        openai.response(filtered, Context(), 0, "r")
    assert (caught.value.kind, caught.value.usage) == ("bad_upstream", Usage(input_tokens=3, output_tokens=1))


def test_openrouters_errors_inside_a_200_name_the_provider() -> None:
    for id, told in (("09eb220d1055", "AiError: Internal server error"), ("33dee9a955f9", "Malformed function call")):
        with pytest.raises(LLMError, match=told) as caught:
            openai.response(body_of(recording("openrouter.chat", id)), Context(), 0, "r")
        assert caught.value.kind == "bad_upstream"


# ── the stream ──

STREAMS = [
    (api, row)
    for api in (
        "openai.chat",
        "groq.chat",
        "mistral.chat",
        "deepseek.chat",
        "xai.chat",
        "openrouter.chat",
        "azure.chat",
    )
    for row in recordings(api).values()
    if row["stream"] and row["response"]["status"] == 200 and "error_midstream" not in row["features"]
]


@pytest.mark.parametrize("size", [1, 7, 10**9])
@pytest.mark.parametrize(("api", "row"), STREAMS, ids=[f"{api}-{row['id']}" for api, row in STREAMS])
def test_a_stream_is_the_hosts_own_frames_however_the_bytes_are_cut(api: str, row: dict[str, Any], size: int) -> None:
    recorded = body_of(row).split(b"\n\n")
    expected = [block + b"\n\n" for block in recorded if block.startswith(b"data:") and block != b"data: [DONE]"]
    frames, decoder = decoded(row, size)
    assert frames == expected
    assert decoder.started or "text_out" not in row["features"]
    assert decoded(row, size, crlf=True)[0] == expected


def test_openais_chunks_are_valid_by_its_types() -> None:
    for frame in decoded(recording("openai.chat", "07a7c2a17a05"), 7)[0]:
        ChatCompletionChunk.model_validate_json(frame.removeprefix(b"data: "))


def frame(*choices: Any, **more: Any) -> bytes:
    return (
        b"data: " + json.dumps({"id": "c", "choices": list(choices), **more}, separators=(",", ":")).encode() + b"\n\n"
    )


def piece(text: str | None = None, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": {} if text is None else {"content": text}, "finish_reason": finish}


def test_a_usage_frame_that_was_not_asked_for_is_taken_out_and_read() -> None:
    usage = frame(usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})
    stream = frame(piece("a"), usage=None) + frame(piece(None, "stop"), usage=None) + usage + b"data: [DONE]\n\n"
    for asked, expected in ((False, 2), (True, 3)):
        decoder = openai.Decoder(Context(include_usage=asked), 0, "r")
        assert len(decoder.feed(stream) + decoder.close()) == expected
        assert (decoder.usage.prompt_tokens, decoder.usage.completion_tokens) == (3, 1)


def test_begun_only_once_there_is_content() -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    decoder.feed(
        frame({"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": None})
    )
    assert not decoder.started
    decoder.feed(frame({"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c"}]}, "finish_reason": None}))
    assert decoder.started


def test_output_is_counted_for_an_estimate() -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    decoder.feed(frame(piece("four")) + frame(piece("five5")) + frame(piece("six six")))
    call = {"index": 0, "function": {"name": "f", "arguments": '{"a":1}'}}
    decoder.feed(frame({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}))
    assert decoder.output_bytes == 4 + 5 + 7 + 8


_LONG = "x" * 1000


@pytest.mark.parametrize(
    "beside",
    [
        [{"delta": {"content": "b", "tool_calls": [{"index": 0, "function": {"arguments": _LONG}}]}}],
        [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": _LONG}}], "content": "b"}}],
        [{"delta": {"content": "b", "reasoning_content": _LONG}}],
        [piece("b"), piece(_LONG)],
        [piece("b"), piece(_LONG, index=1)],
    ],
)
def test_what_a_frame_says_beside_its_text_is_counted_too(beside: list[dict[str, Any]]) -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    for told in (frame(piece("a")), frame(*beside), frame(*beside), frame(piece("c"))):
        assert decoder.feed(told) == [told]
    assert decoder.output_bytes == 1 + 1001 + 1001 + 1


def test_a_choice_that_begins_beside_a_text_has_to_end_too() -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    for told in (frame(piece("a")), frame(piece("b"), piece("c", index=1)), frame(piece(None, "stop"))):
        decoder.feed(told)
    with pytest.raises(LLMError, match="broke off"):
        decoder.close()


def test_usage_behind_usage_that_is_null_is_read() -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
    decoder = openai.Decoder(Context(), 0, "r")
    decoder.feed(frame(piece("a"), usage=None))
    decoder.feed(frame(piece("b"), usage=None, x_groq={"usage": usage}))
    assert (decoder.usage.prompt_tokens, decoder.usage.completion_tokens) == (4, 6)


@pytest.mark.parametrize(
    ("written", "size"), [("\\u4f60\\u597d", 6), ("\\ud83d\\ude00", 4), ('\\"\\n\\\\', 3), ("你好", 6), ("\\/", 1)]
)
def test_a_text_is_as_long_as_what_it_says_however_it_is_written(written: str, size: int) -> None:
    said = frame(piece("TEXT")).replace(b"TEXT", written.encode())
    for pieces in ([said], [said] * 4, [said * 4]):
        decoder = openai.Decoder(Context(), 0, "r")
        for data in pieces:
            decoder.feed(data)
        assert decoder.output_bytes == size * sum(data.count(said) for data in pieces)


def written(text: str) -> bytes:
    return frame(piece("TEXT")).replace(b"TEXT", text.encode())


def test_half_an_emoji_is_relayed_as_it_is_wherever_it_stands() -> None:
    halves = [written(text) for text in (r"\ud83d", r"\ude00", "a", r"b\ud83d", r"\ude00c")]
    stream = b"".join(halves) + frame(piece(None, "stop"))
    for size in (1, 7, len(halves[0]), len(stream)):
        decoder = openai.Decoder(Context(), 0, "r")
        frames = [out for at in range(0, len(stream), size) for out in decoder.feed(stream[at : at + size])]
        assert b"".join(frames + decoder.close()) == stream
        assert decoder.output_bytes == 3 + 3 + 1 + 4 + 4


def test_an_error_with_half_an_emoji_in_its_message_can_be_told() -> None:
    with pytest.raises(LLMError) as caught:
        openai.Decoder(Context(), 0, "r").feed(b'data: {"error":{"message":"no \\ud83d"}}\n\n')
    assert json.dumps(caught.value.body(), ensure_ascii=False).encode()


@pytest.mark.parametrize("text", [r"\x", r"\u12", r"a\ud83d\x", "\\\t", "\\\\\t"])
@pytest.mark.parametrize("before", [[], ["a"], ["a", "b"], [r"\n", r"\n"]])
def test_a_text_that_no_client_could_read_is_not_relayed(text: str, before: list[str]) -> None:
    told = [written(each) for each in (*before, text)]
    for pieces in (told, [b"".join(told)]):
        decoder = openai.Decoder(Context(), 0, "r")
        with pytest.raises(LLMError, match="cannot be read"):
            assert [out for data in pieces for out in decoder.feed(data)] == told[:-1]
            decoder.close()


def test_text_that_looks_like_the_protocol_is_only_text() -> None:
    said = 'event: error "error" {"finish_reason":"stop","usage":{"prompt_tokens":9}} \u2028 data: [DONE]'
    stream = frame(piece("x")) + frame(piece(said)) + frame(piece(None, "stop"))
    decoder = openai.Decoder(Context(), 0, "r")
    assert b"".join(decoder.feed(stream) + decoder.close()) == stream
    assert decoder.usage == Usage()


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"event: message\nid: 1\n" + frame(piece("a", "stop")), 1),
        (b": hi\n" + frame(piece("a", "stop")), 1),
        (b"\xef\xbb\xbf" + frame(piece("a", "stop")), 1),
        (b'data: {"choices":[\ndata: {"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n', 1),
        (frame(piece("a")) + b'data: {"type":"ping"}\n\n' + frame(piece(None, "stop")), 2),
        (frame(piece("a")) + frame(piece(None, "stop"))[:-2], 2),  # the last blank line is missing
    ],
    ids=["fields", "comment", "bom", "two lines", "no chunk", "no end"],
)
def test_other_framings_come_out_as_plain_frames(stream: bytes, frames: int) -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    out = decoder.feed(stream) + decoder.close()
    assert len(out) == frames
    for one in out:
        assert json.loads(one.removeprefix(b"data: "))["choices"] and one.count(b"\n") == 2 and one.endswith(b"\n\n")


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"data: [DONE]\n\n",
        frame(piece("a")),
        frame(piece("a")) + frame(piece(None, "stop"))[:-20],
        frame(piece("a")) + frame(piece("b", None, 1)) + frame(piece(None, "stop")),  # the second choice never ended
        b"<html>Bad gateway</html>",
        b"data: {nonsense\n\n",
        b'{"choices":[{"message":{"content":"not a stream"}}]}',
    ],
)
def test_a_stream_that_breaks_off_is_an_error(stream: bytes) -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    with pytest.raises(LLMError) as caught:
        decoder.feed(stream)
        decoder.close()
    assert caught.value.kind == "bad_upstream"


def test_done_or_every_finish_ends_a_stream() -> None:
    for stream in (
        frame(piece("a")) + b"data: [DONE]\n\n",
        frame(piece("a")) + b"data: [DONE]",
        frame(piece("a", "stop")) + frame(piece("b", "length", 1)),
    ):
        decoder = openai.Decoder(Context(), 0, "r")
        assert decoder.feed(stream) + decoder.close()


@pytest.mark.parametrize("size", [1, 7, 10**9])
@pytest.mark.parametrize(
    ("row", "kind", "message", "text"),
    [
        (recording("groq.chat", "9e866a6389da"), "invalid_request", "Tool choice is required", b"maybe"),
        (recording("openrouter.chat", "8df6d74dc406"), "bad_upstream", "Malformed function call", b"tool_calls"),
        (recording("openrouter.chat", "bc5488bcdd80"), "bad_upstream", "Upstream error from Venice", b""),
        (made.OPENAI_STREAM_ERROR, "bad_upstream", "The server had an error", b"Hel"),
    ],
    ids=["groq", "openrouter-with-usage", "openrouter-bare", "openai"],
)
def test_an_error_in_a_stream_is_raised_after_what_came_before_it(
    row: dict[str, Any], kind: str, message: str, text: bytes, size: int
) -> None:
    body, frames = body_of(row), list[bytes]()
    decoder = openai.Decoder(Context(), 0, "r")
    with pytest.raises(LLMError, match=message) as caught:
        for at in range(0, len(body), size):
            frames += decoder.feed(body[at : at + size])
        decoder.close()
    assert caught.value.kind == kind
    assert text in b"".join(frames) and b'"error"' not in b"".join(frames)
    if row["id"] == "8df6d74dc406":  # what it cost comes after the error, and is billed
        assert decoder.usage.cost_usd == "0.0001013"


@pytest.mark.parametrize("size", [1, 7, 10**9])
@pytest.mark.parametrize(
    "behind",
    [
        b'{"x":1}\n\n',
        b'{"error":{"message":"late"}}',
        b'event: error\ndata: {"message":"late"}\n\n',
        b'event: error\r\ndata: {"message":"late"}\r\n\r\n',
        b"data: {nonsense\n\n",
    ],
)
def test_behind_the_end_marker_nothing_counts(behind: bytes, size: int) -> None:
    stream = frame(piece("a")) + b"data: [DONE]\n\n" + behind
    decoder = openai.Decoder(Context(), 0, "r")
    frames = [out for at in range(0, len(stream), size) for out in decoder.feed(stream[at : at + size])]
    assert frames + decoder.close() == [frame(piece("a"))]


@pytest.mark.parametrize(
    "data",
    [
        b'{"error":{"message":"Overloaded"}}',
        b'{"error":null,"message":"Overloaded"}',
        b'{"type":"error","message":"Overloaded"}',
        b'{"message":"Overloaded"}',
        b"Overloaded",
    ],
)
def test_an_error_event_is_an_error_in_any_envelope(data: bytes) -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    assert decoder.feed(frame(piece("a"))) == [frame(piece("a"))]
    with pytest.raises(LLMError, match="Overloaded"):
        decoder.feed(b"event: error\ndata: " + data + b"\n\n")
        decoder.close()


_USED = frame(usage={"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16})
_BROKE = frame(error={"message": "broke"})


@pytest.mark.parametrize(
    ("told", "used"),
    [
        ([frame(piece("a")), b'data: {"error":{"message":"broke"}}\n\n', _USED], 9),
        ([frame(piece("a")), _BROKE, _USED], 9),
        ([frame(piece("a")), _BROKE, frame(piece("b")), _USED, _USED.replace(b"9", b"8")], 9),
        ([frame(piece("a")), _BROKE, b"data: [DONE]\n\n", _USED], 0),
        ([frame(piece("a")), frame(error={"message": "broke"}, usage={"completion_tokens": 5}), _USED], 5),
        ([_BROKE, _USED], 0),  # of what was never begun nothing is billed, and another may answer at once
        ([frame(piece("", "error") | {"error": {"message": "broke"}}), _USED], 9),
    ],
)
def test_usage_behind_an_error_is_read_however_the_bytes_are_cut(told: list[bytes], used: int) -> None:
    stream = b"".join(told)
    for pieces in (told, [stream], [stream[at : at + 7] for at in range(0, len(stream), 7)]):
        decoder, frames = openai.Decoder(Context(), 0, "r"), list[bytes]()
        with pytest.raises(LLMError, match="broke"):
            for data in pieces:
                frames += decoder.feed(data)
            decoder.close()
        assert frames == told[:1] * (frame(piece("a")) in told)
        assert decoder.usage.completion_tokens == used


def test_usage_in_the_very_frame_of_a_choice_s_error_is_the_error_s() -> None:
    used = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
    with pytest.raises(LLMError, match="broke") as caught:
        openai.Decoder(Context(), 0, "r").feed(frame(piece("", "error") | {"error": {"message": "broke"}}, usage=used))
    assert caught.value.usage is not None and caught.value.usage.completion_tokens == 9


def test_an_error_before_any_content_is_raised_at_once() -> None:
    with pytest.raises(LLMError, match="broke"):
        openai.Decoder(Context(), 0, "r").feed(_BROKE)


PADDED: dict[str, Any] = {"usage": None, "obfuscation": "aB3"}
TEXTS = ("a", "", 'said "so" \\', "\\", "line\nand line", "é", '"error"', ', "usage":{}')
VARIED = [
    *(frame(piece(text), **PADDED) for text in TEXTS),
    frame(piece("b"), **PADDED | {"obfuscation": ""}),
    frame(piece("c"), **PADDED).replace(b'"aB3"', b'"a","usage":{"prompt_tokens":7}'),
    frame(piece("d"), **PADDED).replace(b'"aB3"', b'"a"\r\n,"x":"y"'),
    frame(piece("d"), **PADDED).replace(b'"aB3"}\n\n', b'"a"}\n"\n'),
    frame(piece("e"), **PADDED).replace(b"\n\n", b"\r\n\r\n"),
    frame(piece("f"), **PADDED).replace(b'"f"', b'"f","tool_calls":null'),
    frame(piece("g", index=1), **PADDED),
    frame(piece("j"), piece("k", index=1), **PADDED),
    frame({"index": 0, "delta": {"content": "l", "reasoning_content": "mm"}, "finish_reason": None}, **PADDED),
    frame(piece("n"), usage=None, x_groq={"usage": {"prompt_tokens": 4, "completion_tokens": 6}}),
    frame(piece("h")),
    frame(piece("i", "stop"), **PADDED),
    frame(error={"message": "broke"}),
    frame(usage={"prompt_tokens": 3, "completion_tokens": 5}),
    b": comment\n\n",
    b"\n",
]


@st.composite
def _alike(draw: st.DrawFn) -> bytes:
    """A frame of text as any other, or one that only looks so: a few of its bytes are others, or are not there."""
    text = draw(st.text(max_size=4) | st.sampled_from(TEXTS))
    made = {"id": "c", "choices": [piece(text)], **draw(st.sampled_from([{}, PADDED]))}
    told = b"data: " + json.dumps(made, separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode() + b"\n\n"
    if draw(st.integers(0, 3)):
        return told
    at = draw(st.integers(0, len(told)))
    other = draw(
        st.sampled_from([b"", b'"', b"\\", b'\\"', b"\n", b"\r", b"}\n\n", b"7", b'","usage":{}', b'","refusal":"no'])
    )
    return told[:at] + other + told[at + draw(st.integers(0, 2)) :]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(VARIED) | _alike(), max_size=12), st.lists(st.integers(0, 900), max_size=3))
def test_frames_of_text_are_told_at_a_glance_and_never_wrongly(told: list[bytes], cuts: list[int]) -> None:
    told = [frame(piece("begun"), **PADDED), *told]
    stream = b"".join(told)
    assume(_is_utf8(stream))  # what is none is not seen at a glance
    ends = {*accumulate(map(len, told)), *(cut for cut in cuts if cut < len(stream)), 0}  # mostly an event each
    for edges in (ends, ends - {len(told[0])} | {len(stream)}):
        pieces = [stream[start:end] for start, end in pairwise(sorted(edges))]
        assert _heard(openai.Decoder, pieces) == _heard(_Parses, pieces)


def _is_utf8(data: bytes) -> bool:
    return "\ufffd" not in data.decode(errors="replace")


@given(st.lists(st.sampled_from(VARIED), max_size=12))
def test_frames_that_come_one_by_one_are_read_as_any(told: list[bytes]) -> None:
    told = [frame(piece("begun"), **PADDED), *told]
    stream = b"".join(told)
    by_bytes = [bytes([byte]) for byte in stream]
    assert _heard(openai.Decoder, told) == _heard(openai.Decoder, by_bytes) == _heard(openai.Decoder, [stream])


_PIECE = frame(piece("a"), **PADDED)
_ALIKE = [
    *(
        _PIECE.replace(b'"a"', b'"a' + other + b'"')
        for other in (b"\n", b"\r", b"\\", b"\\\\", b'\\"', b'\\"b', b'","x":"', b'","refusal":"no')
    ),
    *(_PIECE.replace(b"aB3", other) for other in (b"", b"a b", b"a\n", b"a\r\n", b"a\\", b'a\\"b', b'a","x":"y')),
    *(_PIECE[: _PIECE.index(b"aB3") + size] for size in (0, 3, 4, 5, 6)),
    _PIECE.replace(b',"usage":null,"obfuscation":"', b""),
    _PIECE.replace(b'},"finish_reason":null}],"usage":null,"obfuscation":"', b""),
    frame(piece("a")),
    frame(piece("a"))[:-3],
    *VARIED,
    b"data: ",
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("together", [0, 2, 3, 4])
@pytest.mark.parametrize("alike", _ALIKE)
def test_a_frame_that_only_looks_like_one_of_text(alike: bytes, together: int) -> None:
    for other in (_PIECE, frame(piece("b"))):
        told = [_PIECE, other, other, alike, other, other, alike, _PIECE]
        pieces = [*told[:together], b"".join(told[together : together + 2]), *told[together + 2 :]]
        assert _heard(openai.Decoder, pieces) == _heard(_Parses, pieces)


class _Parses(openai.Decoder):
    """Tells no frame by those before it."""

    def _learn(self, choice: Any, said_bytes: int, frame: bytes) -> None:
        pass


def _heard(make: type[openai.Decoder], pieces: list[bytes]) -> tuple[bytes, str, Usage, int]:
    decoder, frames, failed = make(Context(), 0, "r"), list[bytes](), ""
    try:
        for each in pieces:
            frames += decoder.feed(each)
        frames += decoder.close()
    except LLMError as error:
        failed = error.message
    return b"".join(frames), failed, decoder.usage, decoder.output_bytes


@given(
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from([frame(piece("a")), b"data: ", b"\n\n", b"\r", b'{"choices":[{', b"}]}"])
    )
)
def test_any_bytes_give_frames_or_our_own_error(pieces: list[bytes]) -> None:
    decoder = openai.Decoder(Context(), 0, "r")
    try:
        frames = [out for data in pieces for out in decoder.feed(data)] + decoder.close()
    except LLMError as error:
        assert error.message
    else:
        assert frames


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "error", "usage", "x_groq", "prompt_tokens_details", "cost"]
            )
            | st.sampled_from(
                ["tool_calls", "metadata", "raw", "code", "index", "finish_reason", "prompt_tokens", "total_tokens"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_gives_an_answer_or_our_own_error(value: Any) -> None:
    body = json.dumps(value).encode()
    assert openai.error(500, {}, body).message
    for attempt in (
        lambda: openai.response(body, Context(), 0, "r"),
        lambda: openai.Decoder(Context(), 0, "r").feed(b"data: " + body + b"\n\n"),
    ):
        try:
            attempt()
        except LLMError as error:
            assert error.message


_PART: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "error", "stop", {}, {"content": "a"}, {"error": {"message": "m"}}, 0, 1, []]
)
_ANSWER = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.dictionaries(st.sampled_from(["message", "error", "finish_reason", "index"]), _PART) | _PART, max_size=2
        )
        | _PART
    },
    optional=dict.fromkeys(("error", "object", "x_groq", "usage"), _PART),
)


@given(_ANSWER)
def test_what_is_told_to_be_whole_at_a_glance_has_no_error_and_a_message_in_each_choice(answer: dict[str, Any]) -> None:
    if openai._is_whole(answer):
        assert failure_within(answer) is None
        assert all(openai._said(choice) and "message" in choice for choice in answer["choices"])


def test_what_openai_sends_is_told_to_be_whole_at_a_glance() -> None:
    wholes = [
        row for row in recordings("openai.chat").values() if row["response"]["status"] == 200 and not row["stream"]
    ]
    assert all(openai._is_whole(json.loads(body_of(row))) for row in wholes)
    assert wholes
