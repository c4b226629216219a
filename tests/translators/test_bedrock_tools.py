"""toolConfig, for what a client of OpenAI's asked."""

from typing import Any

import pytest

from tests.translators.test_bedrock import ADAPTIVE, NOVA, PLAIN, USER, refused, translated
from translators.exchange import Json, ModelFacts

WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SPEC = {
    "toolSpec": {
        "name": "weather",
        "description": "The weather",
        "inputSchema": {"json": WEATHER["function"]["parameters"]},
    }
}
CALLED = [
    USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"R"}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "warm"},
]


@pytest.mark.parametrize(
    ("choice", "becomes"),
    [
        (None, None),
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, {"tool": {"name": "weather"}}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]},
            },
            {"any": {}},
        ),
    ],
)
def test_each_choice_has_its_word(choice: Any, becomes: Any) -> None:
    body, _, _ = translated(tools=[WEATHER], tool_choice=choice)
    assert body["toolConfig"] == {"tools": [SPEC], **({"toolChoice": becomes} if becomes else {})}


def test_none_leaves_the_tools_out_where_nothing_was_called() -> None:
    assert "toolConfig" not in translated(tools=[WEATHER], tool_choice="none")[0]
    assert refused(tools=[WEATHER], tool_choice="none", messages=CALLED).param == "tool_choice"
    body, _, dropped = translated(tools=[WEATHER], tool_choice="none", messages=CALLED, unsupported="report")
    assert body["toolConfig"] == {"tools": [SPEC]} and "tool_choice" in dropped


def test_calls_within_the_conversation_demand_that_tools_are_listed() -> None:
    body, _, _ = translated(messages=CALLED)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["weather"]


def test_a_model_that_cannot_be_forced_is_not() -> None:
    assert refused(PLAIN, tools=[WEATHER], tool_choice="required").param == "tool_choice"
    body, _, dropped = translated(PLAIN, tools=[WEATHER], tool_choice="required", unsupported="report")
    assert body["toolConfig"] == {"tools": [SPEC]} and "tool_choice" in dropped


def test_parallel_calls_are_turned_off_in_claudes_words_or_reported() -> None:
    body, _, dropped = translated(ADAPTIVE, tools=[WEATHER], parallel_tool_calls=False, tool_choice="required")
    own = {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    assert body["additionalModelRequestFields"] == own and not dropped
    assert "parallel_tool_calls" in translated(NOVA, tools=[WEATHER], parallel_tool_calls=False)[2]


def test_strict_is_held_to_where_the_model_can() -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    spec = translated(tools=[strict])[0]["toolConfig"]["tools"][0]["toolSpec"]
    assert spec["strict"] is True and spec["inputSchema"]["json"]["additionalProperties"] is False
    body, _, dropped = translated(ModelFacts(strict_tools=False), tools=[strict])
    assert body["toolConfig"]["tools"] == [SPEC] and "tools[0].strict" in dropped


def test_a_custom_tool_takes_one_string_and_a_system_tool_goes_as_it_is() -> None:
    custom = {"type": "custom", "custom": {"name": "run", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}}
    system = {"type": "systemTool", "systemTool": {"name": "nova_grounding"}}
    body, context, dropped = translated(NOVA, tools=[custom, system])
    assert body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["required"] == ["input"]
    assert body["toolConfig"]["tools"][1] == {"systemTool": {"name": "nova_grounding"}}
    assert context.custom_tools == {"run"} and "tools[0].custom.format" in dropped


def test_names_that_bedrock_would_refuse_are_mapped_there_and_back() -> None:
    tool = {"type": "function", "function": {"name": "get.weather now"}}
    body, context, _ = translated(
        tools=[tool], tool_choice={"type": "function", "function": {"name": "get.weather now"}}
    )
    sent = body["toolConfig"]["tools"][0]["toolSpec"]["name"]
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": sent}}
    assert context.tool_names == {sent: "get.weather now"}


def test_a_cache_mark_stands_behind_its_tool() -> None:
    custom = {"type": "custom", "custom": {"name": "code", "cache_control": {"type": "ephemeral"}}}
    body, _, _ = translated(tools=[custom])
    assert body["toolConfig"]["tools"][1:] == [{"cachePoint": {"type": "default"}}]
    body, _, _ = translated(tools=[{**WEATHER, "cache_control": {"type": "ephemeral"}}])
    assert body["toolConfig"]["tools"] == [SPEC, {"cachePoint": {"type": "default"}}]


def test_what_converse_has_no_word_for_is_reported() -> None:
    tool = {**WEATHER, "defer_loading": True, "function": {**WEATHER["function"], "input_examples": [{"city": "R"}]}}
    body, _, dropped = translated(tools=[tool], functions=[{"name": "f", "title": "F"}])
    assert body["toolConfig"]["tools"][0] == SPEC
    assert set(dropped) == {"tools[0].defer_loading", "tools[0].function.input_examples", "functions[0].title"}


def test_deprecated_functions_are_tools_too() -> None:
    body, context, _ = translated(functions=[WEATHER["function"]], function_call={"name": "weather"})
    assert body["toolConfig"] == {"tools": [SPEC], "toolChoice": {"tool": {"name": "weather"}}}
    assert context.function_call
    assert refused(functions=[{"parameters": {}}]).param == "functions[0]"
    assert "parallel_tool_calls" in translated(NOVA, functions=[WEATHER["function"]])[2]  # one would be lost


def test_the_answers_form_beside_tools_makes_the_model_call_one_of_them() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "A", "schema": {"type": "object", "properties": {}}}}
    body, context, _ = translated(NOVA, tools=[WEATHER], response_format=form)
    assert body["toolConfig"]["toolChoice"] == {"any": {}} and context.json_tool == "json_output"
    body, _, _ = translated(NOVA, tools=[WEATHER], response_format=form, tool_choice="none")
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["json_output"]
    body, context, dropped = translated(NOVA, tools=[WEATHER], response_format=form, tool_choice="required")
    assert (context.json_tool, len(body["toolConfig"]["tools"])) == (None, 1) and "response_format" in dropped
