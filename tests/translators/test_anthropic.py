"""What reaches Anthropic for what a client of OpenAI's asked."""

import copy
import itertools
from typing import Any, get_args, get_type_hints

import orjson
import pytest
from anthropic.types import ToolUnionParam
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from tests.translators.anthropic_types import assert_valid
from translators import answer_form, anthropic, chat_request, effort
from translators.errors import LLMError
from translators.exchange import Context, Endpoint, Json, ModelFacts

BUDGET = ModelFacts(max_output_tokens=64000, thinking="budget")
ADAPTIVE = ModelFacts(
    max_output_tokens=128000,
    sampling=False,
    thinking="adaptive",
    efforts=("low", "medium", "high", "xhigh", "max"),
    prefill=False,
    mid_system=True,
)
ALWAYS = ModelFacts(
    max_output_tokens=128000,
    sampling=False,
    thinking="adaptive",
    thinking_always=True,
    efforts=("low", "high"),
    forced_tool=False,
    prefill=False,
)
PLAIN = ModelFacts(max_output_tokens=4096, structured_output=False)
USER = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def endpoint(facts: ModelFacts = BUDGET, **more: Any) -> Endpoint:
    return Endpoint("anthropic", "https://api.example", "sk-secret", "claude-x", facts, **more)


def translated(
    facts: ModelFacts = BUDGET, *, unsupported: str = "refuse", **asked: Any
) -> tuple[Json, Context, dict[str, str]]:
    """The body, checked against the SDK's types, the context, and what was dropped with the reason."""
    chat = {"model": "m", "messages": [USER], **asked}
    before = copy.deepcopy(chat)
    body, context, dropped = anthropic.messages_body(chat, endpoint(facts, unsupported=unsupported))
    assert chat == before
    assert_valid(body)
    return body, context, {lost.feature: lost.why for lost in dropped}


def refused(facts: ModelFacts = BUDGET, **asked: Any) -> LLMError:
    with pytest.raises(LLMError) as caught:
        anthropic.messages_body({"model": "m", "messages": [USER], **asked}, endpoint(facts))
    return caught.value


# Where it goes.


