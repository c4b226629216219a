"""What a client gets of Bedrock's answers, streams and errors."""

import json

import pytest
from botocore.session import Session  # type: ignore[import-untyped]
from openai.lib.streaming._deltas import accumulate_delta

from translators import bedrock
from translators.bedrock_answer import KINDS, usage_of
from translators.errors import LLMError
from translators.event_stream import encode
from translators.exchange import Context, Json
from translators.usage import Usage

USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
STOP = {"stopReason": "end_turn"}


def frame(kind: str, payload: Json, type: str = "event") -> bytes:
    name = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}[type]
    return encode(
        {name: kind, ":content-type": "application/json", ":message-type": type}, json.dumps(payload).encode()
    )


def text(said: str, index: int = 0) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": said}})


STOPPED, COUNTED = frame("messageStop", STOP), frame("metadata", {"usage": USAGE})
SLOW_DOWN = frame("throttlingException", {"message": "Slow down"}, "exception")
WITH_USAGE = Context(include_usage=True)


def chunks(*frames: bytes, context: Context = WITH_USAGE) -> list[Json]:
    decoder = bedrock.Decoder(context, 1, "r")
    found = [out for each in frames for out in decoder.feed(each)] + decoder.close()
    return [json.loads(out[6:]) for out in found]


def failure(*frames: bytes) -> LLMError:
    decoder = bedrock.Decoder(Context(), 1, "r")
    with pytest.raises(LLMError) as caught:
        for each in frames:
            decoder.feed(each)
        decoder.close()
    return caught.value


# Whole answers.


def test_a_whole_answer() -> None:
    told = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
        **STOP,
        "usage": {**USAGE, "cacheReadInputTokens": 4},
        "metrics": {"latencyMs": 7},
        "trace": {"guardrail": {"actionReason": "none"}},
        "serviceTier": {"type": "priority"},
    }
    answer = bedrock.response(json.dumps(told).encode(), Context(model="nova"), 1, "r")
    body = json.loads(answer.body)
    assert (body["id"], body["model"], body["service_tier"]) == ("chatcmpl-r", "nova", "priority")
    choice = body["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "end_turn")
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "trace": {"guardrail": {"actionReason": "none"}},
        "metrics": {"latencyMs": 7},
    }
    assert body["usage"]["prompt_tokens"] == 7
    assert answer.usage == Usage(input_tokens=3, cache_read_tokens=4, output_tokens=2, service_tier="priority")


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (USAGE, Usage(input_tokens=3, output_tokens=2)),
        (
            {**USAGE, "cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 6},
            Usage(input_tokens=3, output_tokens=2, cache_read_tokens=5, cache_write_tokens=6),
        ),
        (
            {
                **USAGE,
                "cacheWriteInputTokens": 9,
                "cacheWriteInputTokenCount": 9,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 5}],
            },
            Usage(input_tokens=3, output_tokens=2, cache_write_tokens=5, cache_write_1h_tokens=4),
        ),
        ({"inputTokens": -1, "outputTokens": "x", "cacheDetails": 3}, Usage()),
    ],
)
def test_usage_in_disjoint_buckets(raw: Json, usage: Usage) -> None:
    assert usage_of(raw) == usage


# Streams.


def test_the_finish_waits_for_the_metadata_and_usage_is_last() -> None:
    told = {"usage": USAGE, "metrics": {"latencyMs": 1}, "trace": {"guardrail": {}}, "serviceTier": {"type": "flex"}}
    found = chunks(
        frame("messageStart", {"role": "assistant"}), text("Hi"), frame("messageStop", STOP), frame("metadata", told)
    )
    assert [chunk["choices"][0]["delta"] for chunk in found[:-2]] == [
        {"role": "assistant", "content": "Hi"},
        {"trace": {"guardrail": {}}, "metrics": {"latencyMs": 1}},
    ]
    assert found[-2]["choices"][0]["finish_reason"] == "stop" and found[-2]["service_tier"] == "flex"
    assert found[-1]["choices"] == [] and found[-1]["usage"]["total_tokens"] == 5


