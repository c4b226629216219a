"""`response_format` where the provider's word for it is another: a schema, a tool that stands in, an instruction."""

from collections.abc import Container
from typing import Any, NamedTuple

from translators import closed_schema
from translators.outcomes import Dropped

Json = dict[str, Any]

JSON_OBJECT = "Answer with one valid JSON object and nothing else: no prose around it and no code fence."
JSON_TOOL = "json_output"
JSON_TOOL_DESCRIPTION = "Gives the final answer."
NO_TEXT = "an answer that must be a call has no text to shape"


class Form(NamedTuple):
    """The schema that the answer is to have."""

    name: str
    described: Json  # its description, if it has one
    schema: Json

    @property
    def titled(self) -> Json:
        """The schema with its name and description within."""
        return {"title": self.name, **self.described, **self.schema}


def form(asked: Json) -> Form | None:
    """What `response_format` says of a schema, if it does."""
    wanted = asked.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return None
    named = wanted["json_schema"]
    described = {"description": named["description"]} if named.get("description") else {}
    return Form(named["name"], described, named.get("schema") or {"type": "object"})


def enforced(schema: Json, report: list[Dropped]) -> Json:
    """`schema` as structured output takes it; what of it is not enforced is in `report`."""
    losses: set[str] = set()
    made = closed_schema.enforced(schema, losses)
    _report(losses, report)
    return made


def tool_input(asked: Json, schema: Json, report: list[Dropped]) -> Json:
    """`schema` as a tool's input, where one stands in for what `asked` wants; what of it is lost is in `report`."""
    losses: set[str] = set()
    made = closed_schema.tool_input(schema, losses)
    _report(losses, report)
    if asked["response_format"]["json_schema"].get("strict") is True:
        why = "a tool that is not held to its schema stands in"
        report.append(Dropped("response_format.json_schema.strict", why))
    return made


def _report(losses: set[str], report: list[Dropped]) -> None:
    if losses:
        report.append(Dropped("response_format.json_schema.schema", f"not enforced: {', '.join(sorted(losses))}"))


def tool_name(taken: Container[object]) -> str:
    """A name for the tool that stands in, which no other tool has."""
    name = JSON_TOOL
    while name in taken:
        name += "_"
    return name
