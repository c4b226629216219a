"""OpenAI's messages as Anthropic's `system` and turns, in the order they came, so that its prompt cache hits.

- Leading system and developer messages are `system`. A later one stays where it is: as a native system message where
  the model takes them and it ends the user's side of a turn, else as user text within `<system>` tags.
- Consecutive messages of one side are one turn; a turn's tool results come first in it, as the API demands.
- Reasoning goes back in front: from the client's `reasoning_details`, else from what was remembered of the answer.

Source: anthropic 2.11, types/message_param.py; where native system messages may stand: after a user turn, and last or
before an assistant's (platform.claude.com/docs, mid-conversation-system-messages, as quoted in maximhq/bifrost#3945).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from translators import media, recall
from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped

Json = dict[str, Any]

FORMAT = "anthropic-claude-v1"  # OpenRouter's name for Claude's signed reasoning in `reasoning_details`
REMEMBERED = "anthropic"  # the key of what this dialect remembers: another's signatures are of no use here
THINKING = frozenset({"thinking", "redacted_thinking"})
SYSTEM = frozenset({"system", "developer"})

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})  # types/base64_image_source_param.py
_TEXTS = frozenset({"application/json", "application/xml", "application/yaml", "application/javascript"})


def wire_name(name: str) -> str:
    """`name` as Anthropic accepts tool names and tool-call ids; a changed one ends in a hash, so that none collide."""
    if _NAME.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{_NO_NAME.sub('_', name)[:55]}_{digest}"


def conversation(
    messages: list[Json],
    facts: ModelFacts,
    remembered: Mapping[str, Any],
    *,
    reasoning: bool,
    without: frozenset[str],
    report: list[Dropped],
) -> tuple[list[Json], list[Json]]:
    """The blocks of `system`, and the turns. `reasoning`: signed thinking may go back.

    `without` names the features that are left out (`part:image_url`); what else is lost is added to `report`.
    A conversation of nothing but system messages becomes one user turn, since the API wants at least one.
    """
    made = _Conversation(facts, remembered, reasoning, without, report)
    leading = next((at for at, message in enumerate(messages) if message["role"] not in SYSTEM), len(messages))
    system = [block for at in range(leading) for block in made.told(messages[at], at)]
    for at in range(leading, len(messages)):
        made.add(messages[at], at)
    made.close_group()
    if not made.turns:
        if not system:
            raise LLMError("invalid_request", "`messages`: nothing in them has any content", param="messages")
        return [], [{"role": "user", "content": system}]
    _trim_last(made.turns)
    return system, made.turns


def _trim_last(turns: list[Json]) -> None:
    """The API refuses a last assistant turn that ends in white space."""
    last = turns[-1]
    if last["role"] != "assistant" or last["content"][-1]["type"] != "text":
        return
    block = last["content"][-1]
    last["content"][-1] = {**block, "text": block["text"].rstrip()}


@dataclass(slots=True)
class _Conversation:
    """The turns so far, and the group of messages since the last assistant's."""

    facts: ModelFacts
    remembered: Mapping[str, Any]
    reasoning: bool
    without: frozenset[str]
    report: list[Dropped]
    turns: list[Json] = field(default_factory=list)
    _results: list[Json] = field(default_factory=list)
    _said: list[tuple[bool, list[Json]]] = field(default_factory=list)  # (is a system message, its blocks)
    _function_ids: dict[str, str] = field(default_factory=dict)  # the last deprecated function_call of each name

    def add(self, message: Json, at: int) -> None:
        role = message["role"]
        if message.get("name") and role != "function":
            self.report.append(Dropped("name", "Anthropic's messages have no participant names"))
        if role == "assistant":
            if blocks := self._assistant(message, at):
                self.close_group()
                self._turn("assistant", blocks)
        elif role in ("tool", "function"):
            self._results.append(self._result(message, at))
        elif role in SYSTEM:
            if blocks := self.told(message, at):
                self._said.append((True, blocks))
        elif blocks := self.blocks(message, at):
            self._said.append((False, blocks))

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
        blocks = self.blocks(message, at)
        if any(block["type"] != "text" for block in blocks):
            path = f"messages[{at}].content"
            raise LLMError("invalid_request", f"`{path}`: a system message holds text only", param=path)
        return blocks

    def blocks(self, message: Json, at: int) -> list[Json]:
        """A message's content as blocks. Empty texts are left out: the API refuses them."""
        content, path = message.get("content"), f"messages[{at}].content"
        if isinstance(content, str):
            made = [{"type": "text", "text": content}] if content.strip() else []
        else:
            made = [
                block
                for index, part in enumerate(content or ())
                if (block := self._part(part, f"{path}[{index}]")) is not None
            ]
        if made and message.get("cache_control"):
            made[-1] = {**made[-1], "cache_control": message["cache_control"]}
        return made

    def _part(self, part: Json, path: str) -> Json | None:
        kind = part["type"]
        if f"part:{kind}" in self.without:
            return None
        if kind == "text" or kind == "refusal":
            text = part.get(kind)
            return marked({"type": "text", "text": text}, part) if isinstance(text, str) and text.strip() else None
        if kind == "image_url":
            if part["image_url"].get("detail") not in (None, "auto"):
                self.report.append(Dropped("image_url.detail", "Anthropic scales images by itself"))
            return marked(_image(part["image_url"]["url"], path), part)
        return marked(_document(part["file"], path, self.facts), part) if kind == "file" else None

    def _result(self, message: Json, at: int) -> Json:
        made: Json = {"type": "tool_result"}
        if message["role"] == "function":
            name = message.get("name")
            if not isinstance(name, str) or name not in self._function_ids:
                raise LLMError(
                    "invalid_request",
                    f"`messages[{at}].name`: answers no function call of an earlier assistant message",
                    param=f"messages[{at}].name",
                )
            made["tool_use_id"] = self._function_ids[name]
        else:
            made["tool_use_id"] = wire_name(message["tool_call_id"])
        content = self.blocks({"content": message.get("content")}, at)
        if content:
            made["content"] = content
        for extension in ("is_error", "toolset_name", "cache_control"):
            if message.get(extension) is not None:
                made[extension] = message[extension]
        return made

    def _assistant(self, message: Json, at: int) -> list[Json]:
        content = self.blocks({"content": message.get("content")}, at)
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal.strip():
            content.append({"type": "text", "text": refusal})
        calls = [_tool_use(call) for call in message.get("tool_calls") or ()]
        legacy = message.get("function_call")
        if isinstance(legacy, dict) and isinstance(legacy.get("name"), str):
            id = self._function_ids[legacy["name"]] = f"call_{at}"
            calls.append(_tool_use({"id": id, "function": legacy}))
        made = self._with_reasoning(message, content, calls)
        if made and message.get("cache_control"):
            made[-1] = {**made[-1], "cache_control": message["cache_control"]}
        return made

    def _with_reasoning(self, message: Json, content: list[Json], calls: list[Json]) -> list[Json]:
        """The turn's blocks with its reasoning and server-tool blocks where the model had put them."""
        kept = _sent_back(message)
        if kept:
            before = [block for block in kept if self.reasoning or block["type"] not in THINKING]
            if len(before) < len(kept):
                self.report.append(Dropped("reasoning_details", "thinking is off for this request"))
            return [*before, *content, *calls]
        layout = self._recalled(message)
        if not layout and (message.get("reasoning_content") or message.get("reasoning_details")):
            self.report.append(Dropped("reasoning_content", "only reasoning that Anthropic signed may go back"))
        return _laid_out(layout, content, calls)

    def _recalled(self, message: Json) -> list[Json]:
        names = [call["id"] for call in message.get("tool_calls") or ()]
        if not names and (text := recall.text_of(message.get("content"))):
            names = [recall.text_key(text)]
        found = next((self.remembered[name] for name in names if name in self.remembered), None)
        layout = found.get(REMEMBERED) if isinstance(found, dict) else None
        return [item for item in layout or () if self.reasoning or item.get("type") not in THINKING]


