"""What a recorded exchange says, read in the plainest way, and independent of the translators that it judges.

One reader per wire format: the response's bytes in, a `Said` out. What a client gets is read by `openai` too.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]

Json = dict[str, Any]


class Call(NamedTuple):
    """One tool call; `id` is "" where the provider gave none."""

    id: str
    name: str
    arguments: Any  # parsed, or the text itself where it is no JSON


@dataclass
class Choice:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    finish: str | None = None  # OpenAI's word
    calls: list[Call] = field(default_factory=list)


@dataclass
class Said:
    choices: dict[int, Choice] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    failed: bool = False  # the provider reported an error within its 200
    blocked: bool = False  # nothing but a refusal to answer: an error or a content_filter finish says it

    def choice(self, index: int) -> Choice:
        return self.choices.setdefault(index, Choice())


def arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except json.JSONDecodeError:
        return text


def events(body: bytes) -> Iterator[Json]:
    """The JSON of each server-sent event; also of a bare JSON array or object."""
    text = body.decode()
    if text.lstrip().startswith(("[", "{")):
        whole = json.loads(text)
        yield from whole if isinstance(whole, list) else [whole]
        return
    for block in text.replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].strip() for line in block.split("\n") if line.startswith("data:"))
        if data and data != "[DONE]":
            yield json.loads(data)


# ── OpenAI and its like ──────────────────────────────────────────────────────────────────────────────────────────────


def openai(body: bytes) -> Said:
    """A whole completion or a stream of chunks, of any host."""
    said, calls = Said(), dict[tuple[int, int], list[str]]()
    start = body.find(b"{")
    text = body.lstrip()
    stream = text.startswith((b"data:", b":", b"event:"))
    for chunk in events(body) if stream else [json.loads(body[start:])]:
        if chunk.get("error"):
            said.failed = True
        for choice in chunk.get("choices") or ():
            said.failed = said.failed or bool(choice.get("error")) or choice.get("finish_reason") == "error"
            _openai_choice(said, choice, stream, calls)
        _openai_usage(said, chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or {})
    for (index, _), (id, name, text_of_arguments) in sorted(calls.items()):
        said.choice(index).calls.append(Call(id, name, arguments(text_of_arguments)))
    return said


def _openai_choice(said: Said, choice: Json, stream: bool, calls: dict[tuple[int, int], list[str]]) -> None:
    index = choice.get("index", 0)
    made = said.choice(index)
    made.finish = choice.get("finish_reason") or made.finish
    delta = choice.get("delta" if stream else "message") or {}
    content = delta.get("content") or ""
    parts: list[Json] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for part in parts:
        made.text += part.get("text", "") if part["type"] == "text" else ""
        made.reasoning += "".join(inner.get("text", "") for inner in part.get("thinking", ()))  # Mistral
    made.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
    made.refusal += delta.get("refusal") or ""
    for at, call in enumerate(delta.get("tool_calls") or ()):
        held = calls.setdefault((index, call.get("index", at) if stream else at), ["", "", ""])
        body = call.get("function") or call.get("custom") or {}
        held[0] = held[0] or call.get("id") or ""
        held[1] = held[1] or body.get("name") or ""
        held[2] += body.get("arguments") or body.get("input") or ""


def _openai_usage(said: Said, usage: Json) -> None:
    if not usage:
        return
    reads, made = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    total, audio = usage.get("total_tokens") or 0, reads.get("audio_tokens") or 0
    reasoning = made.get("reasoning_tokens") or 0
    if audio and total == prompt + completion + audio:  # Mistral
        prompt += audio
    if reasoning and total == prompt + completion + reasoning:  # xAI
        completion += reasoning
    if reasoning > completion and "market_cost" in usage:  # Vercel
        completion += reasoning
    spellings = [reads.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("num_cached_tokens")]
    said.prompt_tokens, said.completion_tokens = prompt, completion
    said.cached_tokens = min(prompt, next((found for found in spellings if found), 0))
    said.reasoning_tokens = min(completion, reasoning)


# ── Anthropic ────────────────────────────────────────────────────────────────────────────────────────────────────────

_ANTHROPIC_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def anthropic(body: bytes) -> Said:
    """A whole message or its events. Server tools' calls and results are not the client's to answer: left out."""
    said, usage = Said(), dict[str, Any]()
    blocks: dict[int, Json] = {}
    for event in events(body):
        match event.get("type"):
            case "message":
                blocks = dict(enumerate(event["content"]))
                said.choice(0).finish = _ANTHROPIC_FINISH.get(event["stop_reason"], "stop")
                usage = event["usage"]
            case "message_start":
                said.choice(0)
                usage |= event["message"]["usage"]
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                _anthropic_delta(blocks[event["index"]], event["delta"])
            case "message_delta":
                if reason := event["delta"].get("stop_reason"):
                    said.choice(0).finish = _ANTHROPIC_FINISH.get(reason, "stop")
                usage |= {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
            case "error":
                said.failed = True
    for block in blocks.values():
        _anthropic_block(said.choice(0), block)
    read = usage.get("cache_read_input_tokens") or 0
    said.prompt_tokens = (usage.get("input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0) + read
    said.completion_tokens, said.cached_tokens = usage.get("output_tokens") or 0, read
    return said


def _anthropic_delta(block: Json, delta: Json) -> None:
    for name, into in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
        if name in delta:
            block[into] = block.get(into, "") + delta[name]


def _anthropic_block(made: Choice, block: Json) -> None:
    match block["type"]:
        case "text":
            made.text += block["text"]
        case "thinking":
            made.reasoning += block["thinking"]
        case "tool_use":
            told = arguments(block["json"]) if block.get("json") else block["input"]
            made.calls.append(Call(block["id"], block["name"], told))


# ── Gemini ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_GEMINI_FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
# some answers give the enum by its number (google-genai 3.4, types.FinishReason)
_GEMINI_NUMBERS: dict[Any, str] = {
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
}
_GEMINI_BLOCKED = {
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
    "LANGUAGE",
}


def gemini(body: bytes) -> Said:
    """A whole GenerateContentResponse, or a stream of them."""
    said, usage = Said(), dict[str, Any]()
    for chunk in events(body):
        if chunk.get("error"):
            said.failed = True
        if (chunk.get("promptFeedback") or {}).get("blockReason"):
            said.blocked = True
        for candidate in chunk.get("candidates") or ():
            _gemini_candidate(said.choice(candidate.get("index", 0)), candidate, said)
        usage |= chunk.get("usageMetadata") or {}
    for made in said.choices.values():
        if made.calls and made.finish == "stop":
            made.finish = "tool_calls"
    thoughts = usage.get("thoughtsTokenCount") or 0
    said.prompt_tokens = (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0)
    said.completion_tokens = (usage.get("candidatesTokenCount") or 0) + thoughts
    said.cached_tokens, said.reasoning_tokens = usage.get("cachedContentTokenCount") or 0, thoughts
    return said


def _gemini_candidate(made: Choice, candidate: Json, said: Said) -> None:
    for part in (candidate.get("content") or {}).get("parts") or ():
        if part.get("thought"):
            made.reasoning += part.get("text", "")
        elif "text" in part:
            made.text += part["text"]
        if "functionCall" in part:
            _gemini_call(made, part["functionCall"])
    if told := candidate.get("finishReason"):
        reason = _GEMINI_NUMBERS.get(told) or str(told)
        said.blocked = said.blocked or reason in _GEMINI_BLOCKED
        made.finish = _GEMINI_FINISH.get(reason, "content_filter" if reason in _GEMINI_BLOCKED else reason)


def _gemini_call(made: Choice, call: Json) -> None:
    """A call, or on Vertex its beginning, which has the name, or a further piece of it; an empty piece is its end."""
    if "name" in call or not made.calls:
        made.calls.append(Call(call.get("id") or "", call.get("name", ""), dict(call.get("args") or {})))
    for piece in call.get("partialArgs") or ():
        *folders, name = piece["jsonPath"].removeprefix("$.").split(".")
        here = made.calls[-1].arguments
        for folder in folders:
            here = here.setdefault(folder, {})
        value = next(piece[kind] for kind in piece if kind.endswith("Value"))
        here[name] = here.get(name, "") + value if isinstance(value, str) else value


# ── Bedrock ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_CONVERSE_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


def frames(body: bytes) -> Iterator[tuple[str, Json]]:
    """The events of AWS's binary stream, each with its type, as botocore reads them."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for message in buffer:
        told = message.headers
        yield told.get(":event-type") or told.get(":exception-type") or "error", json.loads(message.payload or b"{}")


