"""Every dialect's reading side, fed what no provider should send: chunks or an LLMError, never anything else.

Three kinds of input: bytes at random, recorded bytes cut up, repeated and flipped, and recorded JSON with values of
other types in their places, which goes deepest.
"""

import json
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import conformance
from tests.replay import FIXTURES, body_of
from translators import json_array, sse
from translators.errors import LLMError
from translators.exchange import Context
from translators.registry import TRANSLATORS
from translators.usage import BILLED, Usage

Json = dict[str, Any]

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
DIALECTS = pytest.mark.parametrize("dialect", TRANSLATORS)
CONTEXTS = (
    Context(model="m", include_usage=True),
    Context(model="m", json_tool="weather", custom_tools=frozenset({"add"}), tool_names={"multiply": "×"}),
    Context(model="m", function_call=True),
)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**70,
    1e308,
    "",
    "x",
    "\ud83d",
    "é\u2028",
    [],
    [None],
    ["x"],
    [[]],
    {},
    {"x": None},
)


def _bodies() -> dict[str, list[tuple[bytes, bool]]]:
    """By dialect, the recorded bodies of answers and whether each is a stream; longer ones are left to conformance."""
    found: dict[str, list[tuple[bytes, bool]]] = {dialect: [] for dialect in TRANSLATORS}
    for row, kind in conformance.rows(FIXTURES):
        body = body_of(row)
        if row["response"]["status"] < 400 and len(body) < 60_000:
            found[kind.dialect].append((body, row["stream"]))
    return found


BODIES = _bodies()


def corpus(dialect: str, *, stream: bool) -> list[bytes]:
    """Recorded bodies that `dialect` reads; where none of its own are carried, those of the shape that it wraps."""
    own = [body for body, streamed in BODIES[dialect] if streamed is stream]
    near = dialect.partition("_")[2] or "gemini"
    return own or [body for body, streamed in BODIES[near] if streamed is stream]


def pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.choice((1, 7, 100, 5000))
        yield data[at : at + size]
        at += size


def check_stream(dialect: str, data: bytes, chance: random.Random) -> None:
    """The one promise of a decoder, whatever its input."""
    decoder = TRANSLATORS[dialect].Decoder(chance.choice(CONTEXTS), 1, "r")
    frames: list[bytes] = []
    try:
        for piece in pieces(data, chance):
            frames += decoder.feed(piece)
        frames += decoder.close()
    except LLMError as error:
        check_error(error)
    assert all(frame.startswith(b"data:") and frame.endswith(b"\n\n") for frame in frames)
    check_usage(decoder.usage)
    assert decoder.output_bytes >= 0
    orjson.dumps(dict(decoder.remember))


def check_whole(dialect: str, data: bytes, chance: random.Random) -> None:
    try:
        answer = TRANSLATORS[dialect].response(data, chance.choice(CONTEXTS), 1, "r")
    except LLMError as error:
        check_error(error)
        return
    assert orjson.loads(answer.body)["choices"]
    check_usage(answer.usage)
    orjson.dumps(dict(answer.remember))


def check_error(error: LLMError) -> None:
    assert isinstance(error.message, str) and error.message
    assert 400 <= error.status < 600
    orjson.dumps(error.body())
    assert all(isinstance(value, str) for value in error.headers.values())


def check_usage(usage: Usage) -> None:
    assert all(getattr(usage, name) >= 0 for name in BILLED)
    orjson.dumps(usage.to_openai())


# ── recorded JSON, altered ───────────────────────────────────────────────────────────────────────────────────────────


