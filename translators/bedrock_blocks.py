"""Converse's content blocks, one after the other, as the deltas of an OpenAI message.

Extension fields beside OpenAI's: `reasoning_content`, `reasoning_details`, `server_tool_blocks` (what the provider's
own tools were asked and answered, and every block of an unknown kind, in Converse's words), `citations` (those that are
no URL), `images` (as OpenRouter gives them), and of the answer as a whole `trace`, `metrics`, `performanceConfig` and
`additionalModelResponseFields`. What is kept as a block also has its place in the answer, as `block_index`.

Source: botocore 1.44, bedrock-runtime 2023-09-30, ContentBlock and ContentBlockDelta; the recorded exchanges.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from translators.bedrock_turns import FORMAT, REMEMBERED
from translators.completion import tool_call_arguments, tool_call_start
from translators.exchange import Context
from translators.recall import text_key

Json = dict[str, Any]

# StopReason
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",  # "tool_calls" where calls are handed out
    "malformed_model_output": "stop",  # OpenAI has no word for these two; `native_finish_reason` says them
    "malformed_tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
KEPT = ("trace", "metrics", "performanceConfig", "additionalModelResponseFields")


def object_of(raw: Json, name: str) -> Json:
    """A member that should be an object, or nothing."""
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


def objects_of(raw: Json, name: str) -> list[Json]:
    """A member that should be a list of objects; what is none is left out."""
    value = raw.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


@dataclass(slots=True)
class _Block:
    """One content block that is open."""

    index: int  # among all blocks
    offset: int  # characters of text before it
    start: Json = field(default_factory=dict)  # what contentBlockStart said
    kind: str = ""  # text, reasoning, redacted, call, image or kept
    entry: int = -1  # its place in the list that it is handed out in
    pending: Json | None = None  # the head of that entry, until something is to be said of it
    json: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    signature: str = ""
    redacted: str = ""
    citations: list[Json] = field(default_factory=list)
    image: list[str] = field(default_factory=list)  # base64, piece by piece
    results: list[Json] = field(default_factory=list)  # of a server tool
    deltas: list[Json] = field(default_factory=list)  # of a kind that is not known


class Reply:
    """Turns blocks into OpenAI's deltas, and keeps what must be known at the end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[int, _Block] = {}
        self._text: list[str] = []
        self._length = 0  # characters of text
        self._lists: Counter[str] = Counter()  # entries so far in each list of the message
        self._layout: list[Json] = []
        self._signed = False
        self._call_ids: list[str] = []
        self.silent = True

    def whole(self, index: int, block: Json) -> Iterator[Json]:
        """A block of a whole answer, by way of the events that would have brought it."""
        match block:
            case {"text": str(text)}:
                yield from self.delta(index, {"text": text})
            case {"reasoningContent": {"reasoningText": dict(thought)}}:
                yield from self.delta(index, {"reasoningContent": {"text": thought.get("text")}})
                yield from self.delta(index, {"reasoningContent": {"signature": thought.get("signature")}})
            case {"reasoningContent": dict(thought)}:
                yield from self.delta(index, {"reasoningContent": thought})
            case {"toolUse": dict(use)}:
                yield from self.start(index, {"toolUse": {name: use[name] for name in use if name != "input"}})
                told = orjson.dumps(use.get("input", {})).decode()
                yield from self.delta(index, {"toolUse": {"input": told}})
            case {"citationsContent": dict(cited)}:
                for part in objects_of(cited, "content"):
                    yield from self.delta(index, {"text": part.get("text")})
                for citation in objects_of(cited, "citations"):
                    yield from self.delta(index, {"citation": citation})
            case {"image": {"format": str(form), "source": {"bytes": str()} as source}}:
                yield from self.start(index, {"image": {"format": form}})
                yield from self.delta(index, {"image": {"source": source}})
            case _:
                yield from self.start(index, block)
        yield from self.stop(index)

    def start(self, index: int, start: Json) -> Iterator[Json]:
        """contentBlockStart, which text and reasoning do without."""
        yield from self.stop(index)
        opened = self._open[index] = _Block(index, self._length, start)
        match start:
            case {"toolUse": {"toolUseId": str(id), "name": str()} as use} if id and use.get("type") != _SERVER:
                opened.kind = "call"
                yield from self._begin_call(opened)
            case {"image": {"format": str()}}:
                opened.kind = "image"
            case _ if start:
                opened.kind = "kept"

    def delta(self, index: int, delta: Json) -> Iterator[Json]:
        opened = self._open.get(index)
        if opened is None:
            opened = self._open[index] = _Block(index, self._length)
        match delta:
            case {"text": text}:
                opened.kind = opened.kind or "text"
                yield from self._say(text)
            case {"reasoningContent": dict(thought)}:
                yield from self._reason(opened, thought)
            case {"toolUse": {"input": str(part)}}:
                if part:
                    opened.json.append(part)
                    yield from self._carry_on(opened, part)
            case {"citation": dict(citation)}:
                opened.kind = opened.kind or "text"
                opened.citations.append(citation)
            case {"toolResult": list()}:
                opened.results += objects_of(delta, "toolResult")
            case {"image": {"source": {"bytes": str(piece)}}} if opened.kind == "image":
                opened.image.append(piece)
            case _ if delta:
                opened.deltas.append(delta)

    def stop(self, index: int) -> Iterator[Json]:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        match opened.kind:
            case "text":
                self._layout.append({"text": self._length - opened.offset})
                yield from self._cite(opened)
            case "reasoning":
                self._keep_reasoning(opened)
            case "redacted":
                self._signed = True
                self._layout.append({"reasoningContent": {"redactedContent": opened.redacted}})
            case "call":
                yield from self._end_call(opened)
            case "image":
                yield from self._show(opened)
        if opened.kind == "kept" or opened.deltas:
            yield from self._keep(opened)

    def finish(self, native: str | None, kept: Json) -> tuple[list[Json], str]:
        """The last deltas and OpenAI's finish reason."""
        last = [delta for index in sorted(self._open) for delta in self.stop(index)]
        if told := {name: kept[name] for name in KEPT if kept.get(name)}:
            last.append({"content": "", **told} if self.silent else told)
        reason = FINISH.get(native or "", "stop")
        if reason == "stop" and self._lists["tool_calls"]:
            reason = "function_call" if self._context.function_call else "tool_calls"
        return last, reason

    @property
    def remember(self) -> Mapping[str, Any]:
        """What goes back before the next turn, under the first call's id or the text's hash, if it was signed."""
        text = "".join(self._text)
        name = self._call_ids[0] if self._call_ids else text_key(text) if text else None
        return {name: {REMEMBERED: self._layout}} if name and self._signed else {}

    def _say(self, text: object) -> Iterator[Json]:
        if isinstance(text, str) and text:
            self.silent = False
            self._text.append(text)
            self._length += len(text)
            yield {"content": text}

    def _next(self, name: str) -> int:
        at = self._lists[name]
        self._lists[name] += 1
        self.silent = False
        return at

    # reasoning

    def _reason(self, opened: _Block, thought: Json) -> Iterator[Json]:
        match thought:
            case {"redactedContent": str(data)} if data:
                self._detail(opened, "redacted", "reasoning.encrypted")
                opened.redacted += data
                yield from self._think(opened, {"data": data})
            case {"signature": str(signature)} if signature:
                self._detail(opened, "reasoning", "reasoning.text")
                opened.signature += signature
                yield from self._think(opened, {"signature": signature})
            case {"text": str(text)} if text:
                self._detail(opened, "reasoning", "reasoning.text")
                opened.thinking.append(text)
                yield {"reasoning_content": text, **self._think(opened, {"text": text})[0]}

    def _detail(self, opened: _Block, kind: str, type: str) -> None:
        if opened.kind != kind:
            opened.kind, opened.entry = kind, self._next("reasoning_details")
            head = {"index": opened.entry, "type": type, "format": FORMAT, "block_index": opened.index}
            opened.pending = head | ({"text": ""} if kind == "reasoning" else {})

    def _think(self, opened: _Block, piece: Json) -> list[Json]:
        """One piece of a detail; the first carries its head, once, since accumulators add strings and numbers up."""
        head = opened.pending or {"index": opened.entry, "type": "reasoning.text"}
        opened.pending = None
        return [{"reasoning_details": [{**head, **piece}]}]

    def _keep_reasoning(self, opened: _Block) -> None:
        if opened.signature:
            self._signed = True
            text = {"text": "".join(opened.thinking), "signature": opened.signature}
            self._layout.append({"reasoningContent": {"reasoningText": text}})

    # tool calls

    def _is_json_tool(self, opened: _Block) -> bool:
        return bool(opened.start["toolUse"]["name"] == self._context.json_tool)

    def _name(self, opened: _Block) -> str:
        wire: str = opened.start["toolUse"]["name"]
        return self._context.tool_names.get(wire, wire)

    def _begin_call(self, opened: _Block) -> Iterator[Json]:
        if self._is_json_tool(opened):
            return
        opened.entry = self._next("tool_calls")
        id, name = opened.start["toolUse"]["toolUseId"], self._name(opened)
        self._call_ids.append(id)
        if name in self._context.custom_tools:
            return
        if not self._context.function_call:
            yield tool_call_start(opened.entry, id, name)
        elif opened.entry == 0:  # that shape has room for one call
            yield {"function_call": {"name": name, "arguments": ""}}

    def _carry_on(self, opened: _Block, part: str) -> Iterator[Json]:
        """More of a call's input: arguments, or content where the tool stands in for a response format."""
        if opened.kind != "call":
            return
        if self._is_json_tool(opened):
            yield from self._say(part)
        elif self._name(opened) in self._context.custom_tools:
            return
        elif not self._context.function_call:
            yield tool_call_arguments(opened.entry, part)
        elif opened.entry == 0:
            yield {"function_call": {"arguments": part}}

    def _end_call(self, opened: _Block) -> Iterator[Json]:
        if not opened.json:  # a call without arguments has no delta (recorded)
            yield from self._carry_on(opened, "{}")
        if self._is_json_tool(opened):
            self._layout.append({"text": self._length - opened.offset})
            return
        id, name = opened.start["toolUse"]["toolUseId"], self._name(opened)
        self._layout.append({"call": id})
        if name in self._context.custom_tools:
            custom = {"name": name, "input": _custom_input("".join(opened.json))}
            yield {"tool_calls": [{"index": opened.entry, "id": id, "type": "custom", "custom": custom}]}

    # citations, images, and what OpenAI has no word for

    def _cite(self, opened: _Block) -> Iterator[Json]:
        """Citations, at the end of their text: only then is it known how far they reach. Offsets are characters."""
        span = {"start_index": opened.offset, "end_index": self._length}
        for citation in opened.citations:
            url = object_of(object_of(citation, "location"), "web").get("url")
            if isinstance(url, str) and url:
                title = citation.get("title")
                found = {**span, "url": url, "title": title if isinstance(title, str) else "", "citation": citation}
                entry = {"index": self._next("annotations"), "type": "url_citation", "url_citation": found}
                yield {"annotations": [entry]}
            else:
                yield {"citations": [{**citation, **span, "index": self._next("citations")}]}

    def _show(self, opened: _Block) -> Iterator[Json]:
        if not opened.image:
            return
        url = f"data:image/{opened.start['image']['format']};base64,{_joined(opened.image)}"
        yield {"images": [{"index": self._next("images"), "type": "image_url", "image_url": {"url": url}}]}

    def _keep(self, opened: _Block) -> Iterator[Json]:
        """A block that OpenAI has no word for, whole, in Converse's words."""
        block = dict(opened.start)
        if "toolUse" in block and isinstance(block["toolUse"], dict):
            block["toolUse"] = {**block["toolUse"], "input": _parsed("".join(opened.json) or "{}")}
        if "toolResult" in block and isinstance(block["toolResult"], dict) and "content" not in block["toolResult"]:
            block["toolResult"] = {**block["toolResult"], "content": opened.results}
        if opened.deltas:
            block["deltas"] = opened.deltas
        elif opened.kind == "kept":
            self._layout.append(dict(block))
        yield {
            "server_tool_blocks": [{**block, "index": self._next("server_tool_blocks"), "block_index": opened.index}]
        }


_SERVER = "server_tool_use"  # ToolUseType


def _joined(pieces: list[str]) -> str:
    """Base64 of what the pieces, each base64 by itself, hold together."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _custom_input(text: str) -> str:
    """The one string within a custom tool's input; as it stands where the model was cut short or did otherwise."""
    found = _parsed(text)
    return found["input"] if isinstance(found, dict) and isinstance(found.get("input"), str) else text
