"""Anthropic's answers, streams, usage and errors, on recorded exchanges."""

import json
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from bench.answers import whole
from translators import anthropic, anthropic_answer
from translators.anthropic_answer import usage_of
from translators.anthropic_blocks import FINISH
from translators.errors import LLMError
from translators.exchange import Context, Json
from translators.usage import Usage

FIXTURES = Path(__file__).parents[1] / "fixtures" / "recordings" / "anthropic.messages.jsonl"
ROWS: list[Json] = [json.loads(line) for line in FIXTURES.read_text(encoding="utf-8").splitlines()]
GOOD = [row for row in ROWS if row["response"]["status"] == 200]
TRUNCATED = [row for row in GOOD if "stream_truncated" in row["features"]]
STREAMS = [row for row in GOOD if row["stream"] and row not in TRUNCATED]
WHOLE = [row for row in GOOD if not row["stream"]]
ASKED = Context(include_usage=True)


def of(rows: list[Json]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[row["id"] for row in rows])


def bytes_of(row: Json) -> bytes:
    text: str = row["response"]["body_text"]
    return text.encode()


def events_of(row: Json) -> list[Json]:
    return [json.loads(line[5:]) for line in row["response"]["body_text"].splitlines() if line.startswith("data:")]


def decoded(data: bytes, size: int = 1_000_000, context: Context = ASKED) -> tuple[list[bytes], Any]:
    decoder = anthropic.Decoder(context, 1, "request-1")
    frames = [frame for at in range(0, len(data), size) for frame in decoder.feed(data[at : at + size])]
    return frames + decoder.close(), decoder


def sent(*events: Json | str) -> bytes:
    return b"".join(b"data: " + (e.encode() if isinstance(e, str) else orjson.dumps(e)) + b"\n\n" for e in events)


def rebuilt(frames: list[bytes]) -> Json:
    """What the SDK's own accumulator makes of the chunks, each checked against its types."""
    state = ChatCompletionStreamState(response_format={"type": "text"})
    for frame in frames:
        state.handle_chunk(ChatCompletionChunk.model_validate(orjson.loads(frame[5:])))
    return state.current_completion_snapshot.to_dict()


def whole_message(row: Json) -> Json:
    """The Message that a recorded stream adds up to, put together by hand."""
    message: Json = {}
    for event in events_of(row):
        match event:
            case {"type": "message_start"}:
                message = {**event["message"], "content": []}
            case {"type": "content_block_start"}:
                message["content"].append({**event["content_block"], "parts": ""})
            case {"type": "content_block_delta", "delta": delta}:
                block = message["content"][event["index"]]
                for name, into in (
                    ("text", "text"),
                    ("thinking", "thinking"),
                    ("signature", "signature"),
                    ("partial_json", "parts"),
                ):
                    block[into] = block.get(into, "") + delta.get(name, "") if name in delta else block.get(into, "")
                if "citation" in delta:
                    block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
            case {"type": "message_delta"}:
                message |= event["delta"]
                message["usage"] = {**message["usage"], **(event.get("usage") or {})}
    for block in message["content"]:
        parts = block.pop("parts")
        if "input" in block and parts:
            block["input"] = json.loads(parts)
        kept = {"text": "text", "thinking": "thinking", "signature": "thinking"}
        for name, kind in kept.items():
            if block["type"] != kind:
                block.pop(name, None)
    return message


# Streams.


@of(STREAMS)
def test_a_stream_is_the_same_however_its_bytes_are_cut(row: Json) -> None:
    data = bytes_of(row)
    frames, decoder = decoded(data)
    for other, size in ((data, 1), (data, 7), (data.replace(b"\n", b"\r\n"), 5)):
        again, other_decoder = decoded(other, size)
        assert again == frames
        assert (other_decoder.usage, other_decoder.remember) == (decoder.usage, decoder.remember)


