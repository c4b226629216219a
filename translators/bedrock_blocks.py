"""Converse's content blocks, one after the other, as the deltas of an OpenAI message.

Extension fields beside OpenAI's: `reasoning_content`, `reasoning_details`, `server_tool_blocks` (what the provider's
own tools were asked and answered, every block of an unknown kind, and images that are in S3 or failed, in Converse's
words), `citations` (those that are no URL), `images` (as OpenRouter gives them), and of the answer as a whole `trace`,
`metrics`, `performanceConfig` and `additionalModelResponseFields`. What is kept as a block also has its place in the
answer, as `block_index`.

Source: botocore 1.44, bedrock-runtime 2023-09-30, ContentBlock and ContentBlockDelta; the recorded exchanges.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from translators.bedrock_turns import REMEMBERED
from translators.exchange import Context
from translators.json_values import object_of, objects_of, parsed, told
from translators.message import Call, Message
from translators.reasoning import FORMAT

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


@dataclass(slots=True)
class _Block:
    """One content block that is open."""

    index: int  # among all blocks
    offset: int  # characters of text before it
    start: Json = field(default_factory=dict)  # what contentBlockStart said
    kind: str = ""  # text, reasoning, call, image or kept
    call: Call | None = None  # the call that it is
    entry: int = -1  # its place among the reasoning's details
    pending: Json | None = None  # the head of that entry, until something is to be said of it
    json: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    signature: str = ""
    redacted: list[str] = field(default_factory=list)  # base64, piece by piece
    citations: list[Json] = field(default_factory=list)
    image: list[str] = field(default_factory=list)  # base64, piece by piece
    results: list[Json] = field(default_factory=list)  # of a server tool
    deltas: list[Json] = field(default_factory=list)  # of a kind that is not known


class Reply:
    """Turns blocks into OpenAI's deltas, and keeps what must be known at the end."""

    def __init__(self, context: Context) -> None:
        self._message = Message(context)
        self._open: dict[int, _Block] = {}
        self._signed = False

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
                input = use.get("input")
                yield from self.delta(index, {"toolUse": {"input": "{}" if input is None else told(input).decode()}})
            case {"citationsContent": dict(cited)}:
                for part in objects_of(cited, "content"):
                    yield from self.delta(index, {"text": part.get("text")})
                for citation in objects_of(cited, "citations"):
                    yield from self.delta(index, {"citation": citation})
            case {"image": {"format": str(form), "source": {"bytes": str(raw)}} as image} if raw and not _failed(image):
                yield from self.start(index, {"image": {"format": form}})
                yield from self.delta(index, {"image": {"source": {"bytes": raw}}})
            case _:
                yield from self.start(index, block)
        yield from self.stop(index)

    def start(self, index: int, start: Json) -> Iterator[Json]:
        """contentBlockStart, which text and reasoning do without."""
        yield from self.stop(index)
        opened = self._open[index] = _Block(index, self._message.length, start)
        match start:
            case {"toolUse": {"toolUseId": str(id), "name": str(name)} as use} if id and use.get("type") != _SERVER:
                opened.kind = "call"
                opened.call, begun = self._message.begin_call(id, name)
                yield from begun
            case {"image": {"format": str()} as image} if "source" not in image and "error" not in image:
                opened.kind = "image"
            case _ if start:
                opened.kind = "kept"

    def delta(self, index: int, delta: Json) -> Iterator[Json]:
        opened = self._open.get(index)
        if opened is None:
            opened = self._open[index] = _Block(index, self._message.length)
        match delta:
            case {"text": text}:
                opened.kind = opened.kind or "text"
                yield from self._message.say(text)
            case {"reasoningContent": dict(thought)}:
                yield from self._reason(opened, thought)
            case {"toolUse": {"input": str(part)}}:
                if part:
                    opened.json.append(part)
                    if opened.kind == "call" and opened.call is not None:
                        yield from self._message.carry_on(opened.call, part)
            case {"citation": dict(citation)}:
                opened.kind = opened.kind or "text"
                opened.citations.append(citation)
            case {"toolResult": list()}:
                opened.results += objects_of(delta, "toolResult")
            case {"image": {"source": {"bytes": str(piece)}} as part} if opened.kind == "image" and not _failed(part):
                opened.image += [piece] if piece else []
            case _ if delta:
                opened.deltas.append(delta)

    def stop(self, index: int) -> Iterator[Json]:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        match opened.kind:
            case "text":
                self._message.end_text(opened.offset)
                yield from self._cite(opened)
            case "reasoning":
                self._keep_reasoning(opened)
            case "call" if opened.call is not None:
                if not opened.json:  # a call without arguments has no delta (recorded)
                    yield from self._message.carry_on(opened.call, "{}")
                yield from self._message.end_call(opened.call, "".join(opened.json))
            case "image" if opened.image and not any(_failed(object_of(each, "image")) for each in opened.deltas):
                yield self._show(opened)
            case "image":
                opened.kind = "kept"
        if opened.redacted:
            yield self._conceal(opened)
        if opened.kind == "kept" or opened.deltas:
            yield from self._keep(opened)

    def finish(self, native: str | None, kept: Json) -> tuple[list[Json], str]:
        """The last deltas and OpenAI's finish reason."""
        last = [delta for index in sorted(self._open) for delta in self.stop(index)]
        last += self._message.last({name: kept[name] for name in KEPT if kept.get(name)})
        return last, self._message.finish_reason(FINISH.get(native or "", "stop"))

    @property
    def remember(self) -> Mapping[str, Any]:
        """What goes back before the next turn, under the first call's id or the text's hash, if it was signed."""
        return self._message.remembered(REMEMBERED) if self._signed else {}

    # reasoning

    def _reason(self, opened: _Block, thought: Json) -> Iterator[Json]:
        match thought:
            case {"redactedContent": str(data)} if data:
                opened.redacted.append(data)
            case {"signature": str(signature)} if signature:
                self._detail(opened)
                opened.signature += signature
                yield from self._think(opened, {"signature": signature})
            case {"text": str(text)} if text:
                self._detail(opened)
                opened.thinking.append(text)
                yield {"reasoning_content": text, **self._think(opened, {"text": text})[0]}

    def _detail(self, opened: _Block) -> None:
        if opened.kind != "reasoning":
            opened.kind, opened.pending = "reasoning", self._head(opened, "reasoning.text") | {"text": ""}
            opened.entry = opened.pending["index"]

    def _head(self, opened: _Block, type: str) -> Json:
        index = self._message.next("reasoning_details")
        return {"index": index, "type": type, "format": FORMAT, "block_index": opened.index}

    def _think(self, opened: _Block, piece: Json) -> list[Json]:
        """One piece of a detail; the first carries its head, once, since accumulators add strings and numbers up."""
        head = opened.pending or {"index": opened.entry, "type": "reasoning.text"}
        opened.pending = None
        return [{"reasoning_details": [{**head, **piece}]}]

    def _keep_reasoning(self, opened: _Block) -> None:
        if opened.signature:
            self._signed = True
            text = {"text": "".join(opened.thinking), "signature": opened.signature}
            self._message.layout.append({"reasoningContent": {"reasoningText": text}})

    def _conceal(self, opened: _Block) -> Json:
        """Encrypted reasoning, at its end: accumulators would glue its pieces together, each of them padded base64."""
        self._signed = True
        data = _joined(opened.redacted)
        self._message.layout.append({"reasoningContent": {"redactedContent": data}})
        return {"reasoning_details": [{**self._head(opened, "reasoning.encrypted"), "data": data}]}

    # citations, images, and what OpenAI has no word for

    def _cite(self, opened: _Block) -> Iterator[Json]:
        """Citations, at the end of their text: only then is it known how far they reach. Offsets are characters."""
        span = {"start_index": opened.offset, "end_index": self._message.length}
        for citation in opened.citations:
            url = object_of(object_of(citation, "location"), "web").get("url")
            if isinstance(url, str) and url:
                title = citation.get("title")
                found = {**span, "url": url, "title": title if isinstance(title, str) else "", "citation": citation}
                yield self._message.cite_url(found)
            else:
                yield self._message.cite({**citation, **span})

    def _show(self, opened: _Block) -> Json:
        url = f"data:image/{opened.start['image']['format']};base64,{_joined(opened.image)}"
        return {"images": [{"index": self._message.next("images"), "type": "image_url", "image_url": {"url": url}}]}

    def _keep(self, opened: _Block) -> Iterator[Json]:
        """A block that OpenAI has no word for, whole, in Converse's words."""
        block = dict(opened.start)
        if "toolUse" in block and isinstance(block["toolUse"], dict):
            block["toolUse"] = {**block["toolUse"], "input": parsed("".join(opened.json) or "{}")}
        if "toolResult" in block and isinstance(block["toolResult"], dict) and "content" not in block["toolResult"]:
            block["toolResult"] = {**block["toolResult"], "content": opened.results}
        if opened.kind == "kept" and opened.image:
            block["image"] = {**block["image"], "source": {"bytes": _joined(opened.image)}}
        if opened.deltas:
            block["deltas"] = opened.deltas
        elif opened.kind == "kept" and "image" not in block:  # none goes back, and one with an error could not
            self._message.layout.append(dict(block))
        yield self._message.keep(block, opened.index)


_SERVER = "server_tool_use"  # ToolUseType


def _failed(image: Json) -> bool:
    return image.get("error") is not None


def _joined(pieces: list[str]) -> str:
    """Base64 of what the pieces, each base64 by itself, hold together."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)
