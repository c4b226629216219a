"""Signed reasoning through a client that knows nothing of it: the plain `openai` SDK, two turns, a running gateway.

Turn one is answered with signed reasoning and tool calls; the client sends back what OpenAI's shape has room for; what
reaches the provider on turn two is what it demands. On both stores, and from worker to worker.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.replay import EVENTS, Reply, Upstream, json_reply, recorded, recording
from tests.running import Running, configured
from tests.test_sdks import PRICES, TOOLS

ROUTES = """
providers:
  anthropic: {{dialect: anthropic, base_url: "{url}", api_key: k}}
  gemini: {{dialect: gemini, base_url: "{url}", api_key: k}}
  openrouter: {{dialect: openrouter, base_url: "{url}/v1", api_key: k}}
routes:
  routed: openrouter/anthropic/claude-haiku-4.5
  claude: anthropic/claude-opus-4-6
  gemini: gemini/gemini-3-flash-preview
"""
ASK: list[Any] = [{"role": "user", "content": "Add and multiply 2 and 3"}]

THINKING = {"type": "thinking", "thinking": "Both tools are needed.", "signature": "EqQBsignature=="}
REDACTED = {"type": "redacted_thinking", "data": "EmwKredacted=="}
TEXT = {"type": "text", "text": "I will use both."}
CALLS = [
    {"type": "tool_use", "id": "toolu_01", "name": "add", "input": {"a": 2, "b": 3}},
    {"type": "tool_use", "id": "toolu_02", "name": "multiply", "input": {"a": 2, "b": 3}},
]


@contextmanager
def running(upstream: Upstream, store_env: Mapping[str, str], folder: Path) -> Iterator[Running]:
    rows = PRICES.replace("model-a", "claude-opus-4-6").replace("model-g", "gemini-3-flash-preview")
    rows = rows.replace("model-o", "anthropic/claude-haiku-4.5")
    with configured(ROUTES.format(url=upstream.url), rows, store_env, folder) as gateway:
        yield gateway


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    with running(upstream, store_env, tmp_path) as one:
        yield one


def message(*content: object) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-6",
        "content": list(content),
        "stop_reason": "tool_use" if CALLS[0] in content else "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 40},
    }


def streamed(*content: dict[str, Any]) -> Reply:
    """Anthropic's events for a message, as its API sends them: thinking and signature apart, input in pieces."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message(), "content": []}}]
    for index, block in enumerate(content):
        head = {
            "text": {"type": "text", "text": ""},
            "thinking": {"type": "thinking", "thinking": "", "signature": ""},
            "tool_use": {**block, "input": {}},
        }.get(block["type"], block)
        events.append({"type": "content_block_start", "index": index, "content_block": head})
        deltas: list[dict[str, Any]] = []
        if block["type"] == "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": part} for part in (block["thinking"][:9], block["thinking"][9:])
            ]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] == "text":
            deltas = [{"type": "text_delta", "text": block["text"]}]
        elif block["type"] == "tool_use":
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", text[:5], text[5:])]
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    reason = message(*content)["stop_reason"]
    events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 40}})
    events.append({"type": "message_stop"})
    return Reply(200, EVENTS, tuple(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events))


def said(sdk: openai.OpenAI, model: str, messages: list[Any], *, stream: bool, **more: Any) -> dict[str, Any]:
    """The assistant's message as a client that knows OpenAI's fields keeps it."""
    if stream:
        with sdk.chat.completions.stream(model=model, messages=messages, tools=TOOLS, **more) as events:
            made = events.get_final_completion().choices[0].message
    else:
        made = sdk.chat.completions.create(model=model, messages=messages, tools=TOOLS, **more).choices[0].message
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in made.tool_calls or []
    ]
    kept: dict[str, Any] = {"role": "assistant", "content": made.content}
    return kept | ({"tool_calls": calls} if calls else {})


