"""`n` where a provider answers once a call: several calls at once under one hold, one answer, one bill."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.replay import Reply, Request, Upstream, json_reply, recorded, recording
from tests.running import Running, configured
from tests.test_sdks import PRICES, ROUTES

ASK: list[Any] = [{"role": "user", "content": "Hello"}]
# by its model, a recorded stream of each dialect, and what one costs (tests/test_sdks.py has the sums)
STREAMS = {
    "via-anthropic": ("anthropic.messages", "fef71385d643", "0.000708"),
    "via-gemini": ("gemini.streamGenerateContent", "f849e03c4765", "0.0004085"),
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "model-a",
    "content": [{"type": "text", "text": "One."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 4},
}


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    with configured(ROUTES.format(url=upstream.url), PRICES, store_env, tmp_path) as running:
        yield running


def before_its_end(row: Any) -> int:
    """Where all content has come, but not the usage and the end."""
    return recorded(row).body.index(b"event: message_delta")


def client(gateway: Running, **key: object) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(**key), max_retries=0)


def numbered(upstream: Upstream) -> None:
    """Each call gets a text of its own."""

    def answer(request: Request) -> Reply:
        text = f"Answer {len(upstream.requests)}."
        return json_reply(200, {**MESSAGE, "content": [{"type": "text", "text": text}]})

    upstream.handler = answer


def test_a_whole_answer_has_n_choices_and_one_bill(gateway: Running, upstream: Upstream) -> None:
    numbered(upstream)
    with client(gateway) as sdk:
        said = sdk.chat.completions.create(model="via-anthropic", messages=ASK, n=3)
    assert [choice.index for choice in said.choices] == [0, 1, 2]
    assert {choice.message.content for choice in said.choices} == {"Answer 1.", "Answer 2.", "Answer 3."}
    assert [choice.finish_reason for choice in said.choices] == ["stop"] * 3
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (30, 12, 42)
    assert len(upstream.requests) == 3 and not any("n" in request.json() for request in upstream.requests)
    (entry,) = gateway.entries()
    assert entry["cost_usd"] == "0.00027"  # 3 · (10·3 + 4·15 = 90 µ$)
    assert not entry["estimated"]
    report = gateway.admin("GET", "usage")
    assert Decimal(report["held_usd"]) == 0


@pytest.mark.parametrize("model", STREAMS)
def test_streams_come_as_one_with_a_finish_for_each_choice(gateway: Running, upstream: Upstream, model: str) -> None:
    api, id, cost_usd = STREAMS[model]
    row = recording(api, id)
    upstream.handler = lambda request: recorded(row).dripped(40)
    with client(gateway) as sdk:
        ids: set[tuple[str, int]] = set()
        texts, finishes, usage = ["", ""], [0, 0], []
        for chunk in sdk.chat.completions.create(
            model=model,
            messages=ASK,
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        ):
            ids.add((chunk.id, chunk.created))
            usage += [chunk.usage] if chunk.usage else []
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                finishes[choice.index] += choice.finish_reason is not None
        with sdk.chat.completions.stream(model=model, messages=ASK, n=2) as stream:
            rebuilt = stream.get_final_completion()
    assert len(ids) == 1 and len(usage) == 1
    assert texts[0] == texts[1] != "" and finishes == [1, 1]
    assert [choice.message.content for choice in rebuilt.choices] == texts
    assert usage[0].total_tokens == usage[0].prompt_tokens + usage[0].completion_tokens
    assert usage[0].prompt_tokens == rebuilt.usage.prompt_tokens if rebuilt.usage else True
    entries = gateway.entries()
    assert [Decimal(entry["cost_usd"]) for entry in entries] == [2 * Decimal(cost_usd)] * 2


def test_a_failure_of_one_is_the_failure_of_all_and_what_was_answered_is_billed(
    gateway: Running, upstream: Upstream
) -> None:
    refused = json_reply(429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}})
    upstream.handler = lambda request: replace(refused, first_byte_s=0.3)  # the other is there by then
    upstream.answer(json_reply(200, MESSAGE))
    with client(gateway) as sdk, pytest.raises(openai.RateLimitError, match="slow down"):
        sdk.chat.completions.create(model="via-anthropic", messages=ASK, n=2)
    (entry,) = gateway.entries()
    assert entry["cost_usd"] == "0.00009"
    assert Decimal(gateway.admin("GET", "usage")["held_usd"]) == 0


def test_an_error_in_one_stream_ends_all_without_done(gateway: Running, upstream: Upstream) -> None:
    row = recording(*STREAMS["via-anthropic"][:2])
    upstream.answer(recorded(row), recorded(row).cut(before_its_end(row)))
    answer = gateway.chat(gateway.new_key(), {"model": "via-anthropic", "messages": ASK, "n": 2, "stream": True})
    assert b"[DONE]" not in answer.content
    last = json.loads(answer.content.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert set(last["error"]) == {"message", "type", "param", "code"}
    (entry,) = gateway.entries()
    assert Decimal(entry["cost_usd"]) > 0


def test_a_hang_up_cancels_every_call(gateway: Running, upstream: Upstream) -> None:
    row = recording(*STREAMS["via-anthropic"][:2])
    upstream.handler = lambda request: recorded(row).stalled(before_its_end(row))
    with client(gateway) as sdk:
        stream = sdk.chat.completions.create(model="via-anthropic", messages=ASK, n=3, stream=True)
        next(iter(stream))
        stream.close()
    upstream.wait_until(lambda: upstream.hung_up == 3)
    upstream.wait_until(lambda: bool(gateway.entries()))
    (entry,) = gateway.entries()
    assert entry["ending"] == "hung_up"
    assert Decimal(entry["cost_usd"]) > 3 * 41 * Decimal("0.000003")  # the prompt of each, and what each had said


def test_the_hold_covers_the_prompt_of_every_call(gateway: Running, upstream: Upstream) -> None:
    """A cap that one call's prompt would fit, but not four's, refuses before anything is sent."""
    numbered(upstream)
    long: list[Any] = [{"role": "user", "content": "word " * 400}]
    with client(gateway, max_budget="0.012") as sdk:
        sdk.chat.completions.create(model="via-anthropic", messages=long, max_tokens=16)
        with pytest.raises(openai.RateLimitError):
            sdk.chat.completions.create(model="via-anthropic", messages=long, max_tokens=16, n=4)
    assert len(upstream.requests) == 1
