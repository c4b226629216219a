"""JSON schemas as Anthropic enforces them."""

import copy
from typing import Any

import pytest
from anthropic import transform_schema

from translators.closed_schema import MAX_DEPTH, enforced, tool_input
from translators.errors import LLMError

Json = dict[str, Any]

PERSON: Json = {
    "type": "object",
    "description": "A person",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "mail": {"type": "string", "format": "email"},
        "sort": {"enum": ["a", "b"], "type": "string"},
        "kind": {"const": "person"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "pets": {"type": "array", "items": {"$ref": "#/$defs/Pet"}, "minItems": 2},
        "home": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["name"],
    "$defs": {"Pet": {"type": "object", "properties": {"of": {"$ref": "#/$defs/Pet"}}}},
}


def test_it_agrees_with_the_sdk() -> None:
    losses: set[str] = set()
    before = copy.deepcopy(PERSON)
    made = enforced(PERSON, losses)
    assert before == PERSON
    assert made == transform_schema(copy.deepcopy(PERSON))
    assert losses == {"minLength", "minItems"}


def test_what_is_not_enforced_is_told_and_named() -> None:
    losses: set[str] = set()
    made = enforced({"type": "integer", "description": "Dice", "minimum": 1, "maximum": 6}, losses)
    assert made == {"type": "integer", "description": "Dice\n\n{minimum: 1, maximum: 6}"}
    assert losses == {"minimum", "maximum"}


def test_an_open_object_is_closed_and_named() -> None:
    losses: set[str] = set()
    made = enforced({"type": "object", "additionalProperties": {"type": "string"}}, losses)
    assert made["additionalProperties"] is False and losses == {"additionalProperties"}


def test_several_types_are_variants() -> None:
    made = enforced({"type": ["string", "null"], "description": "maybe"}, set())
    assert made == {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "maybe"}


def test_old_definitions_are_found_under_their_new_name() -> None:
    made = enforced({"definitions": {"A": {"type": "string"}}, "$ref": "#/definitions/A"}, set())
    assert made == {"$defs": {"A": {"type": "string"}}, "$ref": "#/$defs/A"}


def test_a_schema_that_holds_itself_ends_in_an_error_of_ours() -> None:
    endless: Json = {"type": "array"}
    endless["items"] = endless
    with pytest.raises(LLMError, match=f"deeper than {MAX_DEPTH}"):
        enforced(endless, set())


@pytest.mark.parametrize(
    "schema", [{"type": 5}, {"properties": 3}, {"items": True}, {"anyOf": [True, 1]}, {"enum": {}}]
)
def test_nonsense_gives_a_schema(schema: Json) -> None:
    assert isinstance(enforced(schema, set()), dict)


def test_a_tools_input_is_an_object_without_variants_at_the_top() -> None:
    losses: set[str] = set()
    variants = [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "string"}}}]
    made = tool_input({"anyOf": variants}, losses)
    assert made == {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
    assert losses == {"anyOf"}


@pytest.mark.parametrize(
    ("schema", "lost"),
    [
        ({"type": "object"}, True),
        ({"type": "object", "additionalProperties": True}, True),
        ({"type": "object", "additionalProperties": False}, False),
        ({"type": "object", "properties": {}}, False),
    ],
)
def test_an_object_that_may_hold_anything_is_not_closed_without_a_word(schema: dict[str, object], lost: bool) -> None:
    losses: set[str] = set()
    enforced(schema, losses)
    assert losses == ({"additionalProperties"} if lost else set())


A: Json = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
B: Json = {"properties": {"b": {"type": "integer"}}, "required": ["b"]}


def test_objects_that_hold_together_are_one_before_they_are_closed() -> None:
    losses: set[str] = set()
    made = enforced({"allOf": [A, B], "description": "both"}, losses)
    assert made["properties"] == {"a": {"type": "string"}, "b": {"type": "integer"}}
    assert (made["required"], made["additionalProperties"], made["description"]) == (["a", "b"], False, "both")
    assert enforced({**A, "allOf": [B]}, losses)["required"] == ["a", "b"]
    assert not losses and "allOf" not in made


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"$ref": "#/$defs/A"}, B], "$defs": {"A": A}},
        {"allOf": [A, {"properties": {"a": {"type": "integer"}}}]},
        {**A, "anyOf": [B, {"properties": {"c": {}}}]},
        {"allOf": [A, {**B, "description": "what would be lost of it"}]},
        {"required": None, "allOf": [A, {**B, "required": [{}]}]},
        {**A, "required": True, "allOf": [B]},
        {"properties": {}, "allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": A}},
    ],
)
def test_objects_that_cannot_be_put_together_are_a_loss_since_each_forbids_the_others(schema: Json) -> None:
    losses: set[str] = set()
    enforced(schema, losses)
    assert losses & {"allOf", "anyOf"}


def test_a_reference_alone_and_objects_to_choose_from_are_none() -> None:
    losses: set[str] = set()
    enforced({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {**A, "additionalProperties": False}}}, losses)
    closed = [{**A, "additionalProperties": False}, {"type": "string"}]
    assert enforced({"anyOf": closed}, losses) == {"anyOf": closed}
    assert not losses


def test_the_description_beside_a_reference_is_a_loss() -> None:
    losses: set[str] = set()
    made = enforced({"$ref": "#/$defs/A", "description": "the sender", "title": "From"}, losses)
    assert (made, losses) == ({"$ref": "#/$defs/A"}, {"description"})
