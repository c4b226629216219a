"""The tables of docs/providers.md, made from the dialects' own: `python -m gateway.outcome_table FILE` renews them.

The page's prose is written there; what stands between its two markers is made here, and a test holds it to that.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from translators import openai
from translators.outcomes import Outcome
from translators.registry import TRANSLATORS

BEGIN, END = "<!-- made by scripts/providers-doc from here -->", "<!-- to here -->"
NAMES = {
    "openai": "OpenAI, and every host that speaks its chat completions",
    "anthropic": "Anthropic's Messages API",
    "gemini": "The Gemini Developer API",
    "openrouter": "OpenRouter",
    "vertex": "Gemini on Vertex AI",
    "vertex_anthropic": "Claude on Vertex AI",
    "vertex_openai": "Other makers' models on Vertex AI",
    "bedrock": "Amazon Bedrock's Converse, for every model there",
}
_KINDS = (
    ("Parameters", ""),
    ("Message roles", "role:"),
    ("Content parts", "part:"),
    ("Tools", "tool:"),
    ("Response formats", "format:"),
)
_NEEDS = {
    "sampling": "the model takes sampling parameters",
    "structured_output": "the model takes a JSON schema",
    "prefill": "the model continues an assistant message",
    "forced_tool": "the model can be made to call a tool",
    "mid_system": "the model takes system messages within the conversation",
    "vision": "the model sees",
    "pdf": "the model reads PDFs",
    "audio": "the model hears",
    "video": "the model watches",
    "strict_tools": "the model holds a tool call to its schema",
    "serial_tools": "the model can be kept from calling tools in parallel",
}


def renewed(page: str) -> str:
    """`page` with the tables between its markers made anew. Raises ValueError where a marker is missing."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    """What becomes of every feature: all dialects side by side, then each by itself."""
    return "\n".join([*_overview(), *_sections()])


def _overview() -> Iterator[str]:
    dialects = list(TRANSLATORS)
    for title, prefix in _KINDS:
        yield f"## {title}\n"
        yield f"| | {' | '.join(dialects)} |"
        yield "|---" * (len(dialects) + 1) + "|"
        for feature in _of_openai(prefix):
            cells = [_mark(TRANSLATORS[dialect].OUTCOMES[feature]) for dialect in dialects]
            yield f"| `{feature.removeprefix(prefix)}` | {' | '.join(cells)} |"
        yield ""


def _of_openai(prefix: str) -> list[str]:
    """OpenAI's own features of one kind; the dialect that relays them knows them all."""
    return [name for name in openai.OUTCOMES if name.startswith(prefix) and (prefix or ":" not in name)]


def _mark(outcome: Outcome) -> str:
    plain = {"translated": "✓", "refused": "✗", "dropped": "–"}[outcome.verdict]
    return plain + "*" if outcome.needs else plain


def _sections() -> Iterator[str]:
    """What every feature becomes, dialect by dialect; what goes as it is needs no line."""
    for dialect, translator in TRANSLATORS.items():
        yield f"## `{dialect}`\n\n{NAMES[dialect]}.\n"
        told = {name: outcome for name, outcome in translator.OUTCOMES.items() if not _plain(outcome)}
        same = len(translator.OUTCOMES) - len(told)
        if same:
            yield f"{'The other ' if told else 'All '}{same} features are sent as they are.\n"
        if told:
            yield "| feature | | what becomes of it |\n|---|---|---|"
        for feature, outcome in told.items():
            yield f"| `{feature}` | {_mark(outcome)} | {_note(outcome)} |"
        yield ""


def _plain(outcome: Outcome) -> bool:
    return outcome.note == "sent as it is" and not outcome.needs


def _note(outcome: Outcome) -> str:
    note = outcome.note.replace("|", "\\|")
    return note + (f"; only where {_NEEDS[outcome.needs]}, else {outcome.otherwise}" if outcome.needs else "")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text()))