def test_metadata_may_come_first_or_never() -> None:
    first = chunks(text("Hi"), frame("metadata", {"usage": USAGE}), frame("messageStop", STOP))
    assert first[-2]["choices"][0]["finish_reason"] == "stop" and first[-1]["usage"]["prompt_tokens"] == 3
    never = chunks(text("Hi"), frame("messageStop", {"stopReason": "max_tokens"}), context=Context())
    assert never[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("payload", [b'{"a": 1}', b"", b"beat"])
def test_events_of_no_known_kind_are_passed_over(payload: bytes) -> None:
    heartbeat = encode({":event-type": "heartbeat", ":message-type": "event"}, payload)
    found = chunks(heartbeat, text("Hi"), frame("messageStop", STOP), context=Context())
    assert found[0]["choices"][0]["delta"]["content"] == "Hi"


def test_the_last_metadata_count_wherever_the_first_stood() -> None:
    more = frame("metadata", {"usage": {**USAGE, "outputTokens": 9}})
    found = chunks(text("Hi"), frame("metadata", {"usage": USAGE}), frame("messageStop", STOP) + more)
    assert [chunk["choices"][0]["finish_reason"] for chunk in found[:-1]] == [None, "stop"]
    assert found[-1]["usage"]["completion_tokens"] == 9


@pytest.mark.parametrize("behind", [SLOW_DOWN, text("x"), text("x")[:-3]], ids=["exception", "content", "part"])
@pytest.mark.parametrize("ending", [STOPPED + COUNTED, COUNTED + STOPPED], ids=["stop first", "metadata first"])
@pytest.mark.parametrize("at_once", [True, False])
def test_nothing_counts_behind_the_stop_and_the_metadata(ending: bytes, behind: bytes, at_once: bool) -> None:
    found = chunks(text("Hi"), *([ending + behind] if at_once else [ending, behind]))
    assert [chunk["choices"][0]["finish_reason"] for chunk in found[:-1]] == [None, "stop"]
    assert found[-1]["usage"]["total_tokens"] == 5


def test_a_stream_that_ends_too_soon_is_no_answer() -> None:
    assert failure(text("Hi")).kind == "bad_upstream"
    assert failure(text("Hi"), frame("messageStop", STOP)[:-3]).kind == "bad_upstream"
    assert failure(frame("messageStop", STOP), text("x")[:-3]).kind == "bad_upstream"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("throttlingException", "rate_limit"),
        ("modelStreamErrorException", "bad_upstream"),
        ("internalServerException", "bad_upstream"),
        ("serviceUnavailableException", "overloaded"),
        ("validationException", "invalid_request"),
    ],
)
def test_an_exception_within_the_stream_is_told_apart(name: str, kind: str) -> None:
    error = failure(text("Hi"), frame(name, {"message": "Slow down"}, "exception"))
    assert (error.kind, error.message) == (kind, "Slow down")
    assert failure(frame("InternalFailure", {}, "error")).kind == "bad_upstream"


@pytest.mark.parametrize(
    ("headers", "payload", "message"),
    [
        ({":message-type": "error", ":error-code": "ThrottlingException", ":error-message": "Slow"}, b"", "Slow"),
        ({":message-type": "exception", ":exception-type": "throttlingException"}, b"Slow", "Slow"),
        ({":message-type": "exception", ":exception-type": "throttlingException"}, b"", "The provider broke off"),
    ],
    ids=["error", "plain text", "empty"],
)
def test_an_error_without_json_is_told_apart_too(headers: dict[str, str], payload: bytes, message: str) -> None:
    error = failure(encode(headers, payload))
    assert (error.kind, error.status) == ("rate_limit", 429) and error.message.startswith(message)


def test_content_that_came_with_an_error_is_not_lost() -> None:
    decoder = bedrock.Decoder(Context(), 1, "r")
    assert b"Hi" in decoder.feed(text("Hi") + frame("throttlingException", {"message": "no"}, "exception"))[0]
    with pytest.raises(LLMError):
        decoder.feed(b"")
    assert decoder.started and decoder.output_bytes == 2


def test_what_is_signed_in_a_stream_is_remembered() -> None:
    def thought(delta: Json) -> bytes:
        return frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": delta}})

    decoder = bedrock.Decoder(Context(), 1, "r")
    for each in (
        thought({"text": "H"}),
        thought({"text": "m"}),
        thought({"signature": "sig"}),
        text("Yes", 1),
        frame("messageStop", STOP),
    ):
        decoder.feed(each)
    decoder.close()
    (kept,) = decoder.remember.values()
    signed = {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}}
    assert kept == {"bedrock": [signed, {"text": 3}]}


def test_redacted_reasoning_in_pieces_is_one() -> None:
    decoder = bedrock.Decoder(Context(), 1, "r")
    pieces = [
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": piece}}})
        for piece in ("QUI=", "Q0Q=")
    ]
    stopped = frame("contentBlockStop", {"contentBlockIndex": 0})
    frames = [out for each in (*pieces, stopped, text("Yes", 1), STOPPED) for out in decoder.feed(each)]
    made: dict[object, object] = {}
    for out in [*frames, *decoder.close()]:
        made = accumulate_delta(made, json.loads(out[6:])["choices"][0]["delta"])
    head = {"index": 0, "type": "reasoning.encrypted", "format": "anthropic-claude-v1", "block_index": 0}
    assert made["reasoning_details"] == [{**head, "data": "QUJDRA=="}]
    (kept,) = decoder.remember.values()
    assert kept == {"bedrock": [{"reasoningContent": {"redactedContent": "QUJDRA=="}}, {"text": 3}]}