def converse(body: bytes) -> Said:
    """A whole ConverseResponse, or the events of a ConverseStream."""
    said = Said()
    made = said.choice(0)
    if body.startswith(b"{"):
        told = json.loads(body)
        blocks = told["output"]["message"]["content"]
    else:
        told, blocks = _converse_events(body, said)
    for block in blocks:
        _converse_block(made, block)
    reason = told.get("stopReason")
    made.finish = _CONVERSE_FINISH.get(reason) if reason else None
    if made.calls and made.finish == "stop":
        made.finish = "tool_calls"
    usage = told.get("usage") or {}
    said.cached_tokens = usage.get("cacheReadInputTokens") or 0
    written = usage.get("cacheWriteInputTokens") or 0
    said.prompt_tokens = (usage.get("inputTokens") or 0) + said.cached_tokens + written
    said.completion_tokens = usage.get("outputTokens") or 0
    return said


def _converse_events(body: bytes, said: Said) -> tuple[Json, list[Json]]:
    told: Json = {}
    blocks: dict[int, Json] = {}
    for kind, event in frames(body):
        at = event.get("contentBlockIndex", 0)
        if kind == "contentBlockStart":
            blocks[at] = {name: {**value, "input": ""} for name, value in event["start"].items()}
        elif kind == "contentBlockDelta":
            _converse_delta(blocks.setdefault(at, {}), event["delta"])
        elif kind in ("messageStop", "metadata"):
            told |= event
        said.failed = said.failed or kind.endswith("Exception") or kind == "error"
    return told, [blocks[at] for at in sorted(blocks)]


