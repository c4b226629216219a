"""What a provider said of its usage is the bill, whoever left before the end of its stream, and however it ended."""

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.replay import EVENTS, Reply, Upstream, event_reply
from tests.running import Running, configured

ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
  drained: {{dialect: openai, base_url: "{url}/v1", api_key: k, on_disconnect: drain}}
  openrouter: {{dialect: openrouter, base_url: "{url}/v1", api_key: k}}
  anthropic: {{dialect: anthropic, base_url: "{url}", api_key: k}}
  gemini: {{dialect: gemini, base_url: "{url}", api_key: k, on_disconnect: drain}}
routes:
  openai: openai/large
  drained: drained/large
  openrouter: openrouter/x/large
  anthropic: anthropic/large
  gemini: gemini/large
drain_s: 5
"""
PRICES = """
models:
  large: {input: 1, cache_write: 1, output: 10, source: made, as_of: 2026-11-20}
  x/large: {input: 1, output: 10, trust_provider_cost: true, source: made, as_of: 2026-11-20}
"""
ASK = [{"role": "user", "content": "Hello"}]
LONG = "x" * 4000  # a thousand tokens, by estimate; 500 by the provider's count
HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "large"}
SAID = HEAD | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": LONG}, "finish_reason": None}]}
FINISH = HEAD | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USED = {"prompt_tokens": 10, "completion_tokens": 500, "total_tokens": 510}
COUNT = HEAD | {"choices": [], "usage": USED}
COST = "0.00501"  # 10·1 + 500·10 µ$


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    with configured(ROUTES.format(url=upstream.url), PRICES, store_env, tmp_path) as running:
        yield running


def left_at(gateway: Running, mark: bytes, model: str, **more: object) -> dict[str, Any]:
    """The entry of a stream whose client leaves as soon as it has read `mark`."""
    body = orjson.dumps({"model": model, "messages": ASK, "stream": True, **more})
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.new_key()}\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        said = b""
        while mark not in said:
            said += connection.recv(65536)
    return gateway.entry()


@pytest.mark.parametrize(("model", "cost"), [("openai", COST), ("openrouter", "0.002")])
def test_who_leaves_behind_the_usage_pays_what_it_says(
    gateway: Running, upstream: Upstream, model: str, cost: str
) -> None:
    count = COUNT | {"usage": USED | ({"cost": 0.002} if model == "openrouter" else {})}
    whole = event_reply(SAID, FINISH, count)
    upstream.answer(replace(whole, pieces=(b"".join(whole.pieces),), ending="stall"))
    entry = left_at(gateway, b'"usage"', model, stream_options={"include_usage": True})
    assert (entry["cost_usd"], entry["estimated"]) == (cost, False)


def test_a_drained_stream_needs_no_done_to_be_whole(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(replace(event_reply(SAID, FINISH, COUNT, done=False), pause_s=0.3))
    entry = left_at(gateway, b"xxxx", "drained")
    assert (entry["ending"], entry["cost_usd"], entry["estimated"]) == ("hung_up", COST, False)


def gemini(text: str, tokens: int, **more: str) -> bytes:
    """One event of Gemini's; the counts are of all so far."""
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}
    used = {"promptTokenCount": 10, "candidatesTokenCount": tokens, "totalTokenCount": 10 + tokens}
    return b"data: " + json.dumps({"candidates": [candidate], "usageMetadata": used}).encode() + b"\r\n\r\n"


@pytest.mark.parametrize("n", [1, 2])
def test_a_drained_stream_of_gemini_is_whole_at_its_end(gateway: Running, upstream: Upstream, n: int) -> None:
    pieces = (gemini("x" * 2000, 1), gemini("y" * 2000, 500, finishReason="STOP"))
    upstream.handler = lambda _: Reply(200, EVENTS, pieces, pause_s=0.3)
    entry = left_at(gateway, b"xxxx", "gemini", n=n)
    assert (Decimal(entry["cost_usd"]), entry["estimated"]) == (n * Decimal(COST), False)


def anthropic(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)


START = anthropic(
    {
        "type": "message_start",
        "message": {"id": "m", "model": "large", "usage": {"input_tokens": 10, "output_tokens": 1}},
    }
)
OPEN = anthropic({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
STOP = anthropic(
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 500}},
    {"type": "message_stop"},
)


def words(text: str) -> bytes:
    return anthropic({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


def test_one_call_is_known_to_its_end_though_the_other_was_cut(gateway: Running, upstream: Upstream) -> None:
    whole = Reply(200, EVENTS, (START + OPEN, words(LONG), STOP))
    upstream.handler = lambda _: Reply(200, EVENTS, (START + OPEN, words("Hi")), pause_s=0.3, ending="cut")
    upstream.answer(whole)
    body = {"model": "anthropic", "messages": ASK, "stream": True, "n": 2, "max_tokens": 1000}
    gateway.chat(gateway.new_key(), body)
    entry = gateway.entry()
    assert (entry["cost_usd"], entry["estimated"]) == ("0.00503", True)  # 20·1 + (500 + 1)·10 µ$


def test_usage_behind_an_error_in_a_choice_is_billed(gateway: Running, upstream: Upstream) -> None:
    error = {"code": 502, "message": "boom"}
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "error", "error": error}
    upstream.answer(event_reply(HEAD | {"choices": [choice]}, COUNT | {"usage": USED | {"cost": 0.02}}))
    answer = gateway.chat(gateway.new_key(), {"model": "openrouter", "messages": ASK, "stream": True})
    assert answer.status_code == 502
    assert gateway.entry()["cost_usd"] == "0.02"


@pytest.mark.parametrize("ending", ["done", "cut"])
def test_a_prompt_that_was_read_is_paid_for_however_its_stream_ends(
    gateway: Running, upstream: Upstream, ending: Any
) -> None:
    upstream.answer(Reply(200, EVENTS, (START,), ending=ending))
    gateway.chat(gateway.new_key(), {"model": "anthropic", "messages": ASK, "stream": True, "max_tokens": 100})
    assert gateway.entry()["cost_usd"] == "0.00002"  # 10·1 + 1·10 µ$
