"""Whatever a provider says it used: no bucket is negative, nothing is counted twice, and nothing is taken back."""

import json
import struct
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from translators import anthropic_answer, bedrock_answer, gemini_usage, openai_usage
from translators.exchange import Context
from translators.registry import TRANSLATORS
from translators.usage import BILLED, MOST_TOKENS, Usage, later

Json = dict[str, Any]
NUMBERS = st.one_of(st.integers(-5, 2000), st.integers(-(10**30), 10**30), st.floats(), st.just(-0.0), st.booleans())
VALUES = st.one_of(NUMBERS, st.none(), st.text(max_size=4), st.sampled_from(["NaN", "-1", "1e999", "0.5", "12"]))
NAMES = {
    "openai": """
        prompt_tokens completion_tokens total_tokens prompt_tokens_details completion_tokens_details cached_tokens
        audio_tokens reasoning_tokens image_tokens cache_write_tokens cost total_cost is_byok cost_details
        upstream_inference_cost cost_in_usd_ticks server_tool_use web_search_requests num_search_queries
        citation_tokens search_context_size service_tier market_cost accepted_prediction_tokens
    """,
    "anthropic": """
        input_tokens output_tokens cache_read_input_tokens cache_creation_input_tokens cache_creation
        ephemeral_5m_input_tokens ephemeral_1h_input_tokens output_tokens_details thinking_tokens server_tool_use
        web_search_requests service_tier inference_geo speed
    """,
    "bedrock": """
        inputTokens outputTokens totalTokens cacheReadInputTokens cacheWriteInputTokens cacheDetails ttl
    """,
    "gemini": """
        promptTokenCount candidatesTokenCount thoughtsTokenCount totalTokenCount cachedContentTokenCount
        toolUsePromptTokenCount promptTokensDetails cacheTokensDetails candidatesTokensDetails modality tokenCount
        serviceTier trafficType
    """,
}


def of_openai(told: Json) -> Usage:
    return openai_usage.usage_of({"usage": told}) or Usage()


READERS: dict[str, Callable[[Json], Usage]] = {
    "openai": of_openai,
    "anthropic": anthropic_answer.usage_of,
    "bedrock": bedrock_answer.usage_of,
    "gemini": gemini_usage.usage_of,
}
DIALECTS = pytest.mark.parametrize("dialect", READERS)


def told(dialect: str) -> st.SearchStrategy[Json]:
    """An object of the dialect's words, in any nesting, with anything as their values."""
    names = st.sampled_from(NAMES[dialect].split())
    inner = st.dictionaries(names, VALUES, max_size=4)
    return st.dictionaries(names, st.one_of(VALUES, inner, st.lists(inner, max_size=3)), max_size=10)


@DIALECTS
@settings(deadline=None)
@given(data=st.data())
def test_no_bucket_is_negative_and_no_price_a_credit(dialect: str, data: st.DataObject) -> None:
    usage = READERS[dialect](data.draw(told(dialect)))
    for name in BILLED:
        amount = getattr(usage, name)
        assert type(amount) is int and 0 <= amount <= 4 * MOST_TOKENS, name
    assert usage.cost_usd is None or (Decimal(usage.cost_usd).is_finite() and Decimal(usage.cost_usd) >= 0)
    assert all(isinstance(word, str) for word in (usage.service_tier, usage.region, usage.search_context))


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.00014}, "0.00014"),
        ({"cost": "0.00014"}, "0.00014"),
        ({"cost": 0}, "0"),
        ({"cost": "0"}, "0"),
        ({"cost": -1}, None),
        ({"cost": "-1"}, None),
        ({"cost": "NaN"}, None),
        ({"cost": "Infinity"}, None),
        ({"cost": True}, None),
        ({"cost": None}, None),
        ({"cost": 1e18}, None),
        ({"cost": {"total_cost": 0.0051}}, "0.0051"),
        ({"cost": {"total_cost": "x"}}, None),
        ({"cost_in_usd_ticks": 25_000_000_000}, "2.5000000000"),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.00417}}, "0.00417"),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": -2}}, None),
    ],
)
def test_a_stated_cost_is_an_amount_or_none(usage: Json, cost: str | None) -> None:
    assert of_openai({"prompt_tokens": 1, **usage}).cost_usd == cost