def test_the_request_is_a_post_with_anthropics_headers() -> None:
    made = anthropic.request({"model": "m", "messages": [USER]}, endpoint(headers={"X-Team": "a"}))
    assert made.url == "https://api.example/v1/messages"
    assert made.headers == {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "sk-secret",
        "x-team": "a",
    }
    assert orjson.loads(made.body) == {
        "model": "claude-x",
        "max_tokens": 64000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


def test_a_file_id_asks_for_the_beta_beside_the_operators_own() -> None:
    part = {"type": "file", "file": {"file_id": "file_1"}}
    chat = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    assert anthropic.request(chat, endpoint()).headers["anthropic-beta"] == "files-api-2025-04-14"
    own = endpoint(headers={"Anthropic-Beta": "context-1m-2025-08-07"})
    assert anthropic.request(chat, own).headers["anthropic-beta"] == "files-api-2025-04-14,context-1m-2025-08-07"


def test_nothing_must_be_fetched_first() -> None:
    assert anthropic.media_urls({"model": "m", "messages": [USER]}, endpoint()) == ()


# The outcome table.


def test_every_parameter_of_openai_has_an_outcome() -> None:
    parameters = {*get_type_hints(CompletionCreateParamsBase), "stream"}
    assert parameters - anthropic.OUTCOMES.keys() == set()


def test_every_tool_of_anthropics_own_is_known() -> None:
    kinds = {
        kind
        for tool in get_args(ToolUnionParam)
        for kind in get_args(get_type_hints(tool, include_extras=False).get("type"))
        if isinstance(kind, str) and kind != "custom"
    }
    assert {f"tool:{kind}" for kind in kinds} - anthropic.OUTCOMES.keys() == set()
    assert set(anthropic.OWN_TOOLS) - kinds == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 2),
        ("logit_bias", {"1": 5}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("moderation", {"model": "omni-moderation-latest"}),
    ],
)
def test_what_would_change_the_meaning_is_refused_by_name_or_reported(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert (error.status, error.param) == (400, name)
    body, _, dropped = translated(unsupported="report", **{name: value})
    assert name in dropped and name not in body


def test_hints_are_dropped_and_reported() -> None:
    hints: Json = {
        "seed": 1,
        "verbosity": "low",
        "store": True,
        "metadata": {"a": "b"},
        "presence_penalty": 1,
        "mystery": 1,
    }
    body, _, dropped = translated(**hints)
    assert set(dropped) == set(hints)
    assert set(body) == {"model", "max_tokens", "messages"}


def test_a_neutral_value_is_neither_refused_nor_reported() -> None:
    assert translated(n=1, logprobs=False, modalities=["text"], seed=None, store=False)[2] == {}


# Limits, sampling, stop, account.


def test_max_tokens_comes_from_the_client_then_the_facts_then_the_constant() -> None:
    assert translated(max_completion_tokens=7, max_tokens=9)[0]["max_tokens"] == 7
    assert translated(max_tokens=9)[0]["max_tokens"] == 9
    assert translated()[0]["max_tokens"] == 64000
    assert translated(ModelFacts())[0]["max_tokens"] == anthropic.MAX_TOKENS


def test_sampling_fits_anthropics_ranges() -> None:
    assert translated(temperature=0.5)[0]["temperature"] == 0.5
    assert translated(top_p=0.5, top_k=3)[0] | {"top_p": 0.5, "top_k": 3} == translated(top_p=0.5, top_k=3)[0]
    body, _, dropped = translated(temperature=1.5, top_p=0.5)
    assert body["temperature"] == 1 and "top_p" not in body
    assert set(dropped) == {"temperature", "top_p"}
    assert translated(temperature=0.3, top_p=1)[2] == {}


def test_a_model_without_sampling_reports_it() -> None:
    body, _, dropped = translated(ADAPTIVE, temperature=0.5, top_p=0.9)
    assert set(dropped) == {"temperature", "top_p"} and not body.keys() & {"temperature", "top_p"}


def test_sampling_gives_way_to_thinking() -> None:
    body, _, dropped = translated(reasoning_effort="low", temperature=0.2, top_k=5, top_p=0.97)
    assert body["top_p"] == 0.97 and not body.keys() & {"temperature", "top_k"}
    assert set(dropped) == {"temperature", "top_k"}


def test_stop_sequences() -> None:
    assert translated(stop="END")[0]["stop_sequences"] == ["END"]
    assert translated(stop=["a", "b"])[0]["stop_sequences"] == ["a", "b"]
    assert refused(stop=["\n"]).param == "stop"
    body, _, dropped = translated(unsupported="report", stop=["\n", "b"])
    assert body["stop_sequences"] == ["b"] and "stop" in dropped


def test_who_asks_and_at_which_tier() -> None:
    body, _, dropped = translated(safety_identifier="hash", user="bob", service_tier="default")
    assert body["metadata"] == {"user_id": "hash"} and set(dropped) == {"user"}
    assert body["service_tier"] == "standard_only"
    assert translated(user="bob")[0]["metadata"] == {"user_id": "bob"}
    assert translated(service_tier="priority")[0]["service_tier"] == "auto"
    body, _, dropped = translated(service_tier="flex")
    assert "service_tier" not in body and "service_tier" in dropped


def test_cache_options_in_openais_words() -> None:
    assert translated(prompt_cache_options={"mode": "implicit"})[0]["cache_control"] == {"type": "ephemeral"}
    assert translated(prompt_cache_options={"ttl": "30m"})[0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_control" not in translated(prompt_cache_options={"mode": "explicit"})[0]
    assert set(translated(prompt_cache_key="k", prompt_cache_retention="24h")[2]) == {
        "prompt_cache_key",
        "prompt_cache_retention",
    }


# Reasoning.


@pytest.mark.parametrize(
    ("effort", "budget"),
    [("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16384), ("xhigh", 32768), ("max", 51200)],
)
def test_effort_is_a_budget_within_max_tokens(effort: str, budget: int) -> None:
    body, _, dropped = translated(reasoning_effort=effort)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert "output_config" not in body and dropped == {}


def test_no_room_to_think_is_reported() -> None:
    body, _, dropped = translated(reasoning_effort="high", max_completion_tokens=1024)
    assert "thinking" not in body and "reasoning_effort" in dropped
    assert translated(reasoning_effort="high", max_completion_tokens=1025)[0]["thinking"]["budget_tokens"] == 1024


@pytest.mark.parametrize(
    ("effort", "level"),
    [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "xhigh"), ("max", "max")],
)
def test_effort_is_a_level_where_thinking_is_adaptive(effort: str, level: str) -> None:
    body, _, dropped = translated(ADAPTIVE, reasoning_effort=effort)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": level}
    assert ("reasoning_effort" in dropped) == (effort != level)


def test_an_unknown_level_becomes_the_nearest_below() -> None:
    body, _, dropped = translated(ALWAYS, reasoning_effort="medium")
    assert body["output_config"] == {"effort": "low"} and "medium" in dropped["reasoning_effort"]


def test_no_effort_turns_thinking_off_where_that_can_be() -> None:
    assert translated(reasoning_effort="none")[0]["thinking"] == {"type": "disabled"}
    assert "thinking" not in translated(ModelFacts(), reasoning_effort="none")[0]
    body, _, dropped = translated(ALWAYS, reasoning_effort="none")
    assert "thinking" not in body and body["output_config"] == {"effort": "low"} and "reasoning_effort" in dropped


def test_a_model_that_does_not_reason_reports_effort() -> None:
    body, _, dropped = translated(ModelFacts(), reasoning_effort="high")
    assert "thinking" not in body and "reasoning_effort" in dropped


def test_an_effort_that_nobody_knows_is_refused() -> None:
    assert refused(reasoning_effort="enormous").param == "reasoning_effort"


def test_anthropics_own_thinking_passes_as_it_is() -> None:
    own = {"type": "enabled", "budget_tokens": 3000}
    assert translated(thinking=own, reasoning_effort="low")[0]["thinking"] == own


def test_a_forced_tool_and_thinking_exclude_each_other() -> None:
    body, _, dropped = translated(reasoning_effort="high", tools=[WEATHER], tool_choice="required")
    assert body["tool_choice"] == {"type": "any"} and "thinking" not in body and "reasoning_effort" in dropped


# Tools.


def test_a_function_is_a_tool_with_its_schema() -> None:
    body, context, dropped = translated(tools=[WEATHER])
    function = WEATHER["function"]
    assert isinstance(function, dict)
    assert body["tools"] == [{"name": "weather", "description": "The weather", "input_schema": function["parameters"]}]
    assert dropped == {} and context.tool_names == {}


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    assert translated(tools=tools)[0]["tools"] == [
        {"name": "now", "input_schema": {"type": "object", "properties": {}}}
    ]


def test_strict_is_enforced_where_the_model_can_and_reported_where_not() -> None:
    parameters = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}]
    body, _, dropped = translated(tools=tools)
    assert body["tools"][0]["strict"] is True
    assert body["tools"][0]["input_schema"]["additionalProperties"] is False
    assert dropped == {"tools[0].parameters": "not enforced: minimum"}
    body, _, dropped = translated(PLAIN, tools=tools)
    assert "strict" not in body["tools"][0] and set(dropped) == {"tools[0].strict"}


def test_a_name_that_anthropic_refuses_is_mapped_and_known_to_the_answer() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("a.b", "a/b", "fine")]
    body, context, _ = translated(tools=tools, tool_choice={"type": "function", "function": {"name": "a/b"}})
    wire = [tool["name"] for tool in body["tools"]]
    assert wire[2] == "fine" and len(set(wire)) == 3 and all(name.isidentifier() for name in wire)
    assert context.tool_names == {wire[0]: "a.b", wire[1]: "a/b"}
    assert body["tool_choice"] == {"type": "tool", "name": wire[1]}


