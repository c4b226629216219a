"""Anthropic's content blocks, one after the other, as the deltas of an OpenAI message.

Extension fields beside OpenAI's: `reasoning_content`, `reasoning_details`, `server_tool_blocks` (what Anthropic's own
tools were asked and answered, and every block of an unknown kind), `citations` (those that are no URL), `stop_details`,
`stop_sequence`, `container`. Their entries have `index`; what is kept as a block also has its place in the answer, as
`block_index`, by which `anthropic_messages` puts it back in order.

Source: anthropic 2.11, types/content_block.py, types/raw_content_block_delta.py; the recorded exchanges.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from translators.anthropic_messages import REMEMBERED, THINKING
from translators.exchange import Context
from translators.json_values import object_of, objects_of, parsed, told
from translators.message import Call, Message
from translators.reasoning import FORMAT

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


@dataclass(slots=True)
class _Block:
    """One content block that is open."""

    start: Json
    index: int  # among all blocks
    offset: int  # characters of text before it
    call: Call | None = None  # the call that it is
    entry: int = -1  # its place among the reasoning's details
    pending: Json | None = None  # the head of that entry, until something is to be said of it
    json: list[str] = field(default_factory=list)
    citations: list[Json] = field(default_factory=list)
    deltas: list[Json] = field(default_factory=list)  # of a kind that is not known
    thinking: list[str] = field(default_factory=list)
    signature: str = ""

    def whole_json(self) -> str:
        """The input as JSON text: what was streamed, else what the start said ("{}" at least)."""
        return "".join(self.json) or told(self.start.get("input") or {}).decode()


class Reply:
    """Turns blocks into OpenAI's deltas, and keeps what must be known at the end."""

    def __init__(self, context: Context) -> None:
        self._message = Message(context)
        self._open: dict[int, _Block] = {}

    def start(self, index: int, block: Json) -> Iterator[Json]:
        yield from self.stop(index)
        opened = self._open[index] = _Block(block, index, self._message.length)
        match block:
            case {"type": "text"}:
                opened.citations = objects_of(block, "citations")
                yield from self._message.say(block.get("text"))
            case {"type": "thinking"}:
                self._detail(opened, "reasoning.text")
                yield from self._think(opened, "text", block.get("thinking"))
                yield from self._think(opened, "signature", block.get("signature"))
            case {"type": "redacted_thinking"}:
                self._detail(opened, "reasoning.encrypted")
                yield from self._think(opened, "data", block.get("data"))
            case {"type": "tool_use", "id": str(id), "name": str(name)}:
                opened.call, begun = self._message.begin_call(id, name)
                yield from (_told(delta, block) for delta in begun)

    def delta(self, index: int, delta: Json) -> Iterable[Json]:
        opened = self._open.get(index)
        if opened is None:
            return ()
        if delta.get("type") == "text_delta" and isinstance(delta.get("text"), str):
            return self._message.say(delta["text"])
        return self._delta(opened, delta)

    def _delta(self, opened: _Block, delta: Json) -> Iterator[Json]:
        match delta:
            case {"type": "thinking_delta", "thinking": str(text)}:
                yield from self._think(opened, "text", text)
            case {"type": "signature_delta", "signature": str(text)}:
                yield from self._think(opened, "signature", text)
            case {"type": "input_json_delta", "partial_json": str(part)} if part:
                opened.json.append(part)
                if opened.call is not None:
                    yield from self._message.carry_on(opened.call, part)
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
                self._message.end_text(opened.offset)
                yield from self._cite(opened)
            case "thinking":
                whole = {"type": "thinking", "thinking": "".join(opened.thinking), "signature": opened.signature}
                self._message.layout.append(whole)
                yield from self._think(opened, "text", "", flush=True)
            case "redacted_thinking":
                self._message.layout.append(opened.start)
                yield from self._think(opened, "data", "", flush=True)
            case "tool_use" if opened.call is not None:
                if not opened.json:
                    yield from self._message.carry_on(opened.call, opened.whole_json())
                yield from self._message.end_call(opened.call, opened.whole_json())
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
        return [*deltas, *self._message.last(last)], self._message.finish_reason(FINISH.get(native or "", "stop"))

    def remember(self, native: str | None) -> Mapping[str, Any]:
        """What goes back before the next turn, under the first call's id or the text's hash.

        Server-tool blocks alone are not worth their tokens to a client that sends none back, save in a paused turn.
        """
        if not any(item.get("type") in THINKING for item in self._message.layout) and native != "pause_turn":
            return {}
        return self._message.remembered(REMEMBERED)

    def _detail(self, opened: _Block, kind: str) -> None:
        opened.entry = self._message.next("reasoning_details")
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

    def _cite(self, opened: _Block) -> Iterator[Json]:
        """Citations, at the end of their text: only then is it known how far they reach. Offsets are characters."""
        span = {"start_index": opened.offset, "end_index": self._message.length}
        for citation in opened.citations:
            if citation.get("type") == "web_search_result_location" and isinstance(citation.get("url"), str):
                found = {**span, "url": citation["url"], "title": citation.get("title") or ""}
                found |= {"content": citation.get("cited_text"), "encrypted_index": citation.get("encrypted_index")}
                yield self._message.cite_url(found)
            else:
                yield self._message.cite({**citation, **span})

    def _keep(self, opened: _Block) -> Iterator[Json]:
        """A block that OpenAI has no word for, whole."""
        block = dict(opened.start)
        if opened.json:
            block["input"] = parsed(opened.whole_json())
        if opened.deltas:
            block["deltas"] = opened.deltas
        if not opened.deltas and isinstance(block.get("type"), str):
            self._message.layout.append(block)
        yield self._message.keep(block, opened.index)


def _told(delta: Json, block: Json) -> Json:
    """A call's first delta with what Anthropic says of the call besides."""
    for call in delta.get("tool_calls") or ():
        caller = block.get("caller")
        if isinstance(caller, dict) and caller.get("type") != "direct":
            call["caller"] = caller
        if block.get("toolset_name"):
            call["toolset_name"] = block["toolset_name"]
    return delta
