"""OpenAI's messages as Converse's `system` and turns, in the order they came, so that prompt caches hit.

- Leading system and developer messages are `system`. A later one stays where it is: as a message of role system where
  the model takes them and it ends the user's side of a turn, else as user text within `<system>` tags.
- Consecutive messages of one side are one turn, since Converse wants roles to alternate; tool results come first in it.
- A `cache_control` becomes a cachePoint block behind what it marks.
- Reasoning goes back in front: from the client's `reasoning_details`, else from what was remembered of the answer.

Source: botocore 1.44, bedrock-runtime 2023-09-30, Message and ContentBlock with their documentation.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from translators import recall
from translators.bedrock_media import Desk
from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped

Json = dict[str, Any]

FORMAT = "anthropic-claude-v1"  # OpenRouter's name for Claude's signed reasoning: no other model here signs its own
REMEMBERED = "bedrock"  # the key of what this dialect remembers, in Converse's words
SYSTEM = frozenset({"system", "developer"})

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # ToolName; ToolUseId takes a little more
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def wire_name(name: str) -> str:
    """`name` as Converse accepts tool names and ids; a changed one ends in a hash, so that none collide."""
    if _NAME.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{_NO_NAME.sub('_', name)[:55]}_{digest}"


def cache_point(source: Json) -> list[Json]:
    """The cachePoint that the client asked for behind `source`, in Anthropic's words or in OpenAI's; else nothing.

    An entry is kept 5 minutes or 1 hour (CacheTTL); OpenAI's stated `ttl` (30m or 12h) is a least lifetime, hence 1h.
    """
    if isinstance(control := source.get("cache_control"), dict):
        ttl = control.get("ttl")
        return [{"cachePoint": {"type": "default", **({"ttl": ttl} if ttl in ("5m", "1h") else {})}}]
    if isinstance(asked := source.get("prompt_cache_breakpoint"), dict):
        return [{"cachePoint": {"type": "default", **({"ttl": "1h"} if asked.get("ttl") else {})}}]
    return []


def conversation(
    messages: list[Json],
    facts: ModelFacts,
    remembered: Mapping[str, Any],
    desk: Desk,
    *,
    reasoning: bool,
    report: list[Dropped],
) -> tuple[list[Json], list[Json]]:
    """The blocks of `system`, and the turns. `reasoning`: signed thinking may go back; what is lost is in `report`.

    A conversation of nothing but system messages becomes one user turn, since the API wants at least one.
    """
    made = _Conversation(facts, remembered, desk, reasoning, report)
    leading = next((at for at, message in enumerate(messages) if message["role"] not in SYSTEM), len(messages))
    system = [block for at in range(leading) for block in made.told(messages[at], at)]
    for at in range(leading, len(messages)):
        made.add(messages[at], at)
    made.close_group()
    if not made.turns:
        if not any("text" in block for block in system):
            raise LLMError("invalid_request", "`messages`: nothing in them has any content", param="messages")
        return [], [{"role": "user", "content": system}]
    _trim_last(made.turns)
    return system, made.turns


def _trim_last(turns: list[Json]) -> None:
    """Claude refuses a last assistant turn that ends in white space."""
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and "text" in last:
        turns[-1]["content"][-1] = {"text": last["text"].rstrip()}


@dataclass(slots=True)
class _Conversation:
    """The turns so far, and the group of messages since the last assistant's."""

    facts: ModelFacts
    remembered: Mapping[str, Any]
    desk: Desk
    reasoning: bool
    report: list[Dropped]
    turns: list[Json] = field(default_factory=list)
    _results: list[Json] = field(default_factory=list)
    _said: list[tuple[bool, list[Json]]] = field(default_factory=list)  # (is a system message, its blocks)
    _function_ids: dict[str, str] = field(default_factory=dict)  # the last deprecated function_call of each name

    def add(self, message: Json, at: int) -> None:
        role = message["role"]
        if message.get("name") and role != "function":
            self.report.append(Dropped("name", "Converse's messages have no participant names"))
        if role == "assistant":
            if blocks := self._assistant(message, at):
                self.close_group()
                self._turn("assistant", blocks)
        elif role in ("tool", "function"):
            self._results += self._result(message, at)
        elif role in SYSTEM:
            if blocks := self.told(message, at):
                self._said.append((True, blocks))
        elif blocks := self._blocks(message, at):
            self._said.append((False, _with_text(blocks)))

    def close_group(self) -> None:
        """The user turn of the messages gathered, tool results first, and a native system message behind it."""
        said, self._said = self._said, []
        content, self._results = self._results, []
        behind: list[Json] = []
        while self.facts.mid_system and said and said[-1][0] and (content or len(said) > 1):
            behind = [*said.pop()[1], *behind]
        for is_system, blocks in said:
            content += [_tagged(block) for block in blocks] if is_system else blocks
        self._turn("user", content)
        self._turn("system", behind)

    def _turn(self, role: str, content: list[Json]) -> None:
        if not content:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += content
        else:
            self.turns.append({"role": role, "content": content})

    def told(self, message: Json, at: int) -> list[Json]:
        """A system message's blocks, which can be text only, at OpenAI too."""
        blocks = self._blocks(message, at)
        if any(block.keys() - {"text", "cachePoint"} for block in blocks):
            path = f"messages[{at}].content"
            raise LLMError("invalid_request", f"`{path}`: a system message holds text only", param=path)
        return blocks

    def _blocks(self, message: Json, at: int) -> list[Json]:
        """A message's content as blocks. Empty texts are left out: the API refuses them."""
        content, path = message.get("content"), f"messages[{at}].content"
        made: list[Json] = []
        if isinstance(content, str):
            made += [{"text": content}] if content.strip() else []
        else:
            for index, part in enumerate(content or ()):
                block = self.desk.block(part, f"{path}[{index}]", self.report)
                made += [block, *cache_point(part)] if block else []
        return [*made, *cache_point(message)] if made else []

    def _result(self, message: Json, at: int) -> list[Json]:
        if message["role"] == "function":
            name = message.get("name")
            if not isinstance(name, str) or name not in self._function_ids:
                param = f"messages[{at}].name"
                why = f"`{param}`: answers no function call of an earlier assistant message"
                raise LLMError("invalid_request", why, param=param)
            id = self._function_ids[name]
        else:
            id = message["tool_call_id"]
        blocks = self._blocks({"content": message.get("content")}, at)
        content = [block for block in blocks if "cachePoint" not in block]
        points = [block for block in blocks if "cachePoint" in block] or cache_point(message)
        made: Json = {"toolUseId": wire_name(id), "content": content}
        if isinstance(message.get("is_error"), bool):
            made["status"] = "error" if message["is_error"] else "success"
        return [{"toolResult": made}, *points[-1:]]  # a cachePoint cannot stand within a result

    def _assistant(self, message: Json, at: int) -> list[Json]:
        content = self._blocks({"content": message.get("content")}, at)
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal.strip():
            content.append({"text": refusal})
        calls = [block for call in message.get("tool_calls") or () for block in (_tool_use(call), *cache_point(call))]
        legacy = message.get("function_call")
        if isinstance(legacy, dict) and isinstance(legacy.get("name"), str):
            id = self._function_ids[legacy["name"]] = f"call_{at}"
            calls.append(_tool_use({"id": id, "function": legacy}))
        made = self._with_reasoning(message, content, calls)
        return [*made, *cache_point(message)] if made else []

    def _with_reasoning(self, message: Json, content: list[Json], calls: list[Json]) -> list[Json]:
        """The turn's blocks with its reasoning and server-tool blocks where the model had put them."""
        kept = _sent_back(message)
        if kept:
            before = [block for block in kept if self.reasoning or "reasoningContent" not in block]
            if len(before) < len(kept):
                self.report.append(Dropped("reasoning_details", "thinking is off for this request"))
            return [*before, *content, *calls]
        layout = self._recalled(message)
        if not layout and (message.get("reasoning_content") or message.get("reasoning_details")):
            self.report.append(Dropped("reasoning_content", "only reasoning that was signed here may go back"))
        return _laid_out(layout, content, calls)

    def _recalled(self, message: Json) -> list[Json]:
        names = [call["id"] for call in message.get("tool_calls") or ()]
        if not names and (text := recall.text_of(message.get("content"))):
            names = [recall.text_key(text)]
        found = next((self.remembered[name] for name in names if name in self.remembered), None)
        layout = found.get(REMEMBERED) if isinstance(found, dict) else None
        return [item for item in layout or () if self.reasoning or "reasoningContent" not in item]


