"""Streams on a small cap: what they hold grows as they run, and ends them cleanly where it cannot."""

import json
import threading
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.test_chat import CHUNK, FINISH, HELLO, PRICES
from tests.replay import EVENTS, Reply, Request, Upstream, event_reply, json_reply
from tests.running import Running, configured

ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: k, shows_reasoning: true}}
  unknown: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
routes:
  small: openai/small
  hidden: unknown/small
  safe: {{targets: [{{model: openai/small}}], fallback: [openai/small]}}
usual_output_tokens: 64
wait_s: 0
"""
WORD = CHUNK | {"choices": [{"index": 0, "delta": {"content": "tok "}, "finish_reason": None}]}


def words(count: int, pause_s: float = 0.0, usage: Mapping[str, int] | None = None) -> Reply:
    """A stream of `count` words, a token each."""
    told = usage or {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}
    reply = event_reply(*[WORD] * count, FINISH, CHUNK | {"choices": [], "usage": told})
    return Reply(reply.status, reply.headers, reply.pieces, pause_s=pause_s)


def within(request: Request, count: int) -> Reply:
    """As a provider does that keeps to the limit it was told."""
    limit = json.loads(request.body).get("max_completion_tokens") or json.loads(request.body).get("max_tokens")
    return words(min(count, limit or count))


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    with configured(ROUTES.format(url=upstream.url), PRICES, store_env, tmp_path) as running:
        yield running


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def said(answer: httpx.Response) -> int:
    return answer.text.count('"tok ')


def test_a_stream_that_is_longer_than_usual_grows_its_hold_and_is_not_cut(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(words(400, pause_s=0.001))
    answer = gateway.chat(gateway.new_key(max_budget="0.02"), HELLO | {"stream": True})
    assert (answer.status_code, said(answer)) == (200, 400)
    assert answer.text.endswith("data: [DONE]\n\n")
    assert events_of(answer)[-1]["choices"][0]["finish_reason"] == "stop"
    (entry,) = gateway.entries()
    assert (entry["ending"], entry["cost_usd"]) == ("done", str(Decimal(10 * 2.5 + 400 * 10) / 10**6))


def test_the_provider_is_told_what_the_cap_affords_and_no_less(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda request: within(request, 10_000)
    answer = gateway.chat(gateway.new_key(max_budget="0.005"), HELLO | {"stream": True})
    assert answer.text.endswith("data: [DONE]\n\n")
    limit = json.loads(upstream.requests[0].body)["max_completion_tokens"]
    assert said(answer) == limit > 200  # 500 tokens cost 0.005; the prompt is held at its bound
    assert answer.headers["x-headgate-dropped"] == f"max_completion_tokens={limit}"
    (entry,) = gateway.entries()
    assert entry["ending"] == "done" and Decimal(entry["cost_usd"]) <= Decimal("0.005")


def test_a_stream_whose_hold_cannot_grow_is_ended_cleanly(gateway: Running, upstream: Upstream) -> None:
    """Another request of the key holds the rest of its cap."""
    key, cap = gateway.new_key(key_alias="shared", max_budget="0.02"), Decimal("0.02")
    upstream.handler = lambda request: (
        words(4000, pause_s=0.01) if json.loads(request.body).get("stream") else json_reply(200, {}).stalled(0)
    )
    large = HELLO | {"max_tokens": 1700}
    holding = threading.Thread(target=lambda: httpx.Client(timeout=3), daemon=True)
    with httpx.Client(timeout=30, headers={"authorization": f"Bearer {key}"}) as client, httpx.Client() as other:
        holding = threading.Thread(target=lambda: held(other, gateway, key, large), daemon=True)
        holding.start()
        upstream.wait_until(lambda: len(upstream.requests) == 1)
        long = [{"role": "user", "content": "Hello " * 20}]  # held at its bound, which leaves room for a late word
        body = HELLO | {"messages": long, "stream": True, "stream_options": {"include_usage": True}}
        answer = client.post(f"{gateway.url}/v1/chat/completions", json=body)
        report = gateway.admin("GET", "usage", key_alias="shared")
    assert answer.status_code == 200
    assert answer.text.endswith("data: [DONE]\n\n")
    *_, last, usage = events_of(answer)
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["headgate"]["ended_by"] == "budget"
    assert last["id"] == CHUNK["id"] and usage["choices"] == []
    assert 0 < said(answer) < 4000
    assert usage["usage"]["completion_tokens"] >= said(answer)
    upstream.wait_until(lambda: upstream.hung_up >= 1)
    (entry,) = [entry for entry in report["entries"] if entry["ending"] == "cut"]
    assert entry["estimated"] and Decimal(entry["cost_usd"]) > 0
    assert Decimal(report["spend_usd"]) + Decimal(report["held_usd"]) <= cap


def held(client: httpx.Client, gateway: Running, key: str, body: object) -> None:
    headers = {"authorization": f"Bearer {key}"}
    try:
        client.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=5)
    except (httpx.HTTPError, RuntimeError):
        return


def test_a_provider_that_ignores_its_limit_is_cut_off(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(words(5000, pause_s=0.0005))
    answer = gateway.chat(gateway.new_key(max_budget="0.005"), HELLO | {"stream": True})
    assert said(answer) < 1000
    assert events_of(answer)[-1]["choices"][0]["finish_reason"] == "length"
    (entry,) = gateway.entries()
    assert entry["ending"] == "cut" and Decimal(entry["cost_usd"]) <= Decimal("0.005")


def pieces(*events: Mapping[str, Any]) -> bytes:
    """Of a stream, in one write."""
    return b"".join(event_reply(*events, done=False).pieces)


def text(said: str, finish: str | None = None) -> dict[str, Any]:
    return CHUNK | {"choices": [{"index": 0, "delta": {"content": said}, "finish_reason": finish}]}


def test_a_stream_that_has_finished_is_read_on_to_its_usage_though_its_hold_cannot_grow(
    gateway: Running, upstream: Upstream
) -> None:
    count = CHUNK | {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 300, "total_tokens": 310}}
    told = (pieces(text("a")), pieces(text("x" * 6000), FINISH), pieces(count), b"data: [DONE]\n\n")
    upstream.answer(Reply(200, EVENTS, told, pause_s=0.1))
    answer = gateway.chat(gateway.new_key(max_budget="0.01"), HELLO | {"stream": True})
    assert answer.content == told[0] + told[1] + told[3]
    (entry,) = gateway.entries()
    assert (entry["ending"], entry["estimated"], entry["cost_usd"]) == ("done", False, "0.003025")


def test_a_provider_that_says_more_behind_a_finish_is_cut_off_and_billed_for_it(
    gateway: Running, upstream: Upstream
) -> None:
    upstream.answer(Reply(200, EVENTS, (pieces(text("x" * 1000, "stop")),) * 100, pause_s=0.01))
    answer = gateway.chat(gateway.new_key(max_budget="0.01"), HELLO | {"stream": True})
    assert events_of(answer)[-1]["headgate"]["ended_by"] == "budget"
    heard = answer.text.count('xxx"')
    assert 2 < heard < 20
    (entry,) = gateway.entries()
    assert entry["ending"] == "cut" and Decimal(entry["cost_usd"]) >= Decimal(heard * 250 * 10) / 10**6


LONG = CHUNK | {"choices": [{"index": 0, "delta": {"content": "x" * 1000}, "finish_reason": None}]}


@pytest.mark.parametrize(("cap", "whole"), [("5", True), ("1.4", False)])
def test_a_stream_in_sight_is_not_told_a_limit_that_nobody_knows_and_ends_with_the_cap_at_the_latest(
    gateway: Running, upstream: Upstream, cap: str, whole: bool
) -> None:
    """131,072 tokens cost 1.31: both caps afford them, one the 200,000 that may have come when all is read."""
    count = CHUNK | {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 50_000, "total_tokens": 50_010}}
    reply = event_reply(*[LONG] * 200, FINISH, count)
    upstream.answer(Reply(reply.status, reply.headers, reply.pieces, pause_s=0.002))
    answer = gateway.chat(gateway.new_key(max_budget=cap), HELLO | {"stream": True})
    assert "max_completion_tokens" not in json.loads(upstream.requests[0].body)
    assert "x-headgate-dropped" not in answer.headers
    (entry,) = gateway.entries()
    assert answer.text.endswith("data: [DONE]\n\n")
    if whole:
        assert (entry["ending"], entry["cost_usd"]) == ("done", "0.500025")
    else:
        assert (entry["ending"], events_of(answer)[-1]["headgate"]["ended_by"]) == ("cut", "budget")
        assert 100 < answer.text.count('xxx"') < 160


def test_what_cannot_be_seen_as_it_comes_gets_a_fixed_hold(gateway: Running, upstream: Upstream) -> None:
    """A model that is billed for more than it says is told to keep within what is held."""
    key = gateway.new_key(max_budget="0.05")
    told = {"prompt_tokens": 10, "completion_tokens": 300, "total_tokens": 310}
    upstream.answer(words(10, usage=told))
    assert gateway.chat(key, HELLO | {"stream": True}).status_code == 200
    upstream.handler = lambda request: within(request, 100)
    assert gateway.chat(key, HELLO | {"stream": True}).status_code == 200
    first, second = (json.loads(request.body)["max_completion_tokens"] for request in upstream.requests)
    assert first > 4000 > 700 > second