def test_a_custom_tool_takes_one_string_and_its_grammar_is_told() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x+/"}}
    tools = [{"type": "custom", "custom": {"name": "code", "description": "Runs", "format": grammar}}]
    body, context, dropped = translated(tools=tools)
    assert list(body["tools"][0]["input_schema"]["properties"]) == ["input"]
    assert "start: /x+/" in body["tools"][0]["description"] and "tools[0].custom.format" in dropped
    assert context.custom_tools == {"code"}


def test_anthropics_own_tools_and_cache_marks_pass() -> None:
    own = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    body, _, dropped = translated(tools=[{**WEATHER, "cache_control": {"type": "ephemeral"}}, own])
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"} and body["tools"][1] == own
    assert dropped == {}
    with pytest.raises(LLMError) as caught:
        translated(tools=[{"type": "teleport_20270101", "name": "t"}])
    assert caught.value.param == "tools[0]"


def test_what_else_anthropic_knows_of_a_tool_is_sent_from_either_level_and_the_rest_reported() -> None:
    told: Json = {"defer_loading": True, "allowed_callers": ["direct"]}
    more: Json = {
        "input_examples": [{"city": "Bern"}],
        "eager_input_streaming": True,
        "cache_control": {"type": "ephemeral"},
    }
    weather_of: Json = {"name": "weather", **more, "title": "Weather"}
    tool = {"type": "function", **told, "colour": "red", "function": weather_of}
    custom = {"type": "custom", "custom": {"name": "code"}, "defer_loading": True}
    search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    body, _, dropped = translated(tools=[search, tool, custom])
    first, weather, code = body["tools"]
    assert first == search and {name: weather[name] for name in (*told, *more)} == told | more
    assert code["defer_loading"] is True and not {"colour", "title"} & weather.keys()
    assert set(dropped) == {"tools[1].colour", "tools[1].function.title"}
    _, _, dropped = translated(functions=[{"name": "f", "title": "F"}])
    assert set(dropped) == {"functions[0].title"}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}}, {"type": "tool", "name": "weather"}),
    ],
)
def test_tool_choice(asked: Json, sent: Json | None) -> None:
    assert translated(tools=[WEATHER], **asked)[0].get("tool_choice") == sent