@of(STREAMS)
def test_a_stream_rebuilds_to_the_whole_answer(row: Json) -> None:
    frames, decoder = decoded(bytes_of(row))
    snapshot = rebuilt(frames)
    answer = anthropic.response(orjson.dumps(whole_message(row)), Context(), 1, "request-1")
    expected = orjson.loads(answer.body)
    choice, expected_choice = snapshot["choices"][0], expected["choices"][0]
    assert choice["finish_reason"] == expected_choice["finish_reason"]
    assert plain(choice["message"]) == plain(expected_choice["message"])
    assert snapshot["usage"] == expected["usage"]
    assert (snapshot["id"], snapshot["model"]) == (expected["id"], expected["model"])
    assert (decoder.usage, decoder.remember) == (answer.usage, answer.remember)


def plain(message: Json) -> Json:
    """A message with its arguments parsed, without what is None and without the SDK's own fields."""
    made = {name: value for name, value in message.items() if value is not None and name != "parsed"}
    made["tool_calls"] = [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    return made


@of(STREAMS)
def test_a_stream_has_openais_manners(row: Json) -> None:
    chunks = [orjson.loads(frame[5:]) for frame in decoded(bytes_of(row))[0]]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] > 0
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [("role" in choice["delta"]) for choice in choices] == [True, *([False] * (len(choices) - 1))]
    assert [choice["finish_reason"] is not None for choice in choices] == [*([False] * (len(choices) - 1)), True]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls") or ()]
    begun = [call["index"] for call in calls if "id" in call]
    assert begun == list(range(len(begun)))
    native = [event["content_block"] for event in events_of(row) if event["type"] == "content_block_start"]
    assert len(begun) == sum(block["type"] == "tool_use" for block in native)


def test_usage_is_sent_only_where_it_was_asked_for() -> None:
    frames, _ = decoded(bytes_of(STREAMS[0]), context=Context())
    assert not any(b'"usage"' in frame for frame in frames)


@of(STREAMS)
def test_a_stream_cut_off_behind_any_event_ends_in_an_error(row: Json) -> None:
    data = bytes_of(row)
    last = data.rindex(b"event: message_stop")
    for end in [at + 2 for at in range(last) if data.startswith(b"\n\n", at)]:
        with pytest.raises(LLMError) as caught:
            decoded(data[:end])
        assert caught.value.kind == "bad_upstream"


@of(TRUNCATED)
def test_a_stream_that_was_recorded_cut_off_ends_in_an_error(row: Json) -> None:
    with pytest.raises(LLMError):
        decoded(bytes_of(row))


def test_a_last_event_without_its_blank_line_counts() -> None:
    data = bytes_of(STREAMS[0]).rstrip(b"\n")
    assert decoded(data)[0] == decoded(bytes_of(STREAMS[0]))[0]


# The shapes of Anthropic's overload, as seen in Helicone#4678 and anthropic-sdk-typescript#616; made, not recorded.
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 9, "output_tokens": 1}},
}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
HELLO = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}


def test_an_error_before_any_content_lets_another_target_answer() -> None:
    decoder = anthropic.Decoder(ASKED, 1, "r")
    with pytest.raises(LLMError) as caught:
        decoder.feed(sent(START, orjson.dumps(OVERLOADED).decode().replace("}", "}   ", 1)))
    assert (caught.value.kind, caught.value.message) == ("overloaded", "Overloaded")
    assert caught.value.headers == {"x-upstream-request-id": "req_1"}
    assert decoder.started is False and decoder.usage.input_tokens == 9


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_an_error_behind_content_loses_neither(size: int) -> None:
    decoder = anthropic.Decoder(ASKED, 1, "r")
    data = sent(START, TEXT, HELLO, OVERLOADED, HELLO)
    frames: list[bytes] = []
    with pytest.raises(LLMError, match="Overloaded"):
        for at in range(0, len(data), size):
            frames += decoder.feed(data[at : at + size])
        frames += decoder.close()
    assert [orjson.loads(frame[5:])["choices"][0]["delta"]["content"] for frame in frames] == ["Hello"]
    assert decoder.started and decoder.output_bytes == 5


