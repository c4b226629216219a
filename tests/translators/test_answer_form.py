"""The schema that an answer is to have, and the name of the tool that stands in for it."""

from typing import Any

from translators.answer_form import JSON_TOOL, Form, enforced, form, tool_name
from translators.outcomes import Dropped

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_only_a_schema_is_a_form() -> None:
    assert form({}) is None and form({"response_format": {"type": "json_object"}}) is None
    found = form({"response_format": {"type": "json_schema", "json_schema": {"name": "N", "schema": SCHEMA}}})
    assert found == Form("N", {}, SCHEMA)


def test_its_name_and_description_can_stand_within() -> None:
    named = {"name": "N", "description": "D"}
    found = form({"response_format": {"type": "json_schema", "json_schema": named}})
    assert found is not None
    assert found.titled == {"title": "N", "description": "D", "type": "object"}


def test_what_is_not_enforced_is_reported() -> None:
    report: list[Dropped] = []
    assert enforced(SCHEMA, report)["additionalProperties"] is False and not report
    enforced({"type": "integer", "minimum": 3}, report)
    assert [(lost.feature, lost.why) for lost in report] == [
        ("response_format.json_schema.schema", "not enforced: minimum")
    ]


def test_the_tools_name_is_one_that_no_other_has() -> None:
    assert tool_name([]) == JSON_TOOL
    assert tool_name([None, JSON_TOOL, f"{JSON_TOOL}_"]) == f"{JSON_TOOL}__"