def test_tool_choice_without_tools_is_nothing() -> None:
    assert "tool_choice" not in translated(tool_choice="none", parallel_tool_calls=False)[0]


def test_allowed_tools_leaves_only_those() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "other"}}]}
    body, _, _ = translated(tools=[WEATHER, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool["name"] for tool in body["tools"]] == ["other"] and body["tool_choice"] == {"type": "any"}


def test_a_model_that_cannot_be_forced_refuses_or_reports() -> None:
    assert refused(ALWAYS, tools=[WEATHER], tool_choice="required").param == "tool_choice"
    body, _, dropped = translated(ALWAYS, unsupported="report", tools=[WEATHER], tool_choice="required")
    assert body["tool_choice"] == {"type": "auto"} and "tool_choice" in dropped
    assert translated(ALWAYS, tools=[WEATHER], tool_choice="auto")[2] == {}


def test_deprecated_functions_are_tools_and_the_answer_knows() -> None:
    messages = [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "f", "content": "2"},
    ]
    body, context, dropped = translated(messages=messages, functions=[{"name": "f"}], function_call={"name": "f"})
    assert body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    call, result = body["messages"][1]["content"][0], body["messages"][2]["content"][0]
    assert call["input"] == {"a": 1} and result["tool_use_id"] == call["id"]
    assert context.function_call and dropped == {}


def test_web_search_is_anthropics_server_tool() -> None:
    where = {"type": "approximate", "approximate": {"country": "FR", "city": "Paris"}}
    options = {"user_location": where, "search_context_size": "high"}
    body, _, dropped = translated(web_search_options=options)
    assert body["tools"][0]["type"] == anthropic.WEB_SEARCH
    assert body["tools"][0]["user_location"] == {"type": "approximate", "country": "FR", "city": "Paris"}
    assert set(dropped) == {"web_search_options.search_context_size"}


# The answer's form.

