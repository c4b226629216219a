"""Tools, the choice among them and their calls, before any dialect's words."""

from typing import Any

import pytest

from translators.errors import LLMError
from translators.exchange import Endpoint
from translators.outcomes import Dropped
from translators.tools import (
    Choice,
    called,
    choice,
    context,
    free_form,
    free_form_input,
    functions,
    give_up_forcing,
    input_schema,
    wire_name,
)

Json = dict[str, Any]
ENDPOINT = Endpoint("p", "http://host", None, "m")


def test_a_name_that_fits_stays_and_no_two_others_collide() -> None:
    assert wire_name("get_weather-2") == "get_weather-2"
    names = ["a b", "a_b", "a.b", "é", "\ud83d", "x" * 65, "x" * 66]
    made = [wire_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(wire_name(name) == name for name in made)


def test_the_answers_side_knows_the_clients_names() -> None:
    chat: Json = {
        "tools": [
            {"type": "function", "function": {"name": "a b"}},
            {"type": "custom", "custom": {"name": "free"}},
            {"type": "web_search"},
        ],
        "stream_options": {"include_usage": True},
    }
    made = context(chat, ENDPOINT, "json_output")
    assert made.tool_names == {wire_name("a b"): "a b"}
    assert (made.model, made.json_tool) == ("m", "json_output")
    assert made.custom_tools == {"free"}
    assert made.include_usage and not made.function_call
    assert context({"functions": [{"name": "f"}]}, ENDPOINT, None).function_call


def test_deprecated_functions_have_a_path_and_must_be_some() -> None:
    assert list(functions({"functions": [{"name": "f"}]})) == [({"name": "f"}, "functions[0]")]
    assert list(functions({})) == []
    for function in ({}, {"name": "f", "parameters": []}):
        with pytest.raises(LLMError) as caught:
            list(functions({"functions": [{"name": "f"}, function]}))
        assert caught.value.param == "functions[1]"


def test_strict_is_held_to_where_the_model_enforces_it() -> None:
    function = {"strict": True, "parameters": {"properties": {"a": {"type": "integer", "minimum": 1}}}}
    report: list[Dropped] = []
    schema, strict = input_schema(function, "tools[0]", report, enforces=True, why_not="no")
    assert strict and schema["additionalProperties"] is False
    assert [lost.feature for lost in report] == ["tools[0].parameters"] and "minimum" in report[0].why
    report.clear()
    schema, strict = input_schema(function, "tools[0]", report, enforces=False, why_not="no")
    assert not strict and schema == {**function["parameters"], "type": "object"}  # type: ignore[dict-item]
    assert report == [Dropped("tools[0].strict", "no")]


def test_a_custom_tool_has_one_string_and_its_grammar_is_told() -> None:
    report: list[Dropped] = []
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    description, schema = free_form({"name": "x", "description": "D", "format": form}, "tools[1]", report)
    assert description.startswith("D\n\n") and "start: /a/" in description
    assert schema["required"] == ["input"]
    assert [lost.feature for lost in report] == ["tools[1].custom.format"]
    assert free_form({"name": "x", "format": {"type": "text"}}, "tools[1]", []) == ("", schema)


def test_what_the_model_wrote_into_it_is_unwrapped() -> None:
    assert free_form_input('{"input": "a b"}') == "a b"
    assert free_form_input('{"input": "a') == '{"input": "a'
    assert free_form_input('{"input": 1}') == '{"input": 1}'


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (None, None),
        ("none", Choice("none")),
        ("auto", Choice("auto")),
        ("required", Choice("any")),
        ({"type": "function", "function": {"name": "a b"}}, Choice("tool", wire_name("a b"))),
        ({"type": "custom", "custom": {"name": "f"}}, Choice("tool", "f")),
        ({"name": "f"}, Choice("tool", "f")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "g"}, 3],
                },
            },
            Choice("any", allowed=frozenset({"f", "g", wire_name("")})),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            Choice("auto", allowed=frozenset()),
        ),
    ],
)
def test_each_choice_is_told_apart(asked: Any, chosen: Choice | None) -> None:
    report: list[Dropped] = []
    assert choice({"tool_choice": asked}, report) == chosen
    assert not report


def test_a_choice_of_no_known_form_is_reported_and_the_deprecated_one_is_known() -> None:
    report: list[Dropped] = []
    assert choice({"tool_choice": {"type": "psychic"}}, report) is None
    assert [lost.feature for lost in report] == ["tool_choice"]
    assert choice({"function_call": {"name": "f"}}, []) == Choice("tool", "f")


def test_what_cannot_be_forced_is_refused_or_reported() -> None:
    with pytest.raises(LLMError) as caught:
        give_up_forcing(ENDPOINT, [])
    assert (caught.value.param, caught.value.code) == ("tool_choice", "unsupported_parameter")
    report: list[Dropped] = []
    give_up_forcing(Endpoint("p", "http://host", None, "m", unsupported="report"), report)
    assert [lost.feature for lost in report] == ["tool_choice"]


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (None, {}),
        ('{"a": ', {"invalid_arguments": '{"a": '}),
        ("[1]", {"arguments": [1]}),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(arguments: Any, input: Json) -> None:
    assert called({"function": {"name": "a b", "arguments": arguments}}) == (wire_name("a b"), input)


def test_a_custom_call_is_one_string() -> None:
    assert called({"type": "custom", "custom": {"name": "f", "input": "x"}}) == ("f", {"input": "x"})
