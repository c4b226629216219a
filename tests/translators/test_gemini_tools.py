from dataclasses import replace
from typing import Any

import pytest

from translators import gemini_tools
from translators.errors import LLMError
from translators.exchange import Endpoint, ModelFacts

Json = dict[str, Any]
BUDGET = Endpoint("gemini", "https://host", "k", "m", ModelFacts(thinking="budget"))
LEVEL = replace(BUDGET, facts=ModelFacts(thinking="level"))
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
TIME = {"type": "function", "function": {"name": "time", "description": "tells it"}}
SEARCH, CODE = {"type": "google_search"}, {"type": "code_execution"}
PERSON = {
    "type": "json_schema",
    "json_schema": {"name": "person", "schema": {"type": "object", "properties": {"a": {}}}},
}


def toolbox(endpoint: Endpoint = LEVEL, **asked: Any) -> gemini_tools.Toolbox:
    chat = {"messages": [{"role": "user", "content": "hi"}], **asked}
    return gemini_tools.toolbox(chat, endpoint, gemini_tools.wire_names(chat), frozenset())


def allowed(*entries: Any, mode: str = "auto") -> Json:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(entries)}}


def sent(found: gemini_tools.Toolbox) -> list[str]:
    return [field for tool in found.tools for field in tool]


def calling(**asked: Any) -> Json:
    config: Json = toolbox(tools=[WEATHER, TIME], **asked).config.get("functionCallingConfig", {})
    return config


def test_functions_are_declared_with_their_schema() -> None:
    assert toolbox(tools=[WEATHER, TIME]).tools == [
        {
            "functionDeclarations": [
                {"name": "weather", "parametersJsonSchema": {"type": "object", "properties": {}}},
                {"name": "time", "description": "tells it"},
            ]
        }
    ]


def test_a_lost_keyword_is_named() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    found = toolbox(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    assert [each.feature for each in found.dropped] == ["tools[0].function.parameters.a.pattern"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {}),
        ("auto", {}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "time"}}, {"mode": "ANY", "allowedFunctionNames": ["time"]}),
        (allowed(WEATHER), {"mode": "VALIDATED", "allowedFunctionNames": ["weather"]}),
        (allowed(WEATHER, mode="required"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
        (allowed({"type": "function", "name": "time"}), {"mode": "VALIDATED", "allowedFunctionNames": ["time"]}),
        (allowed(), {"mode": "NONE"}),
        (allowed(SEARCH), {"mode": "NONE"}),
    ],
)
def test_tool_choice(choice: Any, expected: Json) -> None:
    assert calling(tool_choice=choice) == expected


def test_strict_asks_for_validated_calls() -> None:
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    assert toolbox(tools=[strict]).config == {"functionCallingConfig": {"mode": "VALIDATED"}}


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "nobody"}},
        {"type": "magic"},
        {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER]},
    ],
)
def test_a_choice_of_no_tool_is_refused(choice: Json) -> None:
    with pytest.raises(LLMError) as caught:
        calling(tool_choice=choice)
    assert (caught.value.kind, caught.value.param) == ("invalid_request", "tool_choice")


def test_a_model_that_cannot_be_forced() -> None:
    free = replace(LEVEL, facts=ModelFacts(thinking="level", forced_tool=False))
    with pytest.raises(LLMError):
        toolbox(free, tools=[TIME], tool_choice="required")
    lenient = toolbox(replace(free, unsupported="report"), tools=[TIME], tool_choice="required")
    assert lenient.config == {}
    assert [each.feature for each in lenient.dropped] == ["tool_choice"]


def test_deprecated_functions_are_tools() -> None:
    found = toolbox(functions=[{"name": "old", "description": "d"}], function_call={"name": "old"})
    assert found.tools == [{"functionDeclarations": [{"name": "old", "description": "d"}]}]
    assert found.config == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["old"]}}


def test_a_custom_tool_is_a_function_of_one_string() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
    found = toolbox(tools=[{"type": "custom", "custom": {"name": "sh", "description": "runs", "format": grammar}}])
    (declared,) = found.tools[0]["functionDeclarations"]
    assert declared["parametersJsonSchema"]["required"] == ["input"]
    assert "start: WORD" in declared["description"]
    assert found.custom == {"sh"}
    assert [each.feature for each in found.dropped] == ["tools[0].custom.format"]


def test_googles_own_tools_and_web_search() -> None:
    own = [{"type": "code_execution"}, {"type": "google_search", "google_search": {"timeRangeFilter": {}}}]
    assert toolbox(tools=own).tools == [{"codeExecution": {}}, {"googleSearch": {"timeRangeFilter": {}}}]
    found = toolbox(web_search_options={"search_context_size": "high"})
    assert found.tools == [{"googleSearch": {}}]
    assert [each.feature for each in found.dropped] == ["web_search_options.search_context_size"]