POINT = {
    "type": "json_schema",
    "json_schema": {
        "name": "point",
        "strict": True,
        "schema": {"type": "object", "properties": {"x": {"type": "number", "maximum": 9}}, "required": ["x"]},
    },
}


def test_a_schema_is_native_where_the_model_has_it() -> None:
    body, context, dropped = translated(response_format=POINT)
    made = body["output_config"]["format"]
    assert made["type"] == "json_schema" and made["schema"]["title"] == "point"
    assert made["schema"]["additionalProperties"] is False and context.json_tool is None
    assert dropped == {"response_format.json_schema.schema": "not enforced: maximum"}


def test_a_schema_is_a_forced_tool_where_it_has_none() -> None:
    body, context, _ = translated(PLAIN, response_format=POINT)
    alone = {"type": "tool", "name": context.json_tool, "disable_parallel_tool_use": True}
    assert context.json_tool and body["tool_choice"] == alone
    assert body["tools"][0]["input_schema"]["properties"] == {"x": {"type": "number", "maximum": 9}}
    body, context, _ = translated(PLAIN, response_format=POINT, tools=[WEATHER])
    assert [tool["name"] for tool in body["tools"]] == ["weather", context.json_tool]
    assert body["tool_choice"] == {"type": "any"}
    serial = translated(PLAIN, response_format=POINT, tools=[WEATHER], parallel_tool_calls=False)[0]
    assert serial["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_what_the_tool_that_stands_in_for_a_schema_loses_is_told() -> None:
    schema = {"type": "object", "allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"type": "object"}}}
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": schema, "strict": True}}
    _, _, dropped = translated(PLAIN, response_format=form)
    assert set(dropped) == {"response_format.json_schema.schema", "response_format.json_schema.strict"}
    body, context, dropped = translated(PLAIN, response_format=form, tools=[WEATHER], tool_choice="required")
    assert ([tool["name"] for tool in body["tools"]], context.json_tool) == (["weather"], None)
    assert set(dropped) == {"response_format"}


def test_a_json_object_is_asked_for_in_system() -> None:
    body, _, dropped = translated(response_format={"type": "json_object"})
    assert body["system"] == [{"type": "text", "text": answer_form.JSON_OBJECT}] and dropped == {}


@pytest.mark.parametrize(
    "asked",
    [
        {"functions": [{}]},
        {"functions": [{"name": "f", "parameters": 1}]},
        {"thinking": "much"},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"default": [1]}}}], "stop": " "},
    ],
)
def test_what_is_of_the_wrong_shape_is_refused(asked: Json) -> None:
    assert refused(**asked).status == 400


def test_nonsense_within_a_hint_is_left_out() -> None:
    assert "user_location" not in translated(web_search_options={"user_location": "home"})[0]["tools"][0]


# Any request at all.

_TEXT = st.text(max_size=12)
_PARTS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, _TEXT),
        st.just({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
    ),
    max_size=3,
)
_CONTENT = st.one_of(_TEXT, _PARTS)
_SAID = st.one_of(
    st.builds(lambda content: [{"role": "user", "content": content}], _CONTENT),
    st.builds(lambda role, text: [{"role": role, "content": text}], st.sampled_from(["system", "developer"]), _TEXT),
)


