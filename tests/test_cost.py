"""The hot paths stay short: calls of our own Python functions per request, which no noise of a machine changes.

The bound is what they were when somebody last looked, and a quarter. Where a feature is worth more than that, write the
new figure here; where a path has become shorter, too (issue 5; docs/performance.md has the times).
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import pytest

from tests.replay import Upstream, event_reply, json_reply
from tests.running import Running, configured

CALLS: dict[str, dict[str, float]] = {
    "a whole answer": {"redis": 226, "sqlite": 257},
    "an event of a stream": {"redis": 5.3, "sqlite": 5.3},
}
SLACK = 1.25
EVENTS = 60
PAUSE_S = 0.004  # between events, so that each is read by itself
ROUNDS = 7

OURS = tuple(f"{Path(__file__).parent.parent / package}/" for package in ("gateway", "translators"))
ROUTES = """
providers: {{openai: {{dialect: openai, base_url: "{url}/v1", api_key: k}}}}
routes: {{small: openai/small}}
"""
PRICES = "models: {small: {input: 2.5, output: 10, source: made, as_of: 2026-11-20}}\n"
LIMITS = {"max_budget": 1000, "budget_duration": "1mo", "rpm_limit": 10**6, "tpm_limit": 10**9}
HELLO: dict[str, Any] = {
    "model": "small",
    "max_completion_tokens": 400,
    "messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Hello"}],
}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "small-2026"}
USAGE = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
ANSWER = HEAD | {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
CHUNK = HEAD | {"object": "chat.completion.chunk"}
SAY = CHUNK | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi there"}, "finish_reason": None}]}
FINISH = CHUNK | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
COUNT = CHUNK | {"choices": [], "usage": USAGE}


class Calls:
    """Counts calls of functions in our packages, and resumptions of coroutines, in the threads that start from now."""

    def __init__(self) -> None:
        self.made = 0

    def heard(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.made += 1


@pytest.fixture
def calls() -> Iterator[Calls]:
    found, before = Calls(), threading.getprofile()
    threading.setprofile(found.heard)
    yield found
    threading.setprofile(before)


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path, calls: Calls) -> Iterator[Running]:
    with configured(ROUTES.format(url=upstream.url), PRICES, store_env, tmp_path) as running:
        yield running


def per_request(calls: Calls, gateway: Running, key: str, body: dict[str, Any]) -> float:
    """The median: a beat of the ledger falls into some of them."""
    counts = []
    for _ in range(ROUNDS):
        before = calls.made
        assert gateway.chat(key, body).is_success
        counts.append(calls.made - before)
    return median(counts)


def test_no_path_has_become_longer(
    gateway: Running, upstream: Upstream, calls: Calls, store_env: Mapping[str, str]
) -> None:
    assert sys.getprofile() is None  # this thread is not counted
    store = "redis" if "REDIS_URL" in store_env else "sqlite"
    key = gateway.new_key(**LIMITS)

    def streamed(events: int) -> float:
        said = event_reply(*[SAY] * events, FINISH, COUNT)
        compact = tuple(
            piece.replace(b'": ', b'":').replace(b", ", b",") for piece in said.pieces
        )  # as providers write
        paced = type(said)(said.status, said.headers, compact, PAUSE_S)
        upstream.handler = lambda _: paced
        return per_request(calls, gateway, key, HELLO | {"stream": True})

    upstream.handler = lambda _: json_reply(200, ANSWER)
    per_request(calls, gateway, key, HELLO)  # what is worked out once
    made = {"a whole answer": per_request(calls, gateway, key, HELLO)}
    few = streamed(4)
    made["an event of a stream"] = (streamed(4 + EVENTS) - few) / EVENTS
    bounds = {path: CALLS[path][store] * SLACK for path in made}
    assert all(made[path] <= bounds[path] for path in made), f"{made} calls, more than {bounds}"
