"""What becomes of each of OpenAI's features in a dialect: translated, refused, or dropped and reported.

A feature is a parameter by its name (`temperature`), or one of: `role:developer`, `part:image_url`, `tool:custom`,
`format:json_schema`. Each dialect holds its own table, `OUTCOMES`; docs/providers.md is generated from them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from translators.errors import LLMError

if TYPE_CHECKING:
    from translators.exchange import Endpoint, ModelFacts

Verdict = Literal["translated", "refused", "dropped"]
Unsupported = Literal["refuse", "report"]  # what becomes of a feature that the provider has no word for


class Outcome(NamedTuple):
    """`refused`: leaving it out would change the meaning. `dropped`: a hint, left out and reported."""

    verdict: Verdict
    note: str  # what it becomes, or why it cannot
    needs: str = ""  # a boolean of ModelFacts that must hold for `verdict`; without it, `otherwise`
    otherwise: Verdict = "refused"
    apart: tuple[str, ...] = ()  # of `n`: "always", "stream" or a way of thinking, where each answer takes its own call


class Dropped(NamedTuple):
    """A feature that was left out of the upstream request, and why."""

    feature: str
    why: str


Table = Mapping[str, Outcome]


def unknown(given: Mapping[str, Any], known: Collection[str], path: str, why: str) -> list[Dropped]:
    """Every field of a message, a part or a tool that says something and for which there is no word."""
    return [Dropped(f"{path}.{name}", why) for name, value in given.items() if value and name not in known]


def judge(
    chat: dict[str, Any], table: Table, facts: "ModelFacts", unsupported: Unsupported, *, extensions: bool = False
) -> tuple[Dropped, ...]:
    """What must be left out of `chat` for a dialect with this table; its `request` then reads only what stays.

    A parameter that the table does not know (an extension) is dropped and reported; an unknown part, tool or format
    would change the meaning and is refused. `extensions`: the provider itself says what it does not know.
    Raises LLMError("invalid_request") that names a refused feature, unless the caller chose `report`.
    """
    dropped: dict[str, Dropped] = {}
    for feature, param in features(chat):
        outcome = table.get(feature)
        if outcome is None and extensions:
            continue
        if outcome is None and ":" in feature:  # an unknown part, tool, role or format would change the meaning
            outcome = Outcome("refused", "it is unknown to this provider")
        if outcome is None:
            dropped[feature] = Dropped(feature, "unknown to this provider")
            continue
        verdict = outcome.verdict
        if feature == "n" and _one_by_one(chat, outcome, facts):  # here one call is translated (`calls`)
            verdict = "refused"
        if outcome.needs and not getattr(facts, outcome.needs):
            verdict = outcome.otherwise
        if verdict == "translated":
            continue
        if verdict == "refused" and unsupported == "refuse":
            raise LLMError(
                "invalid_request",
                f"`{feature}` cannot be sent to this model: {outcome.note}",
                param=param,
                code="unsupported_parameter",
            )
        dropped[feature] = Dropped(feature, outcome.note)
    return tuple(dropped.values())


def calls(chat: dict[str, Any], table: Table, endpoint: "Endpoint") -> int:
    """How many upstream calls the answers to `chat` take: `n` where one call gives one answer, else 1.

    Each is then of `chat` without its `n`.
    """
    wanted: int = chat.get("n") or 1
    if wanted == 1:
        return 1
    apart = "n" in endpoint.drop or _one_by_one(chat, table["n"], endpoint.facts)
    return wanted if apart else 1


def _one_by_one(chat: dict[str, Any], outcome: Outcome, facts: "ModelFacts") -> bool:
    here = {"always", facts.thinking, "stream" if chat.get("stream") else ""}
    return bool(here.intersection(outcome.apart))


# A value that says "nothing asked for" asks for nothing: it neither refuses nor is reported.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "store": (False,),
    "stream": (False,),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "metadata": ({},),
    "top_logprobs": (0,),
    "stop": ([], ""),
    "tools": ([],),
    "functions": ([],),
}


def asks_for_nothing(name: str, value: Any) -> bool:
    """Whether parameter `name` is at a value that means the same as leaving it out."""
    return value is None or value in _NEUTRAL.get(name, ())


def features(chat: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every feature that `chat` uses, each with the path to name it by in an error."""
    for name, value in chat.items():
        if not asks_for_nothing(name, value):
            yield name, name
    for at, message in enumerate(chat["messages"]):
        yield f"role:{message['role']}", f"messages[{at}].role"
        content = message.get("content")
        if isinstance(content, list):
            for index, part in enumerate(content):
                yield f"part:{part['type']}", f"messages[{at}].content[{index}]"
        if message.get("audio"):
            yield "part:assistant_audio", f"messages[{at}].audio"
    for at, tool in enumerate(chat.get("tools") or ()):
        yield f"tool:{tool['type']}", f"tools[{at}]"
    response_format = chat.get("response_format")
    if response_format:
        yield f"format:{response_format['type']}", "response_format"


def without_lost(chat: dict[str, Any], report: Iterable[Dropped]) -> tuple[dict[str, Any], frozenset[str]]:
    """What `chat` asks for save what is in `report` or null, and the names of what is left out."""
    without = frozenset(lost.feature for lost in report)
    asked = {name: value for name, value in chat.items() if value is not None and name not in without}
    if asked.get("response_format") and f"format:{asked['response_format']['type']}" in without:
        del asked["response_format"]
    return asked, without
