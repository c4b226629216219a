"""OpenAI's messages as Converse's `system` and turns, in the order they came, so that prompt caches hit.

- Leading system and developer messages are `system`. A later one stays where it is: as a message of role system where
  the model takes them and it ends the user's side of a turn, else as user text within `<system>` tags.
- Consecutive messages of one side are one turn, since Converse wants roles to alternate; tool results come first in it.
- A `cache_control` becomes a cachePoint block behind what it marks.
- Reasoning goes back in front: from the client's `reasoning_details`, else from what was remembered of the answer.

Source: botocore 1.44, bedrock-runtime 2023-09-30, Message and ContentBlock with their documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from translators import turns
from translators.bedrock_media import Desk
from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped
from translators.reasoning import Blocks, put_back
from translators.tools import called, wire_name

Json = dict[str, Any]

REMEMBERED = "bedrock"  # the key of what this dialect remembers, in Converse's words


def cache_point(source: Json) -> list[Json]:
    """The cachePoint that the client asked for behind `source`; else nothing. An entry is kept as CacheTTL says."""
    if not isinstance(control := source.get("cache_control"), dict):
        return []
    ttl = control.get("ttl")
    return [{"cachePoint": {"type": "default", **({"ttl": ttl} if ttl in ("5m", "1h") else {})}}]


def conversation(
    messages: list[Json],
    facts: ModelFacts,
    remembered: Mapping[str, Any],
    desk: Desk,
    *,
    reasoning: bool,
    report: list[Dropped],
) -> tuple[list[Json], list[Json]]:
    """The blocks of `system`, and the turns. `reasoning`: signed thinking may go back; what is lost is in `report`."""
    no_names = "Converse's messages have no participant names"
    writer = _Writer(remembered, desk, reasoning, report)
    system, made = turns.conversation(messages, writer, report, mid_system=facts.mid_system, no_names=no_names)
    _trim_last(made)
    return system, made


def _trim_last(made: list[Json]) -> None:
    """Claude refuses a last assistant turn that ends in white space."""
    last = made[-1]["content"][-1]
    if made[-1]["role"] == "assistant" and "text" in last:
        made[-1]["content"][-1] = {"text": last["text"].rstrip()}


@dataclass(slots=True)
class _Writer:
    """turns.Writer in Converse's words."""

    remembered: Mapping[str, Any]
    desk: Desk
    reasoning: bool
    report: list[Dropped]
    _calls: turns.Calls = field(default_factory=turns.Calls)

    def told(self, message: Json, at: int) -> list[Json]:
        """A system message's blocks, which can be text only, at OpenAI too."""
        blocks = self._blocks(message, at)
        if any(block.keys() - {"text", "cachePoint"} for block in blocks):
            path = f"messages[{at}].content"
            raise LLMError("invalid_request", f"`{path}`: a system message holds text only", param=path)
        return blocks

    def tagged(self, block: Json) -> Json:
        return {"text": f"<system>\n{block['text']}\n</system>"} if "text" in block else block

    def said(self, message: Json, at: int) -> list[Json]:
        """A user's blocks; one with a document must also have a text (botocore, Message)."""
        blocks = self._blocks(message, at)
        documents = any("document" in block for block in blocks)
        return blocks if not documents or any("text" in block for block in blocks) else [{"text": _ATTACHED}, *blocks]

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

    def results(self, message: Json, at: int) -> list[Json]:
        id = self._calls.answered(message, at)
        blocks = self._blocks({"content": message.get("content")}, at)
        content = [block for block in blocks if "cachePoint" not in block]
        points = [block for block in blocks if "cachePoint" in block] or cache_point(message)
        made: Json = {"toolUseId": wire_name(id), "content": content}
        if isinstance(message.get("is_error"), bool):
            made["status"] = "error" if message["is_error"] else "success"
        return [{"toolResult": made}, *points[-1:]]  # a cachePoint cannot stand within a result

    def assistant(self, message: Json, at: int) -> list[Json]:
        content = self._blocks({"content": message.get("content")}, at)
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal.strip():
            content.append({"text": refusal})
        calls = [block for call in self._calls.of(message, at) for block in (_tool_use(call), *cache_point(call))]
        said = content, calls
        made = put_back(_BLOCKS, message, said, self.remembered, self.report, allowed=self.reasoning)
        return [*made, *cache_point(message)] if made else []


_ATTACHED = "The document is attached."


def _tool_use(call: Json) -> Json:
    name, input = called(call)
    return {"toolUse": {"toolUseId": wire_name(call["id"]), "name": name, "input": input}}


def _thinking(entry: Json) -> Json | None:
    match entry:
        case {"type": "reasoning.text", "signature": str(signature)} if signature:
            text = entry.get("text")
            thought = {"text": text if isinstance(text, str) else "", "signature": signature}
            return {"reasoningContent": {"reasoningText": thought}}
        case {"type": "reasoning.encrypted", "data": str(data)} if data:
            return {"reasoningContent": {"redactedContent": data}}
    return None


def _served(entry: Json) -> Json | None:
    return {name: value for name, value in entry.items() if name in ("toolUse", "toolResult")}


_BLOCKS = Blocks(
    dialect=REMEMBERED,
    unsigned="only reasoning that was signed here may go back",
    thought=_thinking,
    served=_served,
    is_thought=lambda block: "reasoningContent" in block,
    text=lambda text: {"text": text},
    call_id=lambda block: block["toolUse"]["toolUseId"] if "toolUse" in block else None,
)