def _tagged(block: Json) -> Json:
    return {**block, "text": f"<system>\n{block['text']}\n</system>"}


def marked(block: Json, source: Json) -> Json:
    """`block` with the cache breakpoint that the client set on `source`, in Anthropic's words or in OpenAI's.

    Anthropic keeps an entry 5 minutes or 1 hour; OpenAI's stated `ttl` (30m or 12h) is a least lifetime, hence 1 hour.
    """
    if isinstance(control := source.get("cache_control"), dict):
        return {**block, "cache_control": control}
    if isinstance(breakpoint_ := source.get("prompt_cache_breakpoint"), dict):
        return {**block, "cache_control": cache_control(breakpoint_)}
    return block


def cache_control(asked: Json) -> Json:
    """OpenAI's cache breakpoint or cache options, in Anthropic's words."""
    return {"type": "ephemeral", "ttl": "1h"} if asked.get("ttl") else {"type": "ephemeral"}


def _image(url: str, path: str) -> Json:
    if url.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    if not url.startswith("data:"):
        raise LLMError("invalid_request", f"`{path}`: Anthropic fetches http(s) URLs only", param=path)
    found = media.image(url, path)
    if found.mime not in _IMAGES:
        raise LLMError("invalid_request", f"`{path}`: Anthropic does not take {found.mime}", param=path)
    return {"type": "image", "source": {"type": "base64", "media_type": found.mime, "data": found.encoded}}


