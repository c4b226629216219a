"""The built-in model: it answers with no provider's key, and is metered and billed like any other."""

import asyncio
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import openai
import pytest

from gateway import config, demo
from gateway.prices.facts import Facts, ModelList
from tests.running import Running, in_thread


@pytest.fixture
def gateway(store_env: Mapping[str, str]) -> Iterator[Running]:
    with in_thread(None, store_env) as running:
        yield running


def test_it_answers_and_streams_and_its_price_is_charged(gateway: Running) -> None:
    ask: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(), max_retries=0) as client:
        whole = client.chat.completions.create(**ask)
        chunks = list(client.chat.completions.create(**ask, max_tokens=7, stream=True))
        models = [model.id for model in client.models.list()]
    assert whole.choices[0].message.content == demo.GREETING
    assert whole.choices[0].finish_reason == "stop"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == " ".join(demo.GREETING.split()[:7])
    assert chunks[-1].choices[0].finish_reason == "length"
    assert models == ["demo"]
    assert whole.usage is not None
    second, first = gateway.entries()
    # pricing.yaml: 0.1 USD per million tokens in, 0.4 out
    assert Decimal(first["cost_usd"]) == (
        whole.usage.prompt_tokens * Decimal("0.0000001") + whole.usage.completion_tokens * Decimal("0.0000004")
    )
    assert second["tokens"]["output_tokens"] == 7
    assert not first["estimated"] and not second["estimated"]


def test_a_reply_that_is_closed_says_no_more() -> None:
    async def cut() -> tuple[bytes, bytes]:
        reply = demo.answer(b'{"messages":[],"stream":true}', 1, "r")
        first = await reply.next()
        reply.close()
        return first, await reply.next()

    first, rest = asyncio.run(cut())
    assert first.startswith(b"data: {")
    assert rest == b""


def test_it_keeps_to_a_limit_and_to_stop_and_gives_as_many_choices_as_are_asked_for(gateway: Running) -> None:
    ask: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    key = gateway.new_key(max_budget=1)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
        stopped = client.chat.completions.create(**ask, stop=["demo", "adga"])
        silent = client.chat.completions.create(**ask, stop="Hello")
        limited = client.chat.completions.create(**ask, max_tokens=2, stop="adga")
        three = client.chat.completions.create(**ask, n=3, max_completion_tokens=2)
        streamed = list(client.chat.completions.create(**ask, n=2, stop="adga", stream=True))
    assert stopped.choices[0].message.content == "Hello from He"
    assert (stopped.choices[0].finish_reason, stopped.usage and stopped.usage.completion_tokens) == ("stop", 3)
    assert (silent.choices[0].message.content, silent.choices[0].finish_reason) == ("", "stop")
    assert (limited.choices[0].message.content, limited.choices[0].finish_reason) == ("Hello from", "length")
    assert [choice.message.content for choice in three.choices] == ["Hello from"] * 3
    assert three.usage is not None and three.usage.completion_tokens == 6
    said = {0: "", 1: ""}
    for chunk in streamed:
        said[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert said == {0: "Hello from He", 1: "Hello from He"}


def test_what_it_does_not_heed_is_reported(gateway: Running) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    ask: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    more = {"tools": [tool], "tool_choice": "required", "response_format": {"type": "json_object"}, "temperature": 0.5}
    key = gateway.new_key(max_budget=10)
    heeded = {"stop": "adga", "n": 2, "user": "ada", "stream": False, "store": False}
    plain, asked = gateway.chat(key, ask | heeded), gateway.chat(key, ask | more)
    assert (plain.status_code, plain.headers.get("x-headgate-dropped")) == (200, None)
    assert asked.headers["x-headgate-dropped"].split(", ") == list(more)
    assert asked.json()["choices"][0]["message"]["content"] == demo.GREETING


def test_its_facts_are_true_with_any_models_yaml() -> None:
    told = config.load(None, None, None, {}).facts.lookup("demo", "demo")
    assert told == Facts(ModelList()).lookup("demo", "demo")
    assert told.max_output_tokens is not None and len(demo.GREETING.split()) <= told.max_output_tokens
    assert not (told.vision or told.structured_output or told.forced_tool or told.sampling)
