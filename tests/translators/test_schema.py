from typing import Any

import pytest

from translators import schema
from translators.errors import LLMError

KEYWORDS = {
    "type",
    "properties",
    "required",
    "enum",
    "items",
    "anyOf",
    "minimum",
    "maximum",
    "description",
    "$ref",
    "$defs",
}


def cleaned(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    made, dropped = schema.cleaned(given, KEYWORDS, "s")
    return made, [each.feature for each in dropped]


def test_keeps_what_is_known_and_names_what_is_lost() -> None:
    given = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}, "patternProperties": {}}
    assert cleaned(given) == (
        {"type": "object", "properties": {"a": {"type": "string"}}},
        ["s.a.pattern", "s.patternProperties"],
    )


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    given = {"type": "object", "properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}}
    assert cleaned(given) == (given, [])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"const": 1}, {"enum": [1]}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 9}, {"type": "integer", "maximum": 8}),
        ({"allOf": [{"type": "string"}], "description": "d"}, {"type": "string", "description": "d"}),
        (
            {"$ref": "#/definitions/A", "definitions": {"A": {"type": "string"}}},
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}},
        ),
        (
            {"items": {"$ref": "#/$defs/A", "description": "one"}, "$defs": {"A": {}}},
            {"items": {"anyOf": [{"$ref": "#/$defs/A"}], "description": "one"}, "$defs": {"A": {}}},
        ),
        ({"type": "string", "$schema": "x", "examples": ["y"]}, {"type": "string"}),
        ({"allOf": [{"minimum": 1, "type": "integer"}], "minimum": 1}, {"minimum": 1, "type": "integer"}),
        (
            {"items": {"nullable": True, "allOf": [{"$ref": "#/$defs/A"}]}, "$defs": {"A": {}}},
            {"items": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}, "$defs": {"A": {}}},
        ),
        (
            {"nullable": True, "anyOf": [{"type": "string"}]},
            {"anyOf": [{"anyOf": [{"type": "string"}]}, {"type": "null"}]},
        ),
        ({"nullable": True}, {}),
        (
            {"nullable": True, "allOf": [{"$ref": "#/definitions/A"}], "definitions": {"A": {"type": "string"}}},
            {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], "$defs": {"A": {"type": "string"}}},
        ),
        (
            {"type": "string", "nullable": True, "allOf": [{"type": "string", "enum": ["a"]}]},
            {"type": ["string", "null"], "enum": ["a"]},
        ),
    ],
)
def test_says_otherwise_what_has_an_equivalent(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert cleaned(given) == (expected, [])


def test_a_reference_to_nothing_is_lost_and_said() -> None:
    assert cleaned({"items": {"$ref": "#/$defs/None"}}) == ({"items": {}}, ["s.items.$ref"])
    assert cleaned({"$ref": "https://example.com/s.json"}) == ({}, ["s.$ref"])


def test_a_cycle_ends_and_the_schema_given_is_as_it_was() -> None:
    node = {
        "type": "object",
        "properties": {"value": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
        "required": ["value", "children"],
    }
    given = {"type": "object", "properties": {"root": {"$ref": "#/$defs/Node"}}, "required": ["root"]}
    given |= {"$defs": {"Node": node}}
    before = repr(given)
    clean, lost = schema.cleaned(given, KEYWORDS, "s")
    made, dropped = schema.loosened(clean, "s")
    assert lost == []
    assert made["required"] == ["root"]  # enters the cycle, is not in it
    assert made["$defs"]["Node"]["required"] == ["value"]
    assert [each.feature for each in dropped] == ["s.$defs.required[children]"]
    assert repr(given) == before


def test_a_cycle_through_two_definitions_and_through_the_root() -> None:
    a = {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}, "required": ["b"]}
    b = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}
    made, _ = schema.loosened({"$ref": "#/$defs/A", "$defs": {"A": a, "B": b}}, "s")
    assert made["$defs"]["A"]["required"] == [] and made["$defs"]["B"]["required"] == []
    root = {"type": "object", "properties": {"next": {"$ref": "#"}, "id": {}}, "required": ["next", "id"]}
    assert schema.loosened(root, "s")[0]["required"] == ["id"]


def test_nested_too_deep_is_refused_by_name() -> None:
    given: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        given = {"type": "array", "items": given}
    with pytest.raises(LLMError) as caught:
        schema.cleaned(given, KEYWORDS, "tools[0]")
    assert (caught.value.kind, caught.value.param) == ("invalid_request", "tools[0]")


def test_a_schema_with_too_many_definitions_is_refused_rather_than_pondered() -> None:
    many = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(schema.MAX_DEFINITIONS + 1)}
    with pytest.raises(LLMError) as caught:
        schema.cleaned({"type": "object", "$defs": many}, {"type", "$defs", "$ref"}, "tools[0].function.parameters")
    assert caught.value.param == "tools[0].function.parameters"


@pytest.mark.parametrize(
    "given",
    [
        {"type": "object", "properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]},
        {"type": "integer", "minimum": 5, "allOf": [{"minimum": 10}]},
        {"properties": {"a": {}}, "nullable": True},
    ],
)
def test_what_cannot_be_said_otherwise_is_said_to_be_lost(given: dict[str, Any]) -> None:
    made, [lost] = cleaned(given)
    (word,) = given.keys() - made.keys()
    assert made == {key: value for key, value in given.items() if key != word}
    assert lost.endswith(word) and word in ("allOf", "nullable")