# --- in a stream


def sse(*events: Json) -> bytes:
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (event.get("type", "").encode(), json.dumps(event).encode()) for event in events
    )


def frame(type: str, payload: Json) -> bytes:
    """One message of AWS's event stream."""
    headers = b"".join(
        struct.pack("!B", len(name)) + name + b"\x07" + struct.pack("!H", len(value)) + value
        for name, value in ((b":event-type", type.encode()), (b":message-type", b"event"))
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack("!I", zlib.crc32(message))


def openai_stream(usages: list[Json | None]) -> bytes:
    return sse(*({"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": usage} for usage in usages))


def anthropic_stream(usages: list[Json | None]) -> bytes:
    first, *rest = usages
    deltas = ({"type": "message_delta", "delta": {}, "usage": usage} for usage in rest)
    return sse({"type": "message_start", "message": {"usage": first}}, *deltas)


def gemini_stream(usages: list[Json | None]) -> bytes:
    candidate = {"index": 0, "content": {"parts": [{"text": "a"}]}}
    return sse(*({"candidates": [candidate], "usageMetadata": usage} for usage in usages))


def bedrock_stream(usages: list[Json | None]) -> bytes:
    return b"".join(frame("metadata", {"usage": usage} if usage is not None else {}) for usage in usages)


STREAMS: dict[str, tuple[Callable[[list[Json | None]], bytes], tuple[str, str]]] = {
    "openai": (openai_stream, ("prompt_tokens", "completion_tokens")),
    "openrouter": (openai_stream, ("prompt_tokens", "completion_tokens")),
    "anthropic": (anthropic_stream, ("input_tokens", "output_tokens")),
    "gemini": (gemini_stream, ("promptTokenCount", "candidatesTokenCount")),
    "bedrock": (bedrock_stream, ("inputTokens", "outputTokens")),
}


@pytest.mark.parametrize("dialect", STREAMS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_usage_in_a_stream_is_what_was_said_last_and_never_a_sum(dialect: str, data: st.DataObject) -> None:
    stream, (read, made) = STREAMS[dialect]
    prompt = data.draw(st.integers(1, 10**6))
    answers = sorted(data.draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=5)))
    counted: list[Json | None] = [{read: prompt, made: answer} for answer in answers]
    empty = st.one_of(
        st.none(),
        st.dictionaries(st.sampled_from([read, made]), st.sampled_from([0, None, -3, "x", 10**40, 0.5]), max_size=2),
    )
    usages = [each for one in counted for each in (one, data.draw(empty))]
    decoder = TRANSLATORS[dialect].Decoder(Context(), 0, "r")
    decoder.feed(stream(usages))
    assert (decoder.usage.prompt_tokens, decoder.usage.completion_tokens) == (prompt, answers[-1])


def test_a_price_that_comes_behind_the_count_joins_it() -> None:
    decoder = TRANSLATORS["openrouter"].Decoder(Context(), 0, "r")
    decoder.feed(openai_stream([{"prompt_tokens": 5, "completion_tokens": 2}, {"cost": 0.25}, {}, None]))
    assert decoder.usage == Usage(input_tokens=5, output_tokens=2, cost_usd="0.25")


def test_merging_takes_nothing_back() -> None:
    before = {"a": 5, "b": 0, "word": "x"}
    assert later(before, {"a": 0, "b": 3, "word": "y"}) == {"a": 5, "b": 3, "word": "y"}
    assert later(before, {"a": None, "word": None, "c": 1.0}) == {**before, "c": 1.0}
    assert later(before, {"a": 4}) == {**before, "a": 4}
