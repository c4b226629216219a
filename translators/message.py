"""The message that an answer's blocks add up to, handed out piece by piece as OpenAI's deltas."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from translators.completion import tool_call_arguments, tool_call_start
from translators.exchange import Context
from translators.recall import text_key
from translators.tools import free_form_input

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that is under way."""

    id: str
    name: str  # the client's
    entry: int  # its place among the message's calls; -1: the tool stands in for a response format
    offset: int  # characters of text before it


class Message:
    """What was told so far. `layout` is its order, as `reasoning` puts it back: the dialect adds its whole blocks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._text: list[str] = []
        self._lists: Counter[str] = Counter()  # entries so far in each list of the message
        self._call_ids: list[str] = []
        self.length = 0  # characters of text
        self.layout: list[Json] = []
        self.silent = True

    def say(self, text: object) -> Sequence[Json]:
        """A piece of its text; what is none says nothing."""
        if not isinstance(text, str) or not text:
            return ()
        self.silent = False
        self._text.append(text)
        self.length += len(text)
        return ({"content": text},)

    def end_text(self, offset: int) -> None:
        """The text from `offset` on was one block."""
        self.layout.append({"text": self.length - offset})

    def next(self, name: str) -> int:
        """The index of one more entry in the list `name`."""
        at = self._lists[name]
        self._lists[name] += 1
        self.silent = False
        return at

    def begin_call(self, id: str, wire: str) -> tuple[Call, list[Json]]:
        """A call of the tool that has the name `wire` on the provider's side, and its first delta, if it has one yet.

        It is told as the client knows it: a function's call, the deprecated one (which has room for one alone), a
        custom tool's (whole, at its end), or as content where the tool stands in for a response format.
        """
        name = self._context.tool_names.get(wire, wire)
        if wire == self._context.json_tool:
            return Call(id, name, -1, self.length), []
        call = Call(id, name, self.next("tool_calls"), self.length)
        self._call_ids.append(id)
        if name in self._context.custom_tools:
            return call, []
        if not self._context.function_call:
            return call, [tool_call_start(call.entry, id, name)]
        return call, [{"function_call": {"name": name, "arguments": ""}}] if call.entry == 0 else []

    def carry_on(self, call: Call, part: str) -> Iterator[Json]:
        """More of a call's input."""
        if call.entry < 0:
            yield from self.say(part)
        elif call.name in self._context.custom_tools:
            return
        elif not self._context.function_call:
            yield tool_call_arguments(call.entry, part)
        elif call.entry == 0:
            yield {"function_call": {"arguments": part}}

    def end_call(self, call: Call, input: str) -> Iterator[Json]:
        """`input` is all of it, as JSON text."""
        if call.entry < 0:
            self.end_text(call.offset)
            return
        self.layout.append({"call": call.id})
        if call.name in self._context.custom_tools:
            custom = {"name": call.name, "input": free_form_input(input)}
            yield {"tool_calls": [{"index": call.entry, "id": call.id, "type": "custom", "custom": custom}]}

    def cite_url(self, found: Json) -> Json:
        """A citation that OpenAI has a place for."""
        return {"annotations": [{"index": self.next("annotations"), "type": "url_citation", "url_citation": found}]}

    def cite(self, citation: Json) -> Json:
        """A citation of another kind."""
        return {"citations": [{**citation, "index": self.next("citations")}]}

    def keep(self, block: Json, index: int) -> Json:
        """A block that OpenAI has no word for, whole; `index` is its place in the answer."""
        kept = {**block, "index": self.next("server_tool_blocks"), "block_index": index}
        return {"server_tool_blocks": [kept]}

    def last(self, told: Json) -> list[Json]:
        """The delta of what is told of the message as a whole."""
        if not told:
            return []
        return [{"content": "", **told} if self.silent else told]

    def finish_reason(self, reason: str) -> str:
        """OpenAI's word for the end, where `reason` is that of a message without calls."""
        if reason == "stop" and self._lists["tool_calls"]:
            return "function_call" if self._context.function_call else "tool_calls"
        return reason

    def remembered(self, dialect: str) -> Mapping[str, Any]:
        """The layout under the first call's id or the text's hash, for `reasoning` to put back."""
        text = "".join(self._text)
        name = self._call_ids[0] if self._call_ids else text_key(text) if text else None
        return {name: {dialect: self.layout}} if name else {}
