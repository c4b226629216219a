"""Anthropic's content blocks, one after the other, as the deltas of an OpenAI message.

Extension fields beside OpenAI's: `reasoning_content`, `reasoning_details`, `server_tool_blocks` (what Anthropic's own
tools were asked and answered, and every block of an unknown kind), `citations` (those that are no URL), `stop_details`,
`stop_sequence`, `container`. Their entries have `index`; what is kept as a block also has its place in the answer, as
`block_index`, by which `anthropic_messages` puts it back in order.

Source: anthropic 2.11, types/content_block.py, types/raw_content_block_delta.py; the recorded exchanges.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from translators.anthropic_messages import FORMAT, REMEMBERED, THINKING
from translators.completion import tool_call_arguments, tool_call_start
from translators.exchange import Context
from translators.recall import text_key

Json = dict[str, Any]

# types/stop_reason.py
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",  # "tool_calls" where calls are handed out
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
KEPT: dict[str, type] = {
    "stop_sequence": str,
    "stop_details": dict,
    "container": dict,
    "context_management": dict,
    "diagnostics": dict,
}


def object_of(raw: Json, name: str) -> Json:
    """A member that should be an object, or nothing."""
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class _Block:
    """One content block that is open."""

    start: Json
    index: int  # among all blocks
    offset: int  # characters of text before it
    entry: int = -1  # its place in the list that it is handed out in
    pending: Json | None = None  # the head of that entry, until something is to be said of it
    json: list[str] = field(default_factory=list)
    citations: list[Json] = field(default_factory=list)
    deltas: list[Json] = field(default_factory=list)  # of a kind that is not known
    thinking: list[str] = field(default_factory=list)
    signature: str = ""

    def whole_json(self) -> str:
        """The input as JSON text: what was streamed, else what the start said ("{}" at least)."""
        return "".join(self.json) or orjson.dumps(self.start.get("input") or {}).decode()


class Reply:
    """Turns blocks into OpenAI's deltas, and keeps what must be known at the end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[int, _Block] = {}
        self._text: list[str] = []
        self._length = 0  # characters of text
        self._lists: Counter[str] = Counter()  # entries so far in each list of the message
        self._layout: list[Json] = []
        self._call_ids: list[str] = []
        self.silent = True

    def start(self, index: int, block: Json) -> Iterator[Json]:
        yield from self.stop(index)
        opened = self._open[index] = _Block(block, index, self._length)
        match block:
            case {"type": "text"}:
                opened.citations = _objects(block.get("citations"))
                yield from self._say(block.get("text"))
            case {"type": "thinking"}:
                self._detail(opened, "reasoning.text")
                yield from self._think(opened, "text", block.get("thinking"))
                yield from self._think(opened, "signature", block.get("signature"))
            case {"type": "redacted_thinking"}:
                self._detail(opened, "reasoning.encrypted")
                yield from self._think(opened, "data", block.get("data"))
            case {"type": "tool_use", "id": str(), "name": str()}:
                yield from self._begin_call(opened)

    def delta(self, index: int, delta: Json) -> Iterator[Json]:
        opened = self._open.get(index)
        if opened is None:
            return
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                yield from self._say(text)
            case {"type": "thinking_delta", "thinking": str(text)}:
                yield from self._think(opened, "text", text)
            case {"type": "signature_delta", "signature": str(text)}:
                yield from self._think(opened, "signature", text)
            case {"type": "input_json_delta", "partial_json": str(part)} if part:
                opened.json.append(part)
                yield from self._carry_on(opened, part)
            case {"type": "citations_delta", "citation": dict(citation)}:
                opened.citations.append(citation)
            case {"type": "input_json_delta"}:
                pass
            case _:
                opened.deltas.append(delta)

    def stop(self, index: int) -> Iterator[Json]:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        match opened.start.get("type"):
            case "text":
                self._layout.append({"text": self._length - opened.offset})
                yield from self._cite(opened)
            case "thinking":
                whole = {"type": "thinking", "thinking": "".join(opened.thinking), "signature": opened.signature}
                self._layout.append(whole)
                yield from self._think(opened, "text", "", flush=True)
            case "redacted_thinking":
                self._layout.append(opened.start)
                yield from self._think(opened, "data", "", flush=True)
            case "tool_use" if isinstance(opened.start.get("id"), str) and isinstance(opened.start.get("name"), str):
                yield from self._end_call(opened)
            case _:
                yield from self._keep(opened)

    def finish(self, native: str | None, kept: Json) -> tuple[list[Json], str]:
        """The last deltas and OpenAI's finish reason."""
        deltas = [delta for index in sorted(self._open) for delta in self.stop(index)]
        last: Json = {
            name: kept[name] for name, kind in KEPT.items() if kept.get(name) and isinstance(kept[name], kind)
        }
        explanation = object_of(kept, "stop_details").get("explanation")
        if native == "refusal" and isinstance(explanation, str) and explanation:
            last["refusal"] = explanation
        if last:
            deltas.append({"content": "", **last} if self.silent else last)
        reason = FINISH.get(native or "", "stop")
        if reason == "stop" and self._lists["tool_calls"]:
            reason = "function_call" if self._context.function_call else "tool_calls"
        return deltas, reason

    def remember(self, native: str | None) -> Mapping[str, Any]:
        """What goes back before the next turn, under the first call's id or the text's hash.

        Server-tool blocks alone are not worth their tokens to a client that sends none back, save in a paused turn.
        """
        if not any(item.get("type") in THINKING for item in self._layout) and native != "pause_turn":
            return {}
        text = "".join(self._text)
        name = self._call_ids[0] if self._call_ids else text_key(text) if text else None
        return {name: {REMEMBERED: self._layout}} if name else {}

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

    def _detail(self, opened: _Block, kind: str) -> None:
        opened.entry = self._next("reasoning_details")
        opened.pending = {"index": opened.entry, "type": kind, "format": FORMAT, "block_index": opened.index}
        if kind == "reasoning.text":
            opened.pending["text"] = ""

    def _think(self, opened: _Block, name: str, value: object, *, flush: bool = False) -> Iterator[Json]:
        """One piece of a detail; the first carries its head, once, since accumulators add strings and numbers up."""
        if not isinstance(value, str) or not (value or (flush and opened.pending)) or opened.entry < 0:
            return
        head = opened.pending or {"index": opened.entry, "type": "reasoning.text"}
        opened.pending = None
        delta: Json = {"reasoning_details": [{**head, name: value}]}
        if name == "text":
            opened.thinking.append(value)
            if value:
                delta = {"reasoning_content": value, **delta}
        elif name == "signature":
            opened.signature += value
        yield delta

    def _is_json_tool(self, opened: _Block) -> bool:
        return bool(opened.start["name"] == self._context.json_tool)

    def _name(self, opened: _Block) -> str:
        wire: str = opened.start["name"]
        return self._context.tool_names.get(wire, wire)

    def _begin_call(self, opened: _Block) -> Iterator[Json]:
        if self._is_json_tool(opened):
            return
        opened.entry = self._next("tool_calls")
        name = self._name(opened)
        self._call_ids.append(opened.start["id"])
        if name in self._context.custom_tools:
            return
        if self._context.function_call:
            if opened.entry == 0:  # that shape has room for one call
                yield {"function_call": {"name": name, "arguments": ""}}
            return
        delta = tool_call_start(opened.entry, opened.start["id"], name)
        caller = opened.start.get("caller")
        if isinstance(caller, dict) and caller.get("type") != "direct":
            delta["tool_calls"][0]["caller"] = caller
        if opened.start.get("toolset_name"):
            delta["tool_calls"][0]["toolset_name"] = opened.start["toolset_name"]
        yield delta

    def _carry_on(self, opened: _Block, part: str) -> Iterator[Json]:
        """More of a block's input: arguments, or content where the tool stands in for a response format."""
        if opened.start.get("type") != "tool_use" or not isinstance(opened.start.get("name"), str):
            return
        if self._is_json_tool(opened):
            yield from self._say(part)
        elif opened.entry < 0 or self._name(opened) in self._context.custom_tools:
            return
        elif not self._context.function_call:
            yield tool_call_arguments(opened.entry, part)
        elif opened.entry == 0:
            yield {"function_call": {"arguments": part}}

    def _end_call(self, opened: _Block) -> Iterator[Json]:
        if not opened.json:
            yield from self._carry_on(opened, opened.whole_json())
        if self._is_json_tool(opened):
            self._layout.append({"text": self._length - opened.offset})
            return
        self._layout.append({"call": opened.start["id"]})
        name = self._name(opened)
        if name in self._context.custom_tools:
            custom = {"name": name, "input": _custom_input(opened.whole_json())}
            call = {"index": opened.entry, "id": opened.start["id"], "type": "custom", "custom": custom}
            yield {"tool_calls": [call]}

    def _cite(self, opened: _Block) -> Iterator[Json]:
        """Citations, at the end of their text: only then is it known how far they reach. Offsets are characters."""
        span = {"start_index": opened.offset, "end_index": self._length}
        for citation in opened.citations:
            if citation.get("type") == "web_search_result_location" and isinstance(citation.get("url"), str):
                found = {**span, "url": citation["url"], "title": citation.get("title") or ""}
                found |= {"content": citation.get("cited_text"), "encrypted_index": citation.get("encrypted_index")}
                entry = {"index": self._next("annotations"), "type": "url_citation", "url_citation": found}
                yield {"annotations": [entry]}
            else:
                yield {"citations": [{**citation, **span, "index": self._next("citations")}]}

    def _keep(self, opened: _Block) -> Iterator[Json]:
        """A block that OpenAI has no word for, whole."""
        block = dict(opened.start)
        if opened.json:
            block["input"] = _parsed(opened.whole_json())
        if opened.deltas:
            block["deltas"] = opened.deltas
        if not opened.deltas and isinstance(block.get("type"), str):
            self._layout.append(block)
        yield {
            "server_tool_blocks": [{**block, "index": self._next("server_tool_blocks"), "block_index": opened.index}]
        }


def _objects(value: object) -> list[Json]:
    return [dict(found) for found in value if isinstance(found, dict)] if isinstance(value, list) else []


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _custom_input(text: str) -> str:
    """The one string within a custom tool's input; as it stands where the model was cut short or did otherwise."""
    found = _parsed(text)
    return found["input"] if isinstance(found, dict) and isinstance(found.get("input"), str) else text
