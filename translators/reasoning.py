"""Claude's signed reasoning put back before its turn: from what the client sent, else from what was remembered.

What is remembered of an answer is its layout: whole blocks, and for what the client keeps itself `{"text": characters}`
and `{"call": id}`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from translators import recall
from translators.effort import is_thinking
from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped
from translators.tools import wire_name

Json = dict[str, Any]
Turns = tuple[list[Json], list[Json]]  # `system` and the turns

FORMAT = "anthropic-claude-v1"  # OpenRouter's name for Claude's signed reasoning in `reasoning_details`


class Blocks(NamedTuple):
    """How a dialect writes what goes back."""

    dialect: str  # the key of what it remembers: another's signatures are of no use to it
    unsigned: str  # why reasoning without a signature does not go back
    thought: Callable[[Json], Json | None]  # an entry of `reasoning_details` as a block
    served: Callable[[Json], Json | None]  # an entry of `server_tool_blocks` as a block
    is_thought: Callable[[Json], bool]
    text: Callable[[str], Json]
    call_id: Callable[[Json], str | None]


def put_back(
    blocks: Blocks,
    message: Json,
    said: tuple[list[Json], list[Json]],
    remembered: Mapping[str, Any],
    report: list[Dropped],
    *,
    allowed: bool,
) -> list[Json]:
    """The blocks of an assistant's turn, its reasoning and server-tool blocks where the model had put them.

    `said`: its content and its calls, as blocks. Not `allowed`: thinking is off, and none goes back.
    """
    content, calls = said
    kept = _sent_back(blocks, message)
    if kept:
        before = [block for block in kept if allowed or not blocks.is_thought(block)]
        if len(before) < len(kept):
            report.append(Dropped("reasoning_details", "thinking is off for this request"))
        return [*before, *content, *calls]
    layout = [item for item in _recalled(blocks, message, remembered) if allowed or not blocks.is_thought(item)]
    if not layout and (message.get("reasoning_content") or message.get("reasoning_details")):
        report.append(Dropped("reasoning_content", blocks.unsigned))
    return _laid_out(blocks, layout, content, calls)


def _recalled(blocks: Blocks, message: Json, remembered: Mapping[str, Any]) -> list[Json]:
    names = [call["id"] for call in message.get("tool_calls") or ()]
    if not names and (text := recall.text_of(message.get("content"))):
        names = [recall.text_key(text)]
    found = next((remembered[name] for name in names if name in remembered), None)
    layout = found.get(blocks.dialect) if isinstance(found, dict) else None
    return layout or []


def _sent_back(blocks: Blocks, message: Json) -> list[Json]:
    """The reasoning and server-tool blocks that the client sent back, by their place in the answer."""
    found: list[tuple[int, Json]] = []
    for entry in _entries(message.get("reasoning_details")):
        if entry.get("format") == FORMAT and (block := blocks.thought(entry)):
            found.append((_place(entry), block))
    for entry in _entries(message.get("server_tool_blocks")):
        if block := blocks.served(entry):
            found.append((_place(entry), block))
    return [block for _, block in sorted(found, key=lambda item: item[0])]


def _entries(value: object) -> Iterator[Json]:
    return (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else iter(())


def _place(entry: Json) -> int:
    place = entry.get("block_index")
    return place if isinstance(place, int) else 0


def _laid_out(blocks: Blocks, layout: list[Json], content: list[Json], calls: list[Json]) -> list[Json]:
    """Content and calls in the remembered order, if they are those of the answer; else behind what was remembered."""
    kept = [item for item in layout if not (_is_text(item) or _is_call(item))]
    plain = all(block.keys() == blocks.text("").keys() for block in content)
    text = "".join(block["text"] for block in content) if plain else ""
    lengths = sum(item["text"] for item in layout if _is_text(item))
    ids = [wire_name(item["call"]) for item in layout if _is_call(item)]
    if not kept or not plain or len(text) != lengths or ids != [blocks.call_id(block) for block in calls]:
        return [*kept, *content, *calls]
    made: list[Json] = []
    start, waiting = 0, iter(calls)
    for item in layout:
        if _is_call(item):
            made.append(next(waiting))
        elif _is_text(item):
            piece = text[start : start + item["text"]]
            start += item["text"]
            made += [blocks.text(piece)] if piece.strip() else []
        else:
            made.append(item)
    return made


def _is_text(item: Json) -> bool:
    return item.keys() == {"text"} and isinstance(item["text"], int)


def _is_call(item: Json) -> bool:
    return item.keys() == {"call"}


def fitted(
    thinking: Json | None,
    asked: Json,
    facts: ModelFacts,
    turns_with: Callable[[bool], Turns],
    may_think: Callable[[list[Json]], bool],
    report: list[Dropped],
) -> tuple[Json | None, list[Json], list[Json]]:
    """`thinking` as it can be for these messages, `system` and the turns. `turns_with`: may reasoning go back?

    `may_think` tells of turns whether a budget for thinking may stand beside them. Raises LLMError("invalid_request")
    where the last turn is an assistant's and the model cannot carry it on.
    """
    system, turns = turns_with(is_thinking(thinking, facts))
    if turns[-1]["role"] == "assistant" and not facts.prefill:
        why = "`messages`: this model cannot carry on an assistant message"
        raise LLMError("invalid_request", why, param="messages")
    if (thinking or {}).get("type") == "enabled" and "thinking" not in asked and not may_think(turns):
        report.append(Dropped("reasoning_effort", "the reasoning of the last assistant message is unknown"))
        thinking = None
        system, turns = turns_with(False)
    return thinking, system, turns