@pytest.mark.parametrize("bar", [{"tool_choice": "none"}, {"function_call": "none"}, {"tool_choice": allowed()}])
def test_googles_own_tools_are_not_sent_where_no_tool_may_be_called(bar: Json) -> None:
    assert toolbox(web_search_options={}, **bar) == ([], {}, frozenset(), None, [])
    beside = toolbox(tools=[SEARCH, CODE, TIME], **bar)
    assert sent(beside) == ["functionDeclarations"]
    assert beside.config == {"functionCallingConfig": {"mode": "NONE"}}


def test_of_googles_own_tools_those_allowed_are_sent() -> None:
    tools = [SEARCH, CODE, WEATHER, TIME]
    one = toolbox(tools=tools, web_search_options={}, tool_choice=allowed(TIME))
    assert sent(one) == ["functionDeclarations"]
    assert one.config == {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["time"]}}
    assert sent(toolbox(tools=tools, tool_choice=allowed(TIME, CODE))) == ["functionDeclarations", "codeExecution"]
    assert sent(toolbox(web_search_options={}, tool_choice=allowed(SEARCH))) == ["googleSearch"]


def test_functions_that_may_not_be_called_do_not_stand_beside_googles_tools() -> None:
    found = toolbox(BUDGET, tools=[SEARCH, CODE, TIME], tool_choice=allowed(SEARCH))
    assert (found.tools, found.config) == ([{"googleSearch": {}}], {})


@pytest.mark.parametrize("asked", [{"tool_choice": "required"}, {"tool_choice": allowed(SEARCH, mode="required")}])
def test_googles_own_tools_cannot_be_forced(asked: Json) -> None:
    with pytest.raises(LLMError) as caught:
        toolbox(tools=[SEARCH], **asked)
    assert (caught.value.kind, caught.value.param) == ("invalid_request", "tool_choice")
    lenient = toolbox(replace(LEVEL, unsupported="report"), tools=[SEARCH], **asked)
    assert (sent(lenient), lenient.config) == (["googleSearch"], {})
    assert [each.feature for each in lenient.dropped] == ["tool_choice"]


def test_googles_tools_beside_functions_must_be_shown_to_the_client() -> None:
    assert toolbox(tools=[TIME, {"type": "url_context"}]).config == {"includeServerSideToolInvocations": True}
    assert toolbox(BUDGET, tools=[TIME, {"type": "url_context"}]).config == {}


def test_a_schema_beside_functions_is_a_forced_function_before_gemini_3() -> None:
    found = toolbox(BUDGET, tools=[TIME], response_format=PERSON)
    assert found.json_tool == "json_answer"
    assert [each["name"] for each in found.tools[0]["functionDeclarations"]] == ["time", "json_answer"]
    assert found.config == {"functionCallingConfig": {"mode": "ANY"}}
    assert toolbox(LEVEL, tools=[TIME], response_format=PERSON).json_tool is None
    assert toolbox(BUDGET, response_format=PERSON).json_tool is None


def test_a_model_without_schemas_answers_by_a_function() -> None:
    plain = replace(LEVEL, facts=ModelFacts(structured_output=False))
    assert toolbox(plain, response_format=PERSON).json_tool == "json_answer"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", {"mode": "ANY", "allowedFunctionNames": ["json_answer"]}),
        (allowed(TIME), {"mode": "ANY", "allowedFunctionNames": ["time", "json_answer"]}),
    ],
)
def test_the_forced_function_keeps_the_choice(choice: Any, expected: Json) -> None:
    found = toolbox(BUDGET, tools=[TIME], tool_choice=choice, response_format=PERSON)
    assert found.config == {"functionCallingConfig": expected}


def test_a_call_that_must_come_needs_no_answer() -> None:
    assert toolbox(BUDGET, tools=[TIME], tool_choice="required", response_format=PERSON).json_tool is None


def test_names_are_fitted_and_stay_apart() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "get.it!", "arguments": "{}"}}]
    chat = {
        "messages": [{"role": "assistant", "tool_calls": calls}],
        "tools": [{"type": "function", "function": {"name": name}} for name in ("a b", "a_b", "9x", "é" * 200)],
    }
    names = gemini_tools.wire_names(chat)
    assert (names["a b"], names["a_b"], names["9x"], names["get.it!"]) == ("a_b", "a_b_2", "_9x", "get.it_")
    assert len(names["é" * 200]) <= 128 and len(set(names.values())) == len(names)


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(LLMError):
        gemini_tools.wire_names({"messages": [], "functions": [{"description": "d"}]})