def _tagged(block: Json) -> Json:
    return {"text": f"<system>\n{block['text']}\n</system>"} if "text" in block else block


def _with_text(blocks: list[Json]) -> list[Json]:
    """A message with a document must also have a text (botocore, Message)."""
    documents = any("document" in block for block in blocks)
    return blocks if not documents or any("text" in block for block in blocks) else [{"text": _ATTACHED}, *blocks]


_ATTACHED = "The document is attached."


def _tool_use(call: Json) -> Json:
    """A call as a toolUse block. Arguments that are no JSON object go wrapped, for a model may have cut them short."""
    if call.get("type") == "custom":
        name, input = call["custom"]["name"], {"input": call["custom"].get("input", "")}
    else:
        name, input = call["function"]["name"], _arguments(call["function"].get("arguments"))
    return {"toolUse": {"toolUseId": wire_name(call["id"]), "name": wire_name(name), "input": input}}


def _arguments(text: object) -> Json:
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"invalid_arguments": text}
    return found if isinstance(found, dict) else {"arguments": found}


def _sent_back(message: Json) -> list[Json]:
    """The reasoning and server-tool blocks that the client sent back, by their place in the answer."""
    found: list[tuple[int, Json]] = []
    for entry in _entries(message.get("reasoning_details")):
        if entry.get("format") == FORMAT and (block := _thinking(entry)):
            found.append((_place(entry), block))
    for entry in _entries(message.get("server_tool_blocks")):
        block = {name: value for name, value in entry.items() if name in ("toolUse", "toolResult")}
        if block:
            found.append((_place(entry), block))
    return [block for _, block in sorted(found, key=lambda item: item[0])]