def deepened(data: bytes) -> bytes:
    """`data` with more levels in the place of "deep" than are written."""
    return data.replace(b'"deep"', b'{"a":' * 300 + b"1" + b"}" * 300)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "t", "name": "f", "input": "deep"},
        {"type": "tool_use", "id": "t", "name": "json_output", "input": "deep"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": "deep"},
    ],
)
def test_what_is_too_deep_to_be_written_is_an_error_behind_what_came_before_it(block: Json) -> None:
    context = Context(json_tool="json_output")
    message = {"content": [{"type": "text", "text": "Hello"}, block], "usage": {"input_tokens": 9, "output_tokens": 40}}
    with pytest.raises(LLMError, match="254 levels") as caught:
        anthropic.response(deepened(orjson.dumps(message)), context, 1, "r")
    assert (caught.value.kind, caught.value.usage) == ("bad_upstream", Usage(input_tokens=9, output_tokens=40))
    begun = {"type": "content_block_start", "index": 1, "content_block": block}
    data = deepened(sent(START, TEXT, HELLO, begun, {"type": "content_block_stop", "index": 1}))
    for size in (100, len(data)):
        decoder, frames = anthropic.Decoder(context, 1, "r"), list[bytes]()
        with pytest.raises(LLMError, match="254 levels") as caught:
            for at in range(0, len(data), size):
                frames += decoder.feed(data[at : at + size])
            decoder.close()
        assert caught.value.kind == "bad_upstream" and b'"content":"Hello"' in frames[0]
        assert (decoder.usage.input_tokens, decoder.started, decoder.output_bytes) == (9, True, 5)


def test_what_never_went_out_began_no_answer() -> None:
    decoder = anthropic.Decoder(ASKED, 1, "r")
    block = {"type": "hologram", "data": "deep"}
    begun = {"type": "content_block_start", "index": 0, "content_block": block}
    with pytest.raises(LLMError):
        decoder.feed(deepened(sent(START, begun, {"type": "content_block_stop", "index": 0})))
    assert not decoder.started


def test_usage_is_cumulative_and_a_later_one_may_leave_things_out() -> None:
    start = {"input_tokens": 9, "cache_read_input_tokens": 5, "output_tokens": 8, "service_tier": "standard"}
    end = {"output_tokens": 12, "cache_read_input_tokens": None}
    deltas = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end}] * 2
    message = {"id": "msg_1", "model": "claude-x", "usage": start}
    _, decoder = decoded(sent({"type": "message_start", "message": message}, *deltas, {"type": "message_stop"}))
    assert decoder.usage == Usage(input_tokens=9, cache_read_tokens=5, output_tokens=12, service_tier="standard")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([sent(START), sent(TEXT), sent(HELLO), sent(OVERLOADED)]))
    )
)
def test_any_bytes_give_chunks_or_an_error_of_ours(pieces: list[bytes]) -> None:
    decoder = anthropic.Decoder(ASKED, 1, "r")
    with pytest.raises(LLMError):
        for piece in pieces:
            for frame in decoder.feed(piece):
                ChatCompletionChunk.model_validate(orjson.loads(frame[5:]))
        decoder.close()


class _Parses(anthropic.Decoder):
    """Tells no event at a glance."""

    def _more_text(self, rest: bytes) -> bytes | None:
        return None


def _event(type: str, **more: Any) -> bytes:
    return f"event: {type}\ndata: ".encode() + orjson.dumps({"type": type, **more}) + b"\n\n"


_CITED = {"type": "citations_delta", "citation": {"type": "page_location", "cited_text": "x"}}
_BESIDE = [
    _event("ping"),
    _event("content_block_start", index=1, content_block={"type": "thinking", "thinking": "", "signature": "s"}),
    _event("content_block_start", index=1, content_block={"type": "text", "text": "said"}),
    _event("content_block_delta", index=0, delta=_CITED),
    _event("content_block_stop", index=0),
    _event("content_block_stop", index=1),
    _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 12}),
    _event("message_stop"),
    _event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    b": comment\n\n",
    b"\n",
    b"data: ",
    b"data: {\n\n",
]
_TEXTS = ["a", "", 'said "so" \\', "\\", "\n", "é", "\u2028", "\u200d", "\0", "\x7f", "\U0001f600", '"}}', "\\u0041"]
_OTHERS = [
    b"",
    b'"',
    b"\\",
    b'\\"',
    b"\n",
    b"\r",
    b"\xff",
    b"\xed\xa0\xbd",
    b"\0",
    b"\\ud83d",
    b"}",
    b" ",
    b"\n\n",
    b',"x":1',
]


