"""A cap under fire: 200 requests at once through two workers never pass it, and use most of it."""

import asyncio
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.replay import Reply, Request, Upstream, event_reply, json_reply
from tests.running import Running, as_process

REQUESTS = 200
CAP = Decimal("0.01")
# 20·2.5 + 30·10 = 350 µ$ a request, so that the cap affords 28
COST = Decimal("0.00035")
AFFORDED = int(CAP / COST)
USAGE = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
PRICES = "models:\n  small: {input: 2.5, output: 10, source: made, as_of: 2026-11-20}\n"
ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
routes:
  small: openai/small
"""


def answered(request: Request) -> Reply:
    head: dict[str, Any] = {"id": "chatcmpl-1", "created": 1, "model": "small"}
    if json.loads(request.body).get("stream"):
        chunk = head | {"object": "chat.completion.chunk"}
        delta = {"index": 0, "delta": {"role": "assistant", "content": "A"}, "finish_reason": None}
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        events = ({"choices": [delta]}, {"choices": [end]}, {"choices": [], "usage": USAGE})
        reply = event_reply(*(chunk | event for event in events))
    else:
        choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
        reply = json_reply(200, head | {"object": "chat.completion", "choices": [choice], "usage": USAGE})
    return Reply(reply.status, reply.headers, reply.pieces, first_byte_s=0.05)


async def burst(gateway: Running, key: str, limits: Mapping[str, int], stream: bool) -> list[tuple[int, str | None]]:
    """The status and the error's code of every answer."""
    body = {"model": "small", "stream": stream, "messages": [{"role": "user", "content": "Hello"}], **limits}
    bounds = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(timeout=60, limits=bounds, headers={"authorization": f"Bearer {key}"}) as client:
        answers = await asyncio.gather(
            *(client.post(f"{gateway.url}/v1/chat/completions", json=body) for _ in range(REQUESTS))
        )
    return [(a.status_code, None if a.is_success else a.json()["error"]["code"]) for a in answers]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("limits", [{}, {"max_tokens": 500}], ids=["no-limit", "max_tokens"])
def test_a_burst_never_passes_a_cap_and_uses_most_of_it(
    upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path, limits: Mapping[str, int], stream: bool
) -> None:
    routes, pricing = tmp_path / "routes.yaml", tmp_path / "pricing.yaml"
    routes.write_text(ROUTES.format(url=upstream.url))
    pricing.write_text(PRICES)
    upstream.handler = answered
    arguments = ["--workers", "2", "--routes", str(routes), "--pricing", str(pricing)]
    with as_process(arguments, store_env) as gateway:
        key = gateway.new_key(key_alias="capped", max_budget=str(CAP))
        answers = asyncio.run(burst(gateway, key, limits, stream))
        report = gateway.admin("GET", "usage", key_alias="capped", limit="1000")
        late = gateway.chat(key, {"model": "small", "messages": [{"role": "user", "content": "Hello"}]})
    successes = [status for status, _ in answers if status == 200]
    assert {code for status, code in answers if status != 200} <= {"insufficient_quota", "rate_limit_exceeded"}
    assert Decimal(report["spend_usd"]) == len(successes) * COST <= CAP
    assert Decimal(report["held_usd"]) == 0
    assert len(upstream.requests) == len(successes) + (late.status_code == 200)
    assert len(successes) >= 0.8 * AFFORDED