def _entries(value: object) -> Iterator[Json]:
    return (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else iter(())


def _place(entry: Json) -> int:
    place = entry.get("block_index")
    return place if isinstance(place, int) else 0


def _thinking(entry: Json) -> Json | None:
    match entry:
        case {"type": "reasoning.text", "signature": str(signature)} if signature:
            text = entry.get("text")
            thought = {"text": text if isinstance(text, str) else "", "signature": signature}
            return {"reasoningContent": {"reasoningText": thought}}
        case {"type": "reasoning.encrypted", "data": str(data)} if data:
            return {"reasoningContent": {"redactedContent": data}}
    return None


def _laid_out(layout: list[Json], content: list[Json], calls: list[Json]) -> list[Json]:
    """Content and calls in the remembered order, if they are those of the answer; else behind what was remembered.

    `layout` holds whole blocks, `{"text": characters}` and `{"call": id}` for what the client keeps itself.
    """
    kept = [item for item in layout if not item.keys() & {"text", "call"}]
    plain = all(block.keys() == {"text"} for block in content)
    text = "".join(block["text"] for block in content) if plain else ""
    lengths = sum(item["text"] for item in layout if "text" in item)
    ids = [wire_name(item["call"]) for item in layout if "call" in item]
    mine = [block["toolUse"]["toolUseId"] for block in calls if "toolUse" in block]
    if not kept or not plain or len(text) != lengths or ids != mine or len(mine) != len(calls):
        return [*kept, *content, *calls]
    made: list[Json] = []
    start, waiting = 0, iter(calls)
    for item in layout:
        if "call" in item:
            made.append(next(waiting))
        elif "text" in item:
            piece = text[start : start + item["text"]]
            start += item["text"]
            made += [{"text": piece}] if piece.strip() else []
        else:
            made.append(item)
    return made