# Errors.


@pytest.mark.parametrize(
    ("status", "name", "message", "kind", "seen"),
    [
        (429, "ThrottlingException", "Too many requests", "rate_limit", 429),
        (400, "ValidationException", "The provided model identifier is invalid.", "invalid_request", 400),
        (400, "ValidationException", "Input is too long for requested model.", "context_length", 400),
        (400, "ServiceQuotaExceededException", "quota", "upstream_quota", 400),
        (403, "AccessDeniedException", "no", "upstream_auth", 502),
        (403, "UnrecognizedClientException", "bad token", "upstream_auth", 502),
        (404, "ResourceNotFoundException", "gone", "not_found", 404),
        (408, "ModelTimeoutException", "slow", "timeout", 408),
        (424, "ModelErrorException", "broken", "bad_upstream", 424),
        (429, "ModelNotReadyException", "cold", "overloaded", 429),
        (500, "InternalServerException", "oops", "bad_upstream", 502),
        (503, "ServiceUnavailableException", "later", "overloaded", 502),
    ],
)
def test_each_exception_is_told_apart(status: int, name: str, message: str, kind: str, seen: int) -> None:
    headers = {
        "x-amzn-ErrorType": f"{name}:http://internal.amazon.com/coral/",
        "x-amzn-RequestId": "q",
        "Retry-After": "3",
    }
    error = bedrock.error(status, headers, json.dumps({"message": message}).encode())
    assert (error.kind, error.status, error.message, error.retry_after_s) == (kind, seen, message, 3)
    assert error.headers["x-upstream-request-id"] == "q"
    told = {"__type": f"com.amazon#{name}", "Message": message}
    assert bedrock.error(status, {}, json.dumps(told).encode()).kind == kind


def test_every_exception_of_the_service_model_is_known() -> None:
    model = Session().get_service_model("bedrock-runtime")
    names = {shape.name for shape in model.error_shapes} | {
        shape.name for name in ("Converse", "ConverseStream") for shape in model.operation_model(name).error_shapes
    }
    assert names - KINDS.keys() == set()


@pytest.mark.parametrize("body", [b'{"message": "Output blocked"}', b'{"output": {"message": {}}}', b"[1]"])
def test_what_is_no_message_is_an_error(body: bytes) -> None:
    with pytest.raises(LLMError):
        bedrock.response(body, Context(), 1, "r")


DEEP = json.loads("[" * 300 + "]" * 300)
USE = {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": DEEP}}}
BILLED = {"usage": USAGE, "serviceTier": {"type": "flex"}}


@pytest.mark.parametrize(
    "told",
    [
        {"output": {"message": {"content": [USE]}}, **STOP},
        {"output": {"message": {"content": [{"text": "Hi"}]}}, **STOP, "trace": {"a": DEEP}},
        {"message": "Output blocked"},
    ],
    ids=["a deep call", "a deep trace", "no message"],
)
@pytest.mark.parametrize(
    ("more", "usage"),
    [(BILLED, Usage(input_tokens=3, output_tokens=2, service_tier="flex")), ({"serviceTier": {"type": "flex"}}, None)],
    ids=["counted", "not counted"],
)
def test_an_answer_that_cannot_be_told_is_an_error_with_what_was_counted(
    told: Json, more: Json, usage: Usage | None
) -> None:
    with pytest.raises(LLMError) as caught:
        bedrock.response(json.dumps({**told, **more}).encode(), Context(), 1, "r")
    assert (caught.value.kind, caught.value.usage) == ("bad_upstream", usage)


@pytest.mark.parametrize("metadata", [b"", COUNTED], ids=["without metadata", "with metadata"])
def test_a_stream_whose_end_is_too_deep_is_an_error_with_what_was_counted(metadata: bytes) -> None:
    stop = frame("messageStop", {**STOP, "additionalModelResponseFields": DEEP})
    decoder = bedrock.Decoder(Context(), 1, "r")
    for _ in range(2):
        with pytest.raises(LLMError) as caught:
            decoder.feed(stop + metadata)
            decoder.close()
        assert caught.value.usage == (Usage(input_tokens=3, output_tokens=2) if metadata else None)
