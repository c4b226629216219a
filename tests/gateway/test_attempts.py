"""The attempt loop's own rules; what a client sees of it is in test_chat.py."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gateway.attempts import Course, _signed, masked
from gateway.routing import Target
from gateway.upstream import Timeouts
from tests import replay
from tests.gateway.test_chat import ANSWER, HELLO
from tests.gateway.test_chat import PRICES as SMALL
from tests.replay import Upstream, event_reply, json_reply
from tests.running import Running, configured
from translators.errors import LLMError
from translators.exchange import Context, Endpoint, UpstreamRequest

ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: k, timeouts: {{first_byte_s: 0.3, idle_s: 0.3}}}}
  anthropic: {{dialect: anthropic, base_url: "{url}", api_key: k}}
  second: {{dialect: openai, base_url: "{url}/second", api_key: k}}
routes:
  both: {{targets: [{{model: anthropic/small}}], fallback: [openai/small]}}
  small: openai/small
  weighted: {{targets: [{{model: openai/small, weight: 3}}, {{model: anthropic/small, weight: 1}}]}}
  "sm*": {{targets: [{{model: "openai/*"}}], fallback: [second/smart, openai/smart]}}
keepalive_s: 0.1
"""
PRICES = f"{SMALL}  smart: {{input: 2.5, output: 10, source: made, as_of: 2026-11-20}}\n"
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
ROLE = CHUNK | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
SAY = CHUNK | {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
FINISH = CHUNK | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.fixture
def gateway(upstream: Upstream, tmp_path: Path) -> Iterator[Running]:
    env = {"HEADGATE_DATA": str(tmp_path / "headgate.db")}
    with configured(ROUTES.format(url=upstream.url), PRICES, env, tmp_path) as running:
        yield running


def test_a_target_that_cannot_take_the_request_is_passed_over(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(json_reply(200, ANSWER))
    answer = gateway.chat(gateway.new_key(), HELLO | {"model": "both", "logit_bias": {"1": 1}})
    assert (answer.status_code, answer.headers["x-headgate-target"]) == (200, "openai/small")
    assert len(upstream.requests) == 1


def test_an_error_behind_the_role_and_before_content_still_falls_back(gateway: Running, upstream: Upstream) -> None:
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 5}}}
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    upstream.answer(event_reply(start, overloaded, done=False), event_reply(ROLE, SAY, FINISH))
    answer = gateway.chat(gateway.new_key(), HELLO | {"model": "both", "stream": True})
    assert answer.headers["x-headgate-target"] == "openai/small"
    assert answer.content.rstrip().endswith(b"[DONE]")


def test_a_stream_cut_before_content_falls_back(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(event_reply(ROLE, SAY).cut(20), event_reply(ROLE, SAY, FINISH))
    answer = gateway.chat(gateway.new_key(), HELLO | {"model": "both", "stream": True})
    assert answer.headers["x-headgate-attempts"] == "2"


def test_a_provider_that_says_nothing_is_a_timeout(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(replay.SILENCE)
    answer = gateway.chat(gateway.new_key(), HELLO)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    (entry,) = gateway.entries()
    assert (entry["target"], entry["estimated"]) == ("openai/small", True)  # it was at work, and is paid for its prompt


def test_weights_spread_the_first_tries(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda request: json_reply(200, ANSWER) if "completions" in request.path else replay.HTML
    key = gateway.new_key()
    for _ in range(40):
        assert gateway.chat(key, HELLO | {"model": "weighted"}).status_code == 200
    first_elsewhere = sum("messages" in request.path for request in upstream.requests)
    assert 1 <= first_elsewhere <= 25


def test_a_target_that_is_spelled_in_two_ways_is_asked_once(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(replay.SILENCE, json_reply(200, ANSWER))
    answer = gateway.chat(gateway.new_key(), HELLO | {"model": "smart"})
    assert (answer.status_code, answer.headers["x-headgate-target"]) == (200, "second/smart")
    assert [request.path for request in upstream.requests] == ["/v1/chat/completions", "/second/chat/completions"]


def test_every_call_that_was_at_work_when_time_was_up_is_owed() -> None:
    whole = Course("r", 1, {"model": "small"}, ())
    whole.lanes = tuple(Course(f"r{at}", 1, {"model": "small"}, ()) for at in range(3))
    assert not whole.at_work
    whole.lanes[0].written()
    whole.lanes[1].written()
    whole.lanes[1].accepted = True
    assert whole.at_work
    whole.failed(LLMError("timeout", "The request took longer than 1 s"))
    assert [lane.broke_off for lane in whole.lanes] == [True, True, False]
    assert whole.owes


def _target(connect_s: float) -> Target:
    endpoint = Endpoint(
        "far", "https://far.example", "the-api-key", "m", headers={"x-team": "blue", "x-token": "t0ken-of-ours"}
    )
    return Target("far", "m", "", "openai", endpoint, None, Timeouts(connect_s, 600, 120), total_s=60)


def test_credentials_that_do_not_come_are_a_target_that_cannot_be_reached() -> None:
    class Hanging:
        async def signed(self, sent: UpstreamRequest) -> Mapping[str, str]:
            await asyncio.sleep(60)
            return {}

        async def close(self) -> None: ...

    sent = UpstreamRequest("https://far.example", {}, b"{}", Context())
    with pytest.raises(LLMError, match="credentials could not be had") as caught:
        asyncio.run(_signed(Hanging(), sent, _target(0.05)))
    assert (caught.value.kind, caught.value.fall_back) == ("connect", True)


def test_what_a_provider_repeats_of_its_secrets_is_masked() -> None:
    said = "the-api-key, blue, t0ken-of-ours, signed-t0ken and bearer-w0rd"
    signed = {"x-amz-security-token": "signed-t0ken", "authorization": "Bearer bearer-w0rd", "x-amz-date": "20261120"}
    assert masked(LLMError("upstream_auth", said), _target(5), signed).message == "…, blue, …, … and …"
    assert masked(LLMError("upstream_auth", said), _target(5)).message == "…, blue, …, signed-t0ken and bearer-w0rd"