@st.composite
def _pieces_of_text(draw: st.DrawFn) -> bytes:
    """A piece of text as Anthropic sends it, or one that only looks so: a few of its bytes are others, or missing."""
    delta = {"type": "text_delta", "text": draw(st.text(max_size=4) | st.sampled_from(_TEXTS))}
    event = {"type": "content_block_delta", "index": draw(st.sampled_from([0, 0, 0, 1, 2])), "delta": delta}
    told = json.dumps(event, separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode()
    told = b"event: content_block_delta\ndata: " + told[:-1] + b" " * draw(st.integers(0, 40)) + b"}\n\n"
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return told.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r"])))
    if kind < 6:
        return told
    at = draw(st.integers(0, len(told)) | st.integers(told.rindex(b":"), len(told)) | st.just(told.rindex(b":") + 2))
    return told[:at] + draw(st.sampled_from(_OTHERS)) + told[at + draw(st.integers(0, 2)) :]


def _told_as_parsed(told: list[bytes], cuts: list[int]) -> None:
    """That what is told at a glance is what parsing tells; `told` comes an event a read, save for `cuts`.

    A read may end within an event (a positive cut is a place in the stream) or hold two (a negative one: an event's).
    """

    def heard(make: type[anthropic.Decoder]) -> tuple[Any, ...]:
        decoder, frames, failed = make(ASKED, 1, "r"), list[list[bytes]](), ""
        try:
            frames += [decoder.feed(stream[start:end]) for start, end in pairwise(sorted(edges))]
            frames.append(decoder.close())
        except LLMError as error:
            failed = error.message
        return frames, failed, decoder.usage, decoder.output_bytes, decoder.started, decoder.done, decoder.remember

    thought = {"type": "thinking", "thinking": "", "signature": "s"}
    begun = [
        _event("message_start", message=START["message"]),
        _event("content_block_start", index=1, content_block=thought),
        _event("content_block_stop", index=1),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ]
    all_told = [b"".join(begun), *told, _event("content_block_stop", index=0), _event("message_stop")]
    stream, ends = b"".join(all_told), list(accumulate(map(len, all_told)))
    edges = {0, *ends} - {ends[-cut] for cut in cuts if 0 < -cut < len(ends)} | {len(stream)}
    edges |= {cut for cut in cuts if 0 < cut < len(stream)}
    assert heard(anthropic.Decoder) == heard(_Parses)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.one_of(*[_pieces_of_text()] * 5, st.sampled_from(_BESIDE)), min_size=4, max_size=12),
    st.lists(st.integers(-9, 2500), max_size=3),
)
def test_pieces_of_text_are_told_at_a_glance_and_never_wrongly(told: list[bytes], cuts: list[int]) -> None:
    _told_as_parsed(told, cuts)


@pytest.mark.parametrize("cut", [0, -2, -3, -4])
@pytest.mark.parametrize(
    "other", [*(b'"a' + other + b'"' for other in _OTHERS), b'"a",1', b'"a"}', b'"a"} ', b"7", b'"']
)
def test_an_event_that_only_looks_like_a_piece_of_text(other: bytes, cut: int) -> None:
    piece = _event("content_block_delta", index=0, delta=HELLO["delta"])
    for between in (piece.replace(b'"Hello"', other), *_BESIDE):
        _told_as_parsed([piece, piece, piece.replace(b'"Hello"', other), between, piece, piece], [cut])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["text", "tool_use", "thinking", "end_turn", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "id", "name", "text", "input", "citations", "thinking", "signature"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["message_start", "content_block_start", "content_block_delta", "message_delta"])},
            optional={
                "index": st.integers(0, 1),
                "content_block": _JSON,
                "delta": _JSON,
                "usage": _JSON,
                "message": _JSON,
            },
        ),
        max_size=6,
    )
)
def test_any_events_give_valid_chunks(events: list[Json]) -> None:
    frames, _ = decoded(sent(*events, {"type": "message_stop"}))
    for frame in frames:
        ChatCompletionChunk.model_validate(orjson.loads(frame[5:]))


