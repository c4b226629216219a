"""OpenAI's messages as Anthropic's `system` and turns, in the order they came, so that its prompt cache hits.

- Leading system and developer messages are `system`. A later one stays where it is: as a native system message where
  the model takes them and it ends the user's side of a turn, else as user text within `<system>` tags.
- Consecutive messages of one side are one turn; a turn's tool results come first in it, as the API demands.
- Reasoning goes back in front: from the client's `reasoning_details`, else from what was remembered of the answer.

Source: anthropic 2.11, types/message_param.py; where native system messages may stand: after a user turn, and last or
before an assistant's (platform.claude.com/docs, mid-conversation-system-messages, as quoted in maximhq/bifrost#3945).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from translators import media, turns
from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped, unknown
from translators.reasoning import Blocks, put_back
from translators.tools import called, wire_name

Json = dict[str, Any]

REMEMBERED = "anthropic"  # the key of what this dialect remembers: another's signatures are of no use here
THINKING = frozenset({"thinking", "redacted_thinking"})

_FIELDS = ("cache_control", "citations", "context")  # the latter two of a document (types/document_block_param.py)
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})  # types/base64_image_source_param.py
_TEXTS = frozenset({"application/json", "application/xml", "application/yaml", "application/javascript"})


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
    """
    no_names = "Anthropic's messages have no participant names"
    writer = _Writer(facts, remembered, reasoning, without, report)
    system, made = turns.conversation(messages, writer, report, mid_system=facts.mid_system, no_names=no_names)
    _trim_last(made)
    return system, made


def _trim_last(made: list[Json]) -> None:
    """The API refuses a last assistant turn that ends in white space."""
    last = made[-1]
    if last["role"] != "assistant" or last["content"][-1]["type"] != "text":
        return
    block = last["content"][-1]
    last["content"][-1] = {**block, "text": block["text"].rstrip()}


@dataclass(slots=True)
class _Writer:
    """turns.Writer in Anthropic's words."""

    facts: ModelFacts
    remembered: Mapping[str, Any]
    reasoning: bool
    without: frozenset[str]
    report: list[Dropped]
    _calls: turns.Calls = field(default_factory=turns.Calls)

    def told(self, message: Json, at: int) -> list[Json]:
        """A system message's blocks, which can be text only, at OpenAI too."""
        blocks = self.said(message, at)
        if any(block["type"] != "text" for block in blocks):
            path = f"messages[{at}].content"
            raise LLMError("invalid_request", f"`{path}`: a system message holds text only", param=path)
        return blocks

    def tagged(self, block: Json) -> Json:
        return {**block, "text": f"<system>\n{block['text']}\n</system>"}

    def said(self, message: Json, at: int) -> list[Json]:
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
        made: Json | None = None
        if kind == "text" or kind == "refusal":
            text = part.get(kind)
            made = {"type": "text", "text": text} if isinstance(text, str) and text.strip() else None
        elif kind == "image_url":
            if part["image_url"].get("detail") not in (None, "auto"):
                self.report.append(Dropped("image_url.detail", "Anthropic scales images by itself"))
            made = _image(part["image_url"]["url"], path)
        elif kind == "file":
            made = _document(part["file"], path, self.facts)
        if made is None:
            return None
        fields = _FIELDS if made["type"] == "document" else _FIELDS[:1]
        self.report += unknown(part, ("type", kind, *fields), f"part:{kind}", "Anthropic's blocks have no such field")
        return made | {name: part[name] for name in fields if part.get(name) is not None}

    def results(self, message: Json, at: int) -> list[Json]:
        made: Json = {"type": "tool_result", "tool_use_id": wire_name(self._calls.answered(message, at))}
        content = self.said({"content": message.get("content")}, at)
        if content:
            made["content"] = content
        for extension in ("is_error", "toolset_name", "cache_control"):
            if message.get(extension) is not None:
                made[extension] = message[extension]
        return [made]

    def assistant(self, message: Json, at: int) -> list[Json]:
        content = self.said({"content": message.get("content")}, at)
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal.strip():
            content.append({"type": "text", "text": refusal})
        said = content, [_tool_use(call) for call in self._calls.of(message, at)]
        made = put_back(_BLOCKS, message, said, self.remembered, self.report, allowed=self.reasoning)
        if made and message.get("cache_control"):
            made[-1] = {**made[-1], "cache_control": message["cache_control"]}
        return made


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
    made = inline(mime, encoded, raw, path, facts)
    return _titled(made, file) if made["type"] == "document" else made


def inline(mime: str, encoded: str, raw: bytes, path: str, facts: ModelFacts) -> Json:
    """The block of a file whose bytes are here: an image, a PDF or text. Raises LLMError("invalid_request")."""
    if (picture := media.image_mime(raw)) in _IMAGES:
        return {"type": "image", "source": {"type": "base64", "media_type": picture, "data": encoded}}
    if mime == "application/pdf":
        if not facts.pdf:
            raise LLMError("invalid_request", f"`{path}`: this model does not read PDFs", param=path)
        return {"type": "document", "source": {"type": "base64", "media_type": mime, "data": encoded}}
    if not mime.startswith("text/") and mime not in _TEXTS:
        raise LLMError("invalid_request", f"`{path}`: Anthropic does not take files of type {mime}", param=path)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise LLMError("invalid_request", f"`{path}`: the file is not UTF-8 text", param=path) from None
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}


def _titled(block: Json, file: Json) -> Json:
    return {**block, "title": file["filename"]} if isinstance(file.get("filename"), str) and file["filename"] else block


def _tool_use(call: Json) -> Json:
    name, input = called(call)
    made: Json = {"type": "tool_use", "id": wire_name(call["id"]), "name": name, "input": input}
    for extension in ("caller", "toolset_name", "cache_control"):
        if call.get(extension) is not None:
            made[extension] = call[extension]
    return made


def _thinking(entry: Json) -> Json | None:
    match entry:
        case {"type": "reasoning.text", "signature": str(signature)} if signature:
            return {"type": "thinking", "thinking": entry.get("text") or "", "signature": signature}
        case {"type": "reasoning.encrypted", "data": str(data)}:
            return {"type": "redacted_thinking", "data": data}
    return None


def _served(entry: Json) -> Json | None:
    if not isinstance(entry.get("type"), str):
        return None
    return {name: value for name, value in entry.items() if name not in ("index", "block_index")}


_BLOCKS = Blocks(
    dialect=REMEMBERED,
    unsigned="only reasoning that Anthropic signed may go back",
    thought=_thinking,
    served=_served,
    is_thought=lambda block: block.get("type") in THINKING,
    text=lambda text: {"type": "text", "text": text},
    call_id=lambda block: block["id"],
)