def altered(value: Any, chance: random.Random) -> Any:
    """A copy with one value somewhere in it replaced, left out or repeated."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    copy = json.loads(json.dumps(value))
    walk(copy)
    if not places:
        return chance.choice(ODD)
    for _ in range(chance.choice((1, 1, 2, 4))):
        node, key = chance.choice(places)
        if isinstance(node, dict) and chance.random() < 0.15:
            node.pop(key, None)
        elif isinstance(node, dict) or key < len(node):
            node[key] = chance.choice(ODD)
    return copy


def altered_stream(body: bytes, chance: random.Random) -> bytes:
    """An event stream with its events altered, repeated, left out, and in another order."""
    blocks = body.replace(b"\r\n", b"\n").split(b"\n\n")
    made: list[bytes] = []
    for block in blocks:
        lines = block.split(b"\n")
        for at, line in enumerate(lines):
            if line.startswith(b"data: {") and chance.random() < max(0.2, 3 / len(blocks)):
                lines[at] = b"data: " + json.dumps(altered(json.loads(line[6:]), chance)).encode()
        made += [b"\n".join(lines)] * chance.choice((1, 1, 1, 1, 1, 1, 0, 2))
    if chance.random() < 0.3:
        chance.shuffle(made)
    return b"\n\n".join(made) + b"\n\n"


def flipped(body: bytes, chance: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(chance.choice((1, 3, 20))):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return bytes(chance.choice((data, data[:end], data[start:], data + data[start:end])))


@DIALECTS
@QUICK
@given(seed=st.integers(0, 2**32))
def test_a_decoder_fed_altered_events_gives_chunks_or_an_error_of_ours(dialect: str, seed: int) -> None:
    chance = random.Random(seed)
    body = chance.choice(corpus(dialect, stream=True))
    for _ in range(5):
        check_stream(dialect, altered_stream(body, chance), chance)
        check_stream(dialect, flipped(body, chance), chance)


@DIALECTS
@QUICK
@given(seed=st.integers(0, 2**32))
def test_an_altered_answer_is_an_answer_or_an_error_of_ours(dialect: str, seed: int) -> None:
    chance = random.Random(seed)
    body = chance.choice(corpus(dialect, stream=False))
    start = body.find(b"{")
    whole = json.loads(body[start:])
    for _ in range(10):
        check_whole(dialect, json.dumps(altered(whole, chance)).encode(), chance)
    check_whole(dialect, flipped(body, chance), chance)


@DIALECTS
@QUICK
@given(data=st.binary(max_size=400), seed=st.integers(0, 2**32))
def test_bytes_at_random_are_an_error_of_ours_or_nothing(dialect: str, data: bytes, seed: int) -> None:
    chance = random.Random(seed)
    for raw in (data, b"data: " + data + b"\n\n", b"[" + data, b'{"' + data):
        check_stream(dialect, raw, chance)
        check_whole(dialect, raw, chance)


@DIALECTS
@QUICK
@given(seed=st.integers(0, 2**32), status=st.integers(300, 599), data=st.binary(max_size=200))
def test_an_error_body_is_an_error_of_ours_whatever_it_holds(dialect: str, seed: int, status: int, data: bytes) -> None:
    chance = random.Random(seed)
    told = {
        "type": "error",
        "request_id": "r",
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "code": 400,
            "status": "INVALID_ARGUMENT",
            "param": "x",
            "details": [{"@type": "t", "reason": "r", "retryDelay": "3s", "metadata": {"a": "b"}}],
            "metadata": {"raw": '{"error":{"message":"inner"}}', "provider_name": "p"},
        },
    }
    headers = {"retry-after": chance.choice(("1", "-1", "x", "1e999", "nan", "")), "request-id": "é", "x-odd": "\x00"}
    bodies = [data, *(json.dumps(altered(chance.choice((told, [told])), chance)).encode() for _ in range(5))]
    for body in bodies:
        error = TRANSLATORS[dialect].error(status, headers, body)
        check_error(error)
        assert error.retry_after_s is None or 0 <= error.retry_after_s < 1e9


@DIALECTS
def test_a_decoder_keeps_no_growing_copy_of_what_it_has_relayed(dialect: str) -> None:
    """Two thousand frames of text: what stays in memory is the answer's text at most, for its signature."""
    text = "0123456789" * 100
    decoder = TRANSLATORS[dialect].Decoder(Context(), 1, "r")
    start, event = said_by(dialect, text)
    decoder.feed(start)
    decoder.feed(event)
    tracemalloc.start()
    try:
        for _ in range(2000):
            decoder.feed(event)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    said = 2000 * len(text)
    assert decoder.output_bytes >= said
    assert kept < (100_000 if dialect in ("openai", "vertex_openai") else said * 1.3)


def said_by(dialect: str, text: str) -> tuple[bytes, bytes]:
    """What begins a stream of `dialect`, and an event that says `text`."""
    if dialect == "bedrock":
        return b"", aws_frame({"contentBlockIndex": 0, "delta": {"text": text}})
    if dialect.endswith("anthropic"):
        start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        return sse.encode(orjson.dumps(start)), sse.encode(orjson.dumps(delta))
    if dialect in ("gemini", "vertex"):
        event: Json = {"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}}]}
    else:
        event = {"id": "i", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"", sse.encode(orjson.dumps(event))


def aws_frame(payload: Json) -> bytes:
    """One event of AWS's binary stream (botocore/eventstream.py): lengths, their CRC, headers, payload, CRC of all."""
    named = ((":event-type", "contentBlockDelta"), (":message-type", "event"))
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2) + value.encode() for name, value in named
    )
    data = orjson.dumps(payload)
    prelude = (16 + len(headers) + len(data)).to_bytes(4) + len(headers).to_bytes(4)
    whole = prelude + crc32(prelude).to_bytes(4) + headers + data
    return whole + crc32(whole).to_bytes(4)


@DIALECTS
@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b'data: {"x":"', b"y" * 5_000),
        (b"", b"data: " + b"y" * 5_000 + b"\n"),
        (b'[{"x":"', b"y" * 5_000),
        (b": ", b"y" * 5_000),
    ],
    ids=["a line", "an event of many lines", "an array's object", "a comment"],
)
def test_an_event_without_an_end_is_cut_off(
    dialect: str, start: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100_000)
    monkeypatch.setattr(json_array, "MAX_EVENT_BYTES", 100_000)
    decoder = TRANSLATORS[dialect].Decoder(Context(), 1, "r")
    with pytest.raises(LLMError):
        for part in (start, *[more] * 100):
            decoder.feed(part)