def _converse_delta(block: Json, delta: Json) -> None:
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    thought = (delta.get("reasoningContent") or {}).get("text")
    if thought is not None:
        inner = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
        inner["text"] += thought
    if "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]


def _converse_block(made: Choice, block: Json) -> None:
    made.text += block.get("text", "")
    made.text += "".join(part["text"] for part in (block.get("citationsContent") or {}).get("content") or ())
    made.reasoning += (block.get("reasoningContent") or {}).get("reasoningText", {}).get("text", "")
    use = block.get("toolUse")
    if use and use.get("type") != "server_tool_use":
        told = use["input"]
        made.calls.append(Call(use["toolUseId"], use["name"], arguments(told) if isinstance(told, str) else told))


class Api(NamedTuple):
    """A kind of recording: which dialect answers for it, and how to read it."""

    dialect: str
    read: Callable[[bytes], Said]


APIS: dict[str, Api] = {
    "anthropic.messages": Api("anthropic", anthropic),
    "azure.anthropic.messages": Api("anthropic", anthropic),
    "bedrock.converse": Api("bedrock", converse),
    "bedrock.converseStream": Api("bedrock", converse),
    "vertex.generateContent": Api("vertex", gemini),
    "vertex.streamGenerateContent": Api("vertex", gemini),
    "vertex.anthropic.rawPredict": Api("vertex_anthropic", anthropic),
    "vertex.anthropic.streamRawPredict": Api("vertex_anthropic", anthropic),
    "gemini.generateContent": Api("gemini", gemini),
    "gemini.streamGenerateContent": Api("gemini", gemini),
}


def api(name: str, dialects: set[str]) -> Api | None:
    """The API of a recordings file `name`, if one of `dialects` speaks it."""
    provider, _, kind = name.partition(".")
    if kind == "openai_chat":  # a host's endpoint in OpenAI's shape, beside its own
        return Api("openai", openai)
    if kind == "chat":
        return Api(provider if provider in dialects else "openai", openai)
    found = APIS.get(name)
    return found if found is not None and found.dialect in dialects else None
