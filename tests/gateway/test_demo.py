"""The built-in model: it answers with no provider's key, and is metered and billed like any other."""

import asyncio
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import openai
import pytest

from gateway import demo
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