# Whole answers.


@of(WHOLE)
def test_a_whole_answer_says_what_was_recorded(row: Json) -> None:
    message = json.loads(row["response"]["body_text"])
    answer = anthropic.response(bytes_of(row), Context(), 7, "request-1")
    made = ChatCompletion.model_validate(orjson.loads(answer.body))
    said = made.choices[0].message
    blocks = message["content"]
    assert (said.content or "") == "".join(block["text"] for block in blocks if block["type"] == "text")
    assert [
        (call.id, json.loads(call.function.arguments)) for call in said.tool_calls or () if call.type == "function"
    ] == [(block["id"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    details = getattr(said, "reasoning_details", [])
    thinking = [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
    assert [(d.get("text"), d.get("signature"), d.get("data")) for d in details] == [
        (block.get("thinking"), block.get("signature"), block.get("data")) for block in thinking
    ]
    assert (made.id, made.created, made.model) == (message["id"], 7, message["model"])
    usage = message["usage"]
    cached = usage.get("cache_read_input_tokens") or 0
    assert made.usage and made.usage.completion_tokens == usage["output_tokens"]
    assert made.usage.prompt_tokens == usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"content": 5}', b'{"content": ['])
def test_what_is_no_message_is_the_providers_fault(body: bytes) -> None:
    with pytest.raises(LLMError) as caught:
        anthropic.response(body, Context(), 1, "r")
    assert caught.value.kind == "bad_upstream"


def test_an_error_inside_a_200_is_an_error() -> None:
    with pytest.raises(LLMError) as caught:
        anthropic.response(orjson.dumps(OVERLOADED), Context(), 1, "r")
    assert caught.value.kind == "overloaded"


def test_an_answer_without_an_id_is_named_after_the_request() -> None:
    answer = anthropic.response(b'{"content": [], "model": "claude-x"}', Context(), 1, "request-1")
    made = orjson.loads(answer.body)
    assert made["id"] == "chatcmpl-request-1" and made["choices"][0]["message"]["content"] == ""


# Usage.


def test_usage_goes_into_disjoint_buckets() -> None:
    raw = {
        "input_tokens": 10,
        "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 30},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
        "service_tier": "priority",
        "inference_geo": "us",
    }
    found = usage_of(raw)
    assert found == Usage(
        input_tokens=10,
        cache_read_tokens=20,
        cache_write_tokens=4,
        cache_write_1h_tokens=3,
        output_tokens=20,
        reasoning_tokens=30,
        web_searches=2,
        service_tier="priority",
        region="us",
    )
    assert (found.prompt_tokens, found.completion_tokens) == (37, 50)


def test_usage_is_never_negative_and_never_fails() -> None:
    raw = {
        "input_tokens": -4,
        "output_tokens": None,
        "output_tokens_details": {"thinking_tokens": 9},
        "cache_creation": 3,
    }
    assert usage_of(raw) == Usage()
    assert usage_of({"speed": "fast", "service_tier": "standard", "inference_geo": "not_available"}) == Usage(
        service_tier="fast"
    )


# Errors.


@of([row for row in ROWS if row["response"]["status"] != 200])
def test_a_recorded_error_keeps_its_message(row: Json) -> None:
    status = row["response"]["status"]
    error = anthropic.error(status, row["response"]["headers"], bytes_of(row))
    assert error.message == json.loads(row["response"]["body_text"])["error"]["message"]
    assert error.status == (502 if status == 401 else status)


@pytest.mark.parametrize(
    ("status", "kind", "ours", "expected"),
    [
        (400, "invalid_request_error", "invalid_request", 400),
        (401, "authentication_error", "upstream_auth", 502),
        (402, "billing_error", "upstream_quota", 402),
        (403, "permission_error", "upstream_auth", 502),
        (404, "not_found_error", "not_found", 404),
        (413, "request_too_large", "too_large", 413),
        (429, "rate_limit_error", "rate_limit", 429),
        (500, "api_error", "bad_upstream", 502),
        (504, "timeout_error", "timeout", 504),
        (529, "overloaded_error", "overloaded", 503),
    ],
)
def test_errors_are_told_apart_by_their_type(status: int, kind: str, ours: str, expected: int) -> None:
    body = {"type": "error", "error": {"type": kind, "message": "Why"}, "request_id": None}
    error = anthropic.error(status, {"Request-Id": "req_1", "Retry-After": "7"}, orjson.dumps(body))
    assert (error.kind, error.status, error.message) == (ours, expected, "Why")
    assert (error.retry_after_s, error.headers) == (7.0, {"x-upstream-request-id": "req_1"})


def test_a_request_id_in_an_error_is_no_more_than_a_header_can_carry() -> None:
    body = {"type": "error", "error": {"type": "api_error", "message": "Why"}, "request_id": "a\0" + "b" * 100_000}
    with pytest.raises(LLMError) as within:
        anthropic.response(orjson.dumps(body), Context(), 1, "r1")
    for error in (anthropic.error(400, {}, orjson.dumps(body)), within.value):
        assert error.headers == {"x-upstream-request-id": "a" + "b" * 198}


def test_a_prompt_that_is_too_long_is_told_apart() -> None:
    row = next(row for row in ROWS if "too long" in row["response"]["body_text"])
    error = anthropic.error(400, {}, bytes_of(row))
    assert (error.kind, error.code, error.status) == ("context_length", "context_length_exceeded", 400)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no body"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b'{"error": 5}', "no error message"),
        (b"{", "no error"),
    ],
)
def test_a_body_that_says_nothing_gives_a_clear_message(body: bytes, words: str) -> None:
    error = anthropic.error(503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, body)
    assert words in error.message and "503" in error.message
    assert (error.kind, error.retry_after_s) == ("overloaded", None)


def test_a_message_cut_within_a_character_keeps_its_kind() -> None:
    body = b'{"type":"error","error":{"type":"billing_error","message":"no \\ud83d"}}'
    error = anthropic.error(400, {}, body)
    assert (error.kind, error.message) == ("upstream_quota", "no \ufffd")


def test_an_error_with_a_type_nested_too_deep_to_be_looked_at_keeps_its_message() -> None:
    body = b'{"error":{"message":"no","type":' + b"[" * 1000 + b"]" * 1000 + b"}}"
    assert anthropic.error(400, {}, body).message == "no"


def test_googles_error_around_claude_keeps_its_message() -> None:
    body = b'[{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}]'
    error = anthropic.error(429, {}, body)
    assert (error.kind, error.message) == ("rate_limit", "Quota exceeded")


_VALUE: st.SearchStrategy[Any] = st.sampled_from([None, "", "a\n", 0, 1, [], ["x"], {}, {"explanation": "e"}])
_BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "text", "text", "thinking", None]), "text": st.just("Said") | _VALUE},
    optional={"citations": st.none() | _VALUE, "signature": _VALUE},
)
_KEPT = ("stop_sequence", "stop_details", "container", "context_management", "diagnostics")
_MESSAGES = st.fixed_dictionaries(
    {"content": st.lists(_BLOCK, min_size=1, max_size=1) | st.lists(_BLOCK, max_size=2)},
    optional=dict.fromkeys(_KEPT, st.none() | _VALUE),
)


@given(_MESSAGES, st.sampled_from(["end_turn", "max_tokens", "refusal", "stop_sequence", "unheard_of", None]))
def test_text_alone_is_read_as_any_other_answer(message: Json, native: str | None) -> None:
    text = anthropic_answer._text_alone(message)
    if text is not None:
        made, reason, remember = anthropic_answer._read(message, native, Context())
        assert (made, remember) == ({"content": text}, {})
        assert reason == FINISH.get(native or "", "stop")


def test_a_usual_answer_is_text_alone() -> None:
    assert anthropic_answer._text_alone(json.loads(whole("anthropic"))) is not None
