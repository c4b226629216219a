"""What the mock upstream sends is what the providers send: the translators read it."""

import json
from typing import Any

import pytest

from bench import answers
from bench.answers import DIALECTS, Dialect
from translators.exchange import Context
from translators.registry import TRANSLATORS


def content(frames: list[bytes]) -> str:
    """The text of OpenAI's chunks."""
    lines = [line[5:] for frame in frames for line in frame.decode().splitlines() if line.startswith("data:")]
    chunks: list[Any] = [json.loads(line) for line in lines]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("events", [64, 512])
def test_a_stream_has_so_many_events_and_one_text(dialect: Dialect, events: int) -> None:
    sent = answers.stream(dialect, events)
    blank = b"\r\n\r\n" if dialect == "gemini" else b"\n\n"
    assert sent.endswith(blank)
    assert sent.count(blank) == events
    decoder = TRANSLATORS[dialect].Decoder(Context(include_usage=True), 1, "r")
    text = content([*decoder.feed(sent), *decoder.close()])
    assert text.startswith(answers.FIRST)
    assert (decoder.usage.input_tokens, decoder.usage.output_tokens) == (159, 60)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_answer_is_read_and_weighs_about_a_kilobyte(dialect: Dialect) -> None:
    sent = answers.whole(dialect)
    answer = TRANSLATORS[dialect].response(sent, Context(), 1, "r")
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == answers.TEXT
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (159, 64)
    assert 700 < len(sent) < 1300


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_marks_tell_a_whole_answer_from_a_part(dialect: Dialect, streamed: bool) -> None:
    sent = answers.stream(dialect) if streamed else answers.whole(dialect)
    mark = answers.end_mark(dialect, streamed).encode()
    if dialect == "gemini" and streamed:
        mark = mark.strip(b'"')
    assert sent.count(mark) == 1
    assert answers.FIRST.encode() in sent[: len(sent) // 2]


def test_a_request_is_whole() -> None:
    request = answers.http("/v1/chat/completions", answers.chat("m", True), {"authorization": "Bearer k"})
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["stream"] is True
    assert 900 < len(body) < 1300
