"""The OpenAI SDKs as clients of a running gateway, through each dialect, on both stores; and what they were billed.

The figures are worked out by hand from the recorded usage and PRICES, to the nano-dollar.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from pydantic import BaseModel

from tests.replay import Reply, Request, Upstream, recorded, recording
from tests.running import Running, configured

NODE = Path(__file__).parent / "node" / "client.mjs"
ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
  anthropic: {{dialect: anthropic, base_url: "{url}", api_key: k}}
  gemini: {{dialect: gemini, base_url: "{url}", api_key: k}}
routes:
  via-openai: openai/model-o
  via-anthropic: anthropic/model-a
  via-gemini: gemini/model-g
"""
PRICES = """
models:
  model-o: {input: 0.25, cache_read: 0.025, output: 2.00, source: made, as_of: 2026-11-20}
  model-a: {input: 3, cache_read: 0.30, cache_write: 3.75, output: 15, source: made, as_of: 2026-11-20}
  model-g: {input: 0.30, cache_read: 0.03, output: 2.50, source: made, as_of: 2026-11-20}
"""


class Case(NamedTuple):
    """A recorded stream for each thing that a client does, and what each costs."""

    api: str
    text: str
    tools: str
    parsed: str
    said: str  # by the text stream, in part
    cost_usd: tuple[str, str, str]  # of text, tools, parsed


CASES = {
    # prompt and completion tokens: 23, 8; 190, 379; 99, 13
    # 23·0.25 + 8·2 = 21.75 µ$; 190·0.25 + 379·2 = 805.5 µ$; 99·0.25 + 13·2 = 50.75 µ$
    "openai": Case(
        *("openai.chat", "92ef99f10f89", "2bb41488d351", "f20e14fedd37"),
        said="15.",
        cost_usd=("0.00002175", "0.0008055", "0.00005075"),
    ),
    # 41·3 + 39·15 = 708 µ$; 502·3 + 137·15 = 3561 µ$; 231·3 + 118·15 = 2463 µ$
    "anthropic": Case(
        *("anthropic.messages", "fef71385d643", "a7420199a294", "730b6e210e21"),
        said="traveler",
        cost_usd=("0.000708", "0.003561", "0.002463"),
    ),
    # 245·0.3 + (34 + 100)·2.5 = 408.5 µ$; 121·0.3 + (36 + 38)·2.5 = 221.3 µ$; 20·0.3 + (19 + 109)·2.5 = 326 µ$
    "gemini": Case(
        *("gemini.streamGenerateContent", "f849e03c4765", "064c77c38d9f", "ec005ab36835"),
        said="Santa Cruz",
        cost_usd=("0.0004085", "0.0002213", "0.000326"),
    ),
}
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name} two numbers",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
    for name in ("add", "multiply")
]


class Named(BaseModel):
    """What both recorded structured outputs hold, among other things."""

    name: str
    age: int


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    """A gateway whose three providers are the replaying upstream."""
    with configured(ROUTES.format(url=upstream.url), PRICES, store_env, tmp_path) as running:
        yield running


def answering(case: Case) -> "dict[str, Reply]":
    return {name: recorded(recording(case.api, getattr(case, name))) for name in ("text", "tools", "parsed")}


def what_is_asked(request: Request) -> str:
    body = request.body.decode()
    if '"tools"' in body:
        return "tools"
    return "parsed" if "json_schema" in body or "JsonSchema" in body or "output_config" in body else "text"


def billed(gateway: Running) -> list[str]:
    """The costs in the journal, oldest first, all of them exact figures and no estimates."""
    entries = list(reversed(gateway.entries()))
    assert not any(entry["estimated"] for entry in entries)
    return [entry["cost_usd"] for entry in entries]


@pytest.mark.parametrize("dialect", CASES)
def test_the_python_sdk_streams_calls_tools_and_parses(gateway: Running, upstream: Upstream, dialect: str) -> None:
    case = CASES[dialect]
    replies = answering(case)
    upstream.handler = lambda request: replies[what_is_asked(request)]
    model = f"via-{dialect}"
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(), max_retries=0) as client:
        text = ""
        usage = None
        for chunk in client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        ):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            usage = chunk.usage or usage
        assert case.said in text
        assert usage is not None and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0

        with client.chat.completions.stream(
            model=model, messages=[{"role": "user", "content": "Add and multiply 2 and 3"}], tools=TOOLS
        ) as stream:
            calls = stream.until_done().get_final_completion().choices[0].message.tool_calls or []
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            ("add", {"a": 2, "b": 3}),
            ("multiply", {"a": 2, "b": 3}),
        ]
        assert len({call.id for call in calls}) == 2

        with client.chat.completions.stream(
            model=model, messages=[{"role": "user", "content": "Invent somebody"}], response_format=Named
        ) as parsing:
            parsed = parsing.get_final_completion().choices[0].message.parsed
        assert parsed is not None and parsed.name and parsed.age > 0
    assert billed(gateway) == list(case.cost_usd)
    total = sum(map(Decimal, case.cost_usd))
    report = gateway.admin("GET", "usage", by="model")
    assert Decimal(report["spend_usd"]) == total
    assert Decimal(report["held_usd"]) == 0
    assert [group["requests"] for group in report["groups"]] == [3]


@pytest.mark.parametrize("dialect", CASES)
def test_the_async_sdk_streams(gateway: Running, upstream: Upstream, dialect: str) -> None:
    case = CASES[dialect]
    upstream.answer(answering(case)["text"].dripped(11))

    async def said() -> str:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(), max_retries=0) as client:
            stream = await client.chat.completions.create(
                model=f"via-{dialect}", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert case.said in asyncio.run(said())
    assert billed(gateway) == [case.cost_usd[0]]


@pytest.mark.parametrize("dialect", CASES)
def test_the_javascript_sdk_streams_calls_tools_and_parses(gateway: Running, upstream: Upstream, dialect: str) -> None:
    case = CASES[dialect]
    replies = answering(case)
    upstream.handler = lambda request: replies[what_is_asked(request)]
    ran = subprocess.run(
        ["node", NODE, f"{gateway.url}/v1", gateway.new_key(), f"via-{dialect}"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    seen = json.loads(ran.stdout)
    assert case.said in seen["text"]
    assert seen["calls"] == [["add", {"a": 2, "b": 3}], ["multiply", {"a": 2, "b": 3}]]
    assert seen["parsed"]["name"] and seen["parsed"]["age"] > 0
    assert billed(gateway) == list(case.cost_usd)
