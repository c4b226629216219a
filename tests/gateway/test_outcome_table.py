"""docs/providers.md: complete, and what the dialects' tables say."""

import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from openai.types import chat as sdk
from openai.types.chat import completion_create_params

from gateway.outcome_table import NAMES, renewed, tables
from translators.registry import TRANSLATORS

COMMITTED = Path(__file__).parent.parent.parent / "docs" / "providers.md"
DIALECTS = pytest.mark.parametrize("dialect", TRANSLATORS)


def literals(union: Any, field: str) -> set[str]:
    """The values that `field` may have in the members of a union of TypedDicts."""
    found: set[str] = set()
    for member in get_args(union) if get_origin(union) is not None else (union,):
        found |= set(get_args(get_type_hints(member)[field])) or {get_type_hints(member)[field]}
    return found


# everything that OpenAI's chat completions know, read off the installed SDK's own types
EVERYTHING = {
    *completion_create_params.CompletionCreateParamsStreaming.__annotations__,
    *(f"role:{role}" for role in literals(sdk.ChatCompletionMessageParam, "role")),
    *(f"part:{part}" for part in literals(sdk.ChatCompletionContentPartParam, "type")),
    *(f"part:{part}" for part in literals(sdk.ChatCompletionContentPartRefusalParam, "type")),
    "part:assistant_audio",  # an assistant message's `audio`
    *(f"tool:{tool}" for tool in literals(sdk.ChatCompletionToolUnionParam, "type")),
    *(f"format:{format}" for format in literals(completion_create_params.ResponseFormat, "type")),
}


def test_the_sdk_was_read() -> None:
    some = {"temperature", "role:developer", "part:image_url", "part:refusal", "tool:custom", "format:json_schema"}
    assert some <= EVERYTHING and len(EVERYTHING) >= 54


@DIALECTS
def test_a_dialect_has_an_outcome_for_everything_that_the_sdk_knows(dialect: str) -> None:
    table = TRANSLATORS[dialect].OUTCOMES
    assert not EVERYTHING - set(table)
    assert all(outcome.note for outcome in table.values())


@DIALECTS
def test_a_dialect_has_a_name_and_a_section(dialect: str) -> None:
    section = tables().split(f"\n## `{dialect}`\n")[1].split("\n## ")[0]
    assert NAMES[dialect] in section
    for feature, outcome in TRANSLATORS[dialect].OUTCOMES.items():
        assert f"| `{feature}` |" in section or outcome.note == "sent as it is"


def test_the_overview_has_no_blank() -> None:
    overview = tables().split("\n## `")[0]
    rows = [line for line in overview.splitlines() if line.startswith("| `")]
    assert len(rows) == len(EVERYTHING)
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert len(cells) == len(TRANSLATORS) and all(re.fullmatch(r"[✓✗–]\*?", cell) for cell in cells), row


def test_the_committed_page_is_what_the_tables_say() -> None:
    page = COMMITTED.read_text()
    assert page == renewed(page), "run scripts/providers-doc"