def _tool_turn(ids: list[str], arguments: str, text: str) -> list[Json]:
    calls = [{"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}} for id in ids]
    results = [{"role": "tool", "tool_call_id": id, "content": text} for id in ids]
    return [{"role": "assistant", "content": text or None, "tool_calls": calls}, *results]


_TURNS = st.lists(
    st.one_of(
        _SAID,
        st.builds(lambda text: [{"role": "assistant", "content": text}], _TEXT),
        st.builds(_tool_turn, st.lists(_TEXT.filter(bool), min_size=1, max_size=3, unique=True), _TEXT, _TEXT),
    ),
    max_size=5,
).map(lambda turns: [USER, *(message for turn in turns for message in turn), USER])

_PARAMETERS = st.fixed_dictionaries(
    {"messages": _TURNS},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "max_completion_tokens": st.integers(1, 100_000),
        "stop": st.one_of(st.just("x"), st.just(["a", "b"])),
        "reasoning_effort": st.sampled_from(["none", *effort.EFFORTS]),
        "tools": st.just([WEATHER, {"type": "custom", "custom": {"name": "code"}}]),
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "parallel_tool_calls": st.booleans(),
        "response_format": st.sampled_from([POINT, {"type": "json_object"}, {"type": "text"}]),
        "service_tier": st.sampled_from(["auto", "default", "flex", "priority", "scale", "fast"]),
        "user": _TEXT.filter(bool),
        "seed": st.integers(0, 9),
        "n": st.just(1),
        "stream": st.booleans(),
        "web_search_options": st.just({}),
    },
)
_READ_ELSEWHERE = {"messages", "stream", "n", "response_format", "service_tier", "reasoning_effort", "tool_choice"}
_BECOMES = {
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
    "user": "metadata",
    "web_search_options": "tools",
    "parallel_tool_calls": "tools",
}


@settings(max_examples=150, deadline=None)
@given(asked=_PARAMETERS, facts=st.sampled_from([BUDGET, ADAPTIVE, ALWAYS, PLAIN]))
def test_any_request_is_valid_unchanged_and_nothing_disappears(asked: Json, facts: ModelFacts) -> None:
    chat = chat_request.parse(orjson.dumps({"model": "m", **asked}))
    before = orjson.dumps(chat)
    made = anthropic.request(chat, endpoint(facts, unsupported="report"))
    assert orjson.dumps(chat) == before
    body = orjson.loads(made.body)
    assert_valid(body)
    dropped = {lost.feature for lost in made.dropped}
    for name in asked.keys() - _READ_ELSEWHERE - dropped:
        neutral = (name, asked[name]) in [("top_p", 1.0)] or name == "parallel_tool_calls"
        assert (
            neutral
            or _BECOMES.get(name, name) in body
            or body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        )
    thinking = body.get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
    roles = [turn["role"] for turn in body["messages"]]
    assert all(one != other for one, other in itertools.pairwise(roles))


@settings(max_examples=80, deadline=None)
@given(turns=_TURNS, facts=st.sampled_from([BUDGET, ADAPTIVE]))
def test_the_same_prefix_gives_the_same_bytes(turns: list[Json], facts: ModelFacts) -> None:
    answer = {"role": "assistant", "content": "Yes."}
    shorter, _, _ = anthropic.messages_body({"model": "m", "messages": turns}, endpoint(facts))
    longer, _, _ = anthropic.messages_body({"model": "m", "messages": [*turns, answer, USER]}, endpoint(facts))
    assert orjson.dumps(longer["messages"]).startswith(orjson.dumps(shorter["messages"])[:-1])


def test_a_conversation_that_the_assistant_begins_gets_a_user_turn_before_it() -> None:
    greeted = [{"role": "assistant", "content": "Hello! How can I help?"}, {"role": "user", "content": "Hi"}]
    body, _, _ = translated(messages=[{"role": "system", "content": "Be kind"}, *greeted])
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("user", "kept"), [("team-7_x", True), ("a@b.example", False), ("+4917012345678", False), ("4917012345", False)]
)
def test_an_end_user_is_named_by_something_opaque(user: str, kept: bool) -> None:
    body, _, dropped = translated(user=user)
    assert (body["metadata"]["user_id"] == user) is kept
    assert ("user" in dropped) is not kept


@pytest.mark.parametrize("more", [{}, {"seed": 1}], ids=["the short way", "the long way"])
def test_a_limit_that_nobody_named_is_told(more: Json) -> None:
    unknown = Endpoint("azure_anthropic", "https://api.example", "sk-secret", "my-claude", unsupported="report")
    chat = {"model": "m", "messages": [USER]} | more
    made = anthropic.request(chat, unknown)
    assert orjson.loads(made.body)["max_tokens"] == 4096
    assert {lost.feature for lost in made.dropped} == {"max_completion_tokens=4096", *more}
    for named in (chat | {"max_tokens": 9}, chat | {"max_completion_tokens": 9}):
        assert {lost.feature for lost in anthropic.request(named, unknown).dropped} == set(more)
