"""OpenAI's messages as `system` and alternating turns, in the order they came, so that prompt caches hit.

- Leading system and developer messages are `system`. A later one stays where it is: as a message of role system where
  the model takes them and it ends the user's side of a turn, else as the user's, tagged.
- Consecutive messages of one side are one turn; a turn's tool results come first in it.

What a message's blocks look like is the dialect's own: a `Writer`.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from translators.errors import LLMError
from translators.outcomes import Dropped

Json = dict[str, Any]

OPENING = "."  # what the user is taken to have said before an assistant that speaks first
SYSTEM = frozenset({"system", "developer"})


class Writer(Protocol):
    """A dialect's blocks for one message; `at` is its place among the messages."""

    def told(self, message: Json, at: int) -> list[Json]:
        """A system message's."""
        ...

    def tagged(self, block: Json) -> Json:
        """A system message's block, where it must stand among the user's."""
        ...

    def said(self, message: Json, at: int) -> list[Json]:
        """A user message's."""
        ...

    def results(self, message: Json, at: int) -> list[Json]:
        """A tool's or function's result."""
        ...

    def assistant(self, message: Json, at: int) -> list[Json]: ...


def conversation(
    messages: list[Json], writer: Writer, report: list[Dropped], *, mid_system: bool, no_names: str
) -> tuple[list[Json], list[Json]]:
    """The blocks of `system`, and the turns. `mid_system`: the model takes system messages within the conversation.

    `no_names` says why a participant's name is lost. A conversation of nothing but system messages becomes one user
    turn, since there must be one, and one that the assistant begins gets a user's turn before it;
    LLMError("invalid_request") where nothing in the messages has any content.
    """
    made = _Turns(writer, mid_system)
    leading = next((at for at, message in enumerate(messages) if message["role"] not in SYSTEM), len(messages))
    system = [block for at in range(leading) for block in writer.told(messages[at], at)]
    if any(message.get("name") and message["role"] != "function" for message in messages):
        report.append(Dropped("name", no_names))
    for at in range(leading, len(messages)):
        made.add(messages[at], at)
    made.close_group()
    if made.turns and made.turns[0]["role"] == "assistant":  # the first turn must be the user's, here and at Bedrock
        opening = writer.said({"role": "user", "content": OPENING}, 0)
        return system, [{"role": "user", "content": opening}, *made.turns]
    if made.turns:
        return system, made.turns
    if not any("text" in block for block in system):
        raise LLMError("invalid_request", "`messages`: nothing in them has any content", param="messages")
    return [], [{"role": "user", "content": system}]


@dataclass(slots=True)
class _Turns:
    """The turns so far, and the group of messages since the last assistant's."""

    writer: Writer
    mid_system: bool
    turns: list[Json] = field(default_factory=list)
    _results: list[Json] = field(default_factory=list)
    _said: list[tuple[bool, list[Json]]] = field(default_factory=list)  # (is a system message, its blocks)

    def add(self, message: Json, at: int) -> None:
        role = message["role"]
        if role == "assistant":
            if blocks := self.writer.assistant(message, at):
                self.close_group()
                self._turn("assistant", blocks)
        elif role in ("tool", "function"):
            self._results += self.writer.results(message, at)
        elif role in SYSTEM:
            if blocks := self.writer.told(message, at):
                self._said.append((True, blocks))
        elif blocks := self.writer.said(message, at):
            self._said.append((False, blocks))

    def close_group(self) -> None:
        """The user turn of the messages gathered, tool results first, and a native system message behind it."""
        said, self._said = self._said, []
        content, self._results = self._results, []
        behind: list[Json] = []
        while self.mid_system and said and said[-1][0] and (content or len(said) > 1):
            behind = [*said.pop()[1], *behind]
        for is_system, blocks in said:
            content += [self.writer.tagged(block) for block in blocks] if is_system else blocks
        self._turn("user", content)
        self._turn("system", behind)

    def _turn(self, role: str, content: list[Json]) -> None:
        if not content:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += content
        else:
            self.turns.append({"role": role, "content": content})


class Calls:
    """The calls of assistant messages, and the ids that their results name; the deprecated `function_call` has none."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}  # of the last function_call of each name

    def of(self, message: Json, at: int) -> list[Json]:
        """The calls of an assistant message, each with an id."""
        calls = list(message.get("tool_calls") or ())
        legacy = message.get("function_call")
        if isinstance(legacy, dict) and isinstance(legacy.get("name"), str):
            id = self._ids[legacy["name"]] = f"call_{at}"
            calls.append({"id": id, "function": legacy})
        return calls

    def answered(self, message: Json, at: int) -> str:
        """The id of the call that a result answers. Raises LLMError("invalid_request") for a function never called."""
        if message["role"] != "function":
            id: str = message["tool_call_id"]
            return id
        name = message.get("name")
        if not isinstance(name, str) or name not in self._ids:
            param = f"messages[{at}].name"
            why = f"`{param}`: answers no function call of an earlier assistant message"
            raise LLMError("invalid_request", why, param=param)
        return self._ids[name]