def _document(file: Json, path: str, facts: ModelFacts) -> Json:
    data = file.get("file_data")
    if not isinstance(data, str):
        return _titled({"type": "document", "source": {"type": "file", "file_id": file["file_id"]}}, file)
    if data.startswith(("http://", "https://")):
        return _titled({"type": "document", "source": {"type": "url", "url": data}}, file)
    if data.startswith("data:"):
        mime, encoded, raw = media.data_uri(data, f"{path}.file.file_data")
    else:  # OpenAI's reference says base64, and its guide a data URI
        raw = media.base64_bytes(data, f"{path}.file.file_data")
        mime, encoded = ("application/pdf" if raw.startswith(b"%PDF") else "text/plain"), data
    if media.image_mime(raw) in _IMAGES:
        return _image(f"data:{mime};base64,{encoded}", path)
    if mime == "application/pdf":
        if not facts.pdf:
            raise LLMError("invalid_request", f"`{path}`: this model does not read PDFs", param=path)
        return _titled({"type": "document", "source": {"type": "base64", "media_type": mime, "data": encoded}}, file)
    if not mime.startswith("text/") and mime not in _TEXTS:
        raise LLMError("invalid_request", f"`{path}`: Anthropic does not take files of type {mime}", param=path)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise LLMError("invalid_request", f"`{path}`: the file is not UTF-8 text", param=path) from None
    return _titled({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}, file)


def _titled(block: Json, file: Json) -> Json:
    return {**block, "title": file["filename"]} if isinstance(file.get("filename"), str) and file["filename"] else block


def _tool_use(call: Json) -> Json:
    """A call as a tool_use block. Arguments that are no JSON object go wrapped, for a model may have cut them short."""
    made: Json = {"type": "tool_use", "id": wire_name(call["id"])}
    if call.get("type") == "custom":
        made |= {"name": wire_name(call["custom"]["name"]), "input": {"input": call["custom"].get("input", "")}}
    else:
        made |= {"name": wire_name(call["function"]["name"]), "input": _arguments(call["function"].get("arguments"))}
    for extension in ("caller", "toolset_name", "cache_control"):
        if call.get(extension) is not None:
            made[extension] = call[extension]
    return made


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
        if isinstance(entry.get("type"), str):
            block = {name: value for name, value in entry.items() if name not in ("index", "block_index")}
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
            return {"type": "thinking", "thinking": entry.get("text") or "", "signature": signature}
        case {"type": "reasoning.encrypted", "data": str(data)}:
            return {"type": "redacted_thinking", "data": data}
    return None


def _laid_out(layout: list[Json], content: list[Json], calls: list[Json]) -> list[Json]:
    """Content and calls in the remembered order, if they are those of the answer; else behind what was remembered.

    `layout` holds whole blocks, `{"text": characters}` and `{"call": id}` for what the client keeps itself.
    """
    kept = [item for item in layout if "type" in item]
    plain = all(block.keys() == {"type", "text"} for block in content)
    text = "".join(block["text"] for block in content) if plain else ""
    lengths = sum(item["text"] for item in layout if "text" in item and "type" not in item)
    ids = [wire_name(item["call"]) for item in layout if "call" in item]
    if not kept or not plain or len(text) != lengths or ids != [call["id"] for call in calls]:
        return [*kept, *content, *calls]
    made: list[Json] = []
    start, waiting = 0, iter(calls)
    for item in layout:
        if "type" in item:
            made.append(item)
        elif "call" in item:
            made.append(next(waiting))
        else:
            piece = text[start : start + item["text"]]
            start += item["text"]
            if piece.strip():
                made.append({"type": "text", "text": piece})
    return made
