"""What a request was made of is gone when it ends: nothing of it waits for the garbage collector.

In a cycle of references, its body, answer and task stay until the collector comes by: that took a seventh of a whole
answer's CPU, and memory that came and went over hundreds of thousands of requests (issue 5).
"""

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.caller import Client
from tests.gateway.test_chat import ANSWER, COUNT, FINISH, SAY
from tests.replay import EVENTS, NOTHING, SILENCE, Reply, Upstream, event_reply, json_reply
from tests.running import Running, configured

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
TIMES = 5
BOTH = "both: {targets: [{model: openai/gone}], fallback: [openai/small]}"
CLOSED = {"connection": "close"}
OURS = ("gateway.", "translators.", "uvicorn.")


@pytest.fixture
def garbage() -> Iterator[Callable[[], Counter[str]]]:
    """What of ours the collector finds that nobody refers to, TIMES or more of a type; it comes by only when called."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def found() -> Counter[str]:
        gc.collect()
        names = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
        gc.garbage.clear()
        return Counter({name: times for name, times in names.items() if name.startswith(OURS) and times >= TIMES})

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    """One that asks for the model `gone` first, where `both` is asked for."""
    routes = ROUTES.format(url=upstream.url).replace("{small:", f"{{{BOTH}, small:")
    prices = PRICES.replace("{small:", "{gone: {input: 1, output: 1}, small:")
    with configured(routes, prices, store_env, tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("asked", "status", "reply"),
    [
        (HELLO, 200, json_reply(200, ANSWER)),
        (HELLO | {"stream": True}, 200, event_reply(SAY, FINISH, COUNT)),
        (HELLO | {"model": "unheard-of"}, 404, json_reply(200, ANSWER)),
        (HELLO, 200, json_reply(200, ANSWER, CLOSED)),
        (HELLO | {"stream": True}, 200, replace(event_reply(SAY, FINISH, COUNT), headers=EVENTS | CLOSED)),
        (HELLO | {"stream": True}, 200, replace(event_reply(SAY, done=False), ending="cut")),
        (HELLO, 502, NOTHING),
    ],
    ids=["whole", "streamed", "refused", "whole and closed", "streamed and closed", "broken off", "unreachable"],
)
def test_a_request_leaves_nothing_to_the_collector(
    asked: dict[str, Any],
    status: int,
    reply: Reply,
    upstream: Upstream,
    gateway: Running,
    garbage: Callable[[], Counter[str]],
) -> None:
    upstream.handler = lambda _: reply
    key = gateway.new_key(**LIMITS)
    assert gateway.chat(key, asked).status_code == status
    garbage()  # what is made once
    for _ in range(TIMES):
        assert gateway.chat(key, asked).status_code == status
    assert not garbage()


def test_a_target_that_failed_before_another_answered_leaves_nothing_to_the_collector(
    upstream: Upstream, gateway: Running, garbage: Callable[[], Counter[str]]
) -> None:
    upstream.handler = lambda request: NOTHING if request.json()["model"] == "gone" else json_reply(200, ANSWER)
    key = gateway.new_key(**LIMITS)
    asked = HELLO | {"model": "both"}
    assert gateway.chat(key, asked).headers["x-headgate-target"] == "openai/small"
    garbage()
    for _ in range(TIMES):
        assert gateway.chat(key, asked).is_success
    assert not garbage()


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_caller_who_hangs_up_leaves_nothing_to_the_collector(
    streamed: bool, upstream: Upstream, gateway: Running, garbage: Callable[[], Counter[str]]
) -> None:
    said = event_reply(SAY, done=False)
    upstream.handler = lambda _: said.stalled(len(said.body)) if streamed else SILENCE
    asked = HELLO | {"stream": streamed}
    key = gateway.new_key(**LIMITS)
    _hang_up(gateway, key, asked, upstream)
    gateway.entry()
    garbage()
    for _ in range(TIMES):
        _hang_up(gateway, key, asked, upstream)
    end = time.monotonic() + 5
    while len(gateway.entries()) <= TIMES and time.monotonic() < end:
        time.sleep(0.2)
    assert len(gateway.entries()) == TIMES + 1
    assert not garbage()


def _hang_up(gateway: Running, key: str, asked: dict[str, Any], upstream: Upstream) -> None:
    """Once the provider is at work."""
    before, left = len(upstream.requests), upstream.hung_up
    caller = Client(int(gateway.url.rpartition(":")[2]))
    caller.send("POST /v1/chat/completions", json.dumps(asked).encode(), authorization=f"Bearer {key}")
    upstream.wait_until(lambda: len(upstream.requests) > before)
    if asked["stream"]:
        assert caller.head()[0] == 200
    caller.hang_up()
    upstream.wait_until(lambda: upstream.hung_up > left)