def answered(turn: dict[str, Any]) -> list[Any]:
    """The conversation so far, with the tools' results or another question."""
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "5"} for call in turn.get("tool_calls") or ()]
    return [*ASK, turn, *(results or [{"role": "user", "content": "Why?"}])]


def client(gateway: Running, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)


def second_request(
    gateway: Running, upstream: Upstream, model: str, first: Reply, last: Reply, *, stream: bool, **more: Any
) -> dict[str, Any]:
    """What reaches the provider on turn two."""
    upstream.answer(first, last)
    with client(gateway, gateway.new_key()) as sdk:
        turn = said(sdk, model, ASK, stream=stream, **more)
        said(sdk, model, answered(turn), stream=False, **more)
    body: dict[str, Any] = upstream.requests[-1].json()
    return body


# ── Anthropic ────────────────────────────────────────────────────────────────────────────────────────────────────────

CLAUDE_DONE = json_reply(200, message(TEXT))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "content",
    [
        (THINKING, *CALLS),
        (THINKING, TEXT, *CALLS),
        (REDACTED, THINKING, TEXT, CALLS[0]),
        (THINKING, TEXT, {**THINKING, "signature": "second=="}, *CALLS),
    ],
    ids=["thinking and calls", "text between", "redacted", "interleaved"],
)
def test_claude_gets_its_thinking_back_before_its_calls(
    gateway: Running, upstream: Upstream, content: tuple[dict[str, Any], ...], stream: bool
) -> None:
    first = streamed(*content) if stream else json_reply(200, message(*content))
    body = second_request(gateway, upstream, "claude", first, CLAUDE_DONE, stream=stream, reasoning_effort="high")
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == list(content)
    results = [block["tool_use_id"] for block in body["messages"][2]["content"]]
    assert results == [block["id"] for block in content if block["type"] == "tool_use"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_claude_gets_its_thinking_back_before_its_text(gateway: Running, upstream: Upstream, stream: bool) -> None:
    first = streamed(THINKING, TEXT) if stream else json_reply(200, message(THINKING, TEXT))
    body = second_request(gateway, upstream, "claude", first, CLAUDE_DONE, stream=stream, reasoning_effort="high")
    assert body["messages"][1]["content"] == [THINKING, TEXT]


def test_a_recorded_stream_of_claudes_comes_back_with_its_signature(gateway: Running, upstream: Upstream) -> None:
    row = recording("anthropic.messages", "817e30405c13")
    body = second_request(gateway, upstream, "claude", recorded(row), CLAUDE_DONE, stream=True, reasoning_effort="high")
    kept, text = body["messages"][1]["content"]
    assert kept["type"] == "thinking" and kept["signature"] in row["response"]["body_text"]
    assert len(kept["signature"]) > 100 and kept["thinking"] and text["type"] == "text"


def test_a_client_that_sends_reasoning_back_is_believed(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(json_reply(200, message(THINKING, *CALLS)), CLAUDE_DONE)
    key = gateway.new_key()
    asked = {"model": "claude", "messages": ASK, "tools": TOOLS, "reasoning_effort": "high"}
    turn = gateway.chat(key, asked).json()["choices"][0]["message"]
    assert turn["reasoning_content"] == THINKING["thinking"]
    turn["reasoning_details"][0]["signature"] = "the client's own"
    gateway.chat(key, {**asked, "messages": answered(turn)})
    content = upstream.requests[-1].json()["messages"][1]["content"]
    assert content == [{**THINKING, "signature": "the client's own"}, *CALLS]


# ── Gemini ───────────────────────────────────────────────────────────────────────────────────────────────────────────

GEMINI_DONE = json_reply(
    200,
    {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": "Done."}]}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12},
    },
)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_gemini_gets_the_signature_back_on_the_first_of_parallel_calls(
    gateway: Running, upstream: Upstream, stream: bool
) -> None:
    api, id = ("gemini.streamGenerateContent", "064c77c38d9f") if stream else ("gemini.generateContent", "de8d4e72cdba")
    row = recording(api, id)
    body = second_request(gateway, upstream, "gemini", recorded(row), GEMINI_DONE, stream=stream)
    parts = body["contents"][1]["parts"]
    calls = [part for part in parts if "functionCall" in part]
    signatures = [part.get("thoughtSignature") for part in calls]
    assert len(calls) >= 2 and signatures[0] and not any(signatures[1:])
    assert signatures[0] in row["response"]["body_text"]
    results = [part["functionResponse"] for part in body["contents"][2]["parts"]]
    assert [result["name"] for result in results] == [part["functionCall"]["name"] for part in calls]


def test_gemini_gets_the_signature_of_its_text_back(gateway: Running, upstream: Upstream) -> None:
    row = recording("gemini.streamGenerateContent", "a11e399be5ac")
    body = second_request(gateway, upstream, "gemini", recorded(row), GEMINI_DONE, stream=True)
    signed = [part for part in body["contents"][1]["parts"] if "thoughtSignature" in part]
    assert len(signed) == 1 and signed[0]["thoughtSignature"] in row["response"]["body_text"] and signed[0]["text"]


# ── OpenRouter ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_openrouter_gets_its_reasoning_details_back(gateway: Running, upstream: Upstream) -> None:
    row = recording("openrouter.chat", "9b947613b470")
    last = recording("openrouter.chat", "c07880ce4be7")
    body = second_request(gateway, upstream, "routed", recorded(row), recorded(last), stream=True)
    told = body["messages"][1]
    assert told["tool_calls"]
    (detail,) = [each for each in told["reasoning_details"] if each.get("signature")]
    assert detail["signature"] in row["response"]["body_text"] and detail["text"]


# ── whose it is, and where ───────────────────────────────────────────────────────────────────────────────────────────


def test_reasoning_is_never_put_into_another_teams_request(gateway: Running, upstream: Upstream) -> None:
    teams = [gateway.admin("POST", "teams", {"team_alias": name})["id"] for name in ("red", "blue")]
    red, mate, blue = (gateway.new_key(team_id=teams[at]) for at in (0, 0, 1))
    upstream.answer(json_reply(200, message(THINKING, *CALLS)), CLAUDE_DONE, CLAUDE_DONE)
    with client(gateway, red) as sdk:
        turn = said(sdk, "claude", ASK, stream=False, reasoning_effort="high")
    for key, expected in ((mate, [THINKING, *CALLS]), (blue, CALLS)):
        with client(gateway, key) as sdk:
            said(sdk, "claude", answered(turn), stream=False, reasoning_effort="high")
        assert upstream.requests[-1].json()["messages"][1]["content"] == expected


def test_the_next_turn_may_come_to_another_worker(
    upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path
) -> None:
    upstream.answer(streamed(THINKING, *CALLS), CLAUDE_DONE)
    with running(upstream, store_env, tmp_path) as one, running(upstream, store_env, tmp_path) as other:
        key = one.new_key()
        with client(one, key) as sdk:
            turn = said(sdk, "claude", ASK, stream=True, reasoning_effort="high")
        with client(other, key) as sdk:
            said(sdk, "claude", answered(turn), stream=False, reasoning_effort="high")
    assert upstream.requests[-1].json()["messages"][1]["content"] == [THINKING, *CALLS]


def test_another_providers_reasoning_is_left_out(gateway: Running, upstream: Upstream) -> None:
    """A conversation that moves to another model takes no signature along that this one could not read."""
    upstream.answer(json_reply(200, message(THINKING, *CALLS)), GEMINI_DONE)
    with client(gateway, gateway.new_key()) as sdk:
        turn = said(sdk, "claude", ASK, stream=False, reasoning_effort="high")
        said(sdk, "gemini", answered(turn), stream=False)
    assert THINKING["signature"] not in upstream.requests[-1].body.decode()
