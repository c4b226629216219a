"""`response_format` where the provider's word for it is another: a schema, a tool that stands in, an instruction."""

from collections.abc import Container
from typing import Any, NamedTuple

from translators import closed_schema
from translators.outcomes import Dropped

Json = dict[str, Any]

JSON_OBJECT = "Answer with one valid JSON object and nothing else: no prose around it and no code fence."
JSON_TOOL = "json_output"
JSON_TOOL_DESCRIPTION = "Gives the final answer."


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
    if losses:
        report.append(Dropped("response_format.json_schema.schema", f"not enforced: {', '.join(sorted(losses))}"))
    return made


def tool_name(taken: Container[object]) -> str:
    """A name for the tool that stands in, which no other tool has."""
    name = JSON_TOOL
    while name in taken:
        name += "_"
    return name
