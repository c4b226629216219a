import copy
import json
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import chat_completion_content_part_param as part_param
from openai.types.chat import chat_completion_message_param as message_param
from openai.types.chat import chat_completion_tool_union_param as tool_union_param
from openai.types.chat import completion_create_params

from tests.replay import FIXTURES
from tests.translators.gemini_types import assert_valid
from translators import chat_request, gemini
from translators.errors import LLMError
from translators.exchange import Context, Endpoint, ModelFacts
from translators.outcomes import features

Json = dict[str, Any]
BUDGET = ModelFacts(thinking="budget", audio=True, video=True)
LEVELS = ModelFacts(thinking="level", efforts=("minimal", "low", "medium", "high"), thinking_always=True)
ENDPOINT = Endpoint("gemini", "https://host", "key", "gemini-x", BUDGET)
LEVEL = replace(ENDPOINT, facts=LEVELS)
HELLO: Json = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}


def body(endpoint: Endpoint = ENDPOINT, **asked: Any) -> Json:
    made, _, _ = gemini.content_body({**HELLO, **asked}, endpoint, {}, {})
    assert_valid(made)
    return made


def config(endpoint: Endpoint = ENDPOINT, **asked: Any) -> Json:
    found: Json = body(endpoint, **asked).get("generationConfig", {})
    return found


def dropped(endpoint: Endpoint = ENDPOINT, **asked: Any) -> list[str]:
    return [each.feature for each in gemini.content_body({**HELLO, **asked}, endpoint, {}, {})[2]]


def test_every_parameter_of_the_sdk_has_an_outcome() -> None:
    names = set(completion_create_params.CompletionCreateParamsStreaming.__annotations__)
    names |= set(completion_create_params.CompletionCreateParamsBase.__annotations__)
    assert names <= set(gemini.OUTCOMES)


def _literals(union: Any, field: str) -> set[str]:
    """The values that `field` has in the members of a union of the SDK's TypedDicts."""
    hints = [get_type_hints(param)[field] for param in get_args(union)]
    return {word for hint in hints for word in get_args(hint)}


def test_every_role_part_tool_and_format_has_an_outcome() -> None:
    roles = _literals(message_param.ChatCompletionMessageParam, "role")
    parts = _literals(part_param.ChatCompletionContentPartParam, "type")
    tools = _literals(tool_union_param.ChatCompletionToolUnionParam, "type")
    formats = _literals(completion_create_params.ResponseFormat, "type")
    assert len(roles) == 6 and "image_url" in parts and "custom" in tools and "json_schema" in formats
    wanted = {*(f"role:{each}" for each in roles), *(f"part:{each}" for each in parts | {"refusal", "assistant_audio"})}
    wanted |= {*(f"tool:{each}" for each in tools), *(f"format:{each}" for each in formats)}
    assert wanted <= set(gemini.OUTCOMES)


def test_the_request_goes_to_the_model_with_the_key_in_a_header() -> None:
    endpoint = replace(ENDPOINT, model="a/../b?c", headers={"x-extra": "1"})
    sent = gemini.request(HELLO, endpoint, {}, {})
    assert sent.url == "https://host/v1beta/models/a%2F..%2Fb%3Fc:generateContent"
    assert sent.headers == {"content-type": "application/json", "x-goog-api-key": "key", "x-extra": "1"}
    assert json.loads(sent.body) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    streamed = gemini.request({**HELLO, "stream": True, "stream_options": {"include_usage": True}}, ENDPOINT, {}, {})
    assert streamed.url == "https://host/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    assert streamed.context == Context(model="gemini-x", include_usage=True)


def test_sampling_and_limits() -> None:
    asked: Json = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "seed": 2**40 + 5,
    }
    assert config(**asked, max_tokens=7, max_completion_tokens=9, stop="x", n=2, logprobs=True, top_logprobs=2) == {
        "temperature": 0,
        "topP": 0.5,
        "topK": 3,
        "presencePenalty": 1,
        "frequencyPenalty": -1,
        "maxOutputTokens": 9,
        "seed": 5,
        "stopSequences": ["x"],
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 2,
    }


def test_a_model_without_sampling_drops_it_and_says_so() -> None:
    fixed = replace(ENDPOINT, facts=replace(BUDGET, sampling=False))
    assert config(fixed, temperature=1, top_k=3) == {}
    assert dropped(fixed, temperature=1, top_k=3) == ["temperature", "top_k"]


def test_too_many_stops_are_refused() -> None:
    with pytest.raises(LLMError) as caught:
        body(stop=list("abcdef"))
    assert caught.value.param == "stop"


@pytest.mark.parametrize("asked", [{"logit_bias": {"1": 2}}, {"moderation": {"model": "m"}}, {"n": 2}])
def test_what_would_change_the_meaning_is_refused_or_reported(asked: Json) -> None:
    with pytest.raises(LLMError) as caught:
        body(LEVEL, **asked)
    assert caught.value.kind == "invalid_request" and caught.value.param in asked
    assert dropped(replace(LEVEL, unsupported="report"), **asked) == list(asked)


def test_hints_are_reported() -> None:
    asked: Json = {"user": "u", "metadata": {"a": "b"}, "store": True, "verbosity": "low", "a_new_one": 1}
    assert dropped(**asked) == list(asked)
    assert dropped(parallel_tool_calls=True) == []
    assert dropped(parallel_tool_calls=False) == ["parallel_tool_calls"]


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        ("none", {"thinkingBudget": 0}),
        ("minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("max", {"thinkingBudget": 24576, "includeThoughts": True}),
    ],
)
def test_effort_as_a_budget(effort: str, expected: Json) -> None:
    assert config(reasoning_effort=effort) == {"thinkingConfig": expected}


@pytest.mark.parametrize(
    ("efforts", "effort", "level"),
    [
        (("low", "high"), "minimal", "LOW"),
        (("low", "high"), "medium", "LOW"),
        (("low", "high"), "max", "HIGH"),
        (("minimal", "low", "medium", "high", "xhigh"), "xhigh", "XHIGH"),
        (("low", "medium", "high"), "medium", "MEDIUM"),
        ((), "high", "HIGH"),
    ],
)
def test_effort_as_the_nearest_level(efforts: tuple[str, ...], effort: str, level: str) -> None:
    endpoint = replace(ENDPOINT, facts=replace(LEVELS, efforts=efforts))
    assert config(endpoint, reasoning_effort=effort) == {
        "thinkingConfig": {"thinkingLevel": level, "includeThoughts": True}
    }


def test_thinking_that_cannot_be_turned_off_is_the_least_and_said() -> None:
    always = replace(ENDPOINT, facts=replace(BUDGET, thinking_always=True))
    assert config(always, reasoning_effort="none") == {"thinkingConfig": {"thinkingBudget": 128}}
    assert config(LEVEL, reasoning_effort="none") == {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}
    assert dropped(always, reasoning_effort="none") == dropped(LEVEL, reasoning_effort="none") == ["reasoning_effort"]
    plain = replace(ENDPOINT, facts=ModelFacts())
    assert config(plain, reasoning_effort="high") == {}
    assert dropped(plain, reasoning_effort="high") == ["reasoning_effort"]


def test_googles_own_settings() -> None:
    google = {"thinking_config": {"thinking_budget": 5, "include_thoughts": True}, "cached_content": "c", "x": 1}
    asked: Json = {"extra_body": {"google": google}, "reasoning_effort": "low"}
    made = body(**asked, safety_settings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}])
    assert made["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True}}
    assert (made["cachedContent"], len(made["safetySettings"])) == ("c", 1)
    assert dropped(**asked) == ["extra_body.google.x"]


def test_structured_output() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}, "required": ["a"]}
    asked: Json = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}
    clean = {"title": "thing", **schema, "properties": {"a": {"type": "string"}}}
    assert config(response_format=asked) == {"responseMimeType": "application/json", "responseJsonSchema": clean}
    assert dropped(response_format=asked) == ["response_format.json_schema.schema.a.minLength"]
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    assert config(response_format={"type": "text"}) == {}


def test_structured_output_beside_functions() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    asked: Json = {"type": "json_schema", "json_schema": {"name": "thing", "schema": {"type": "object"}}}
    made, context, _ = gemini.content_body({**HELLO, "tools": tools, "response_format": asked}, ENDPOINT, {}, {})
    assert "generationConfig" not in made
    assert context.json_tool == made["tools"][0]["functionDeclarations"][1]["name"]
    assert config(LEVEL, tools=tools, response_format=asked)["responseMimeType"] == "application/json"
    with pytest.raises(LLMError):
        body(tools=tools, response_format={"type": "json_object"})


def test_audio_out() -> None:
    audio = {"voice": "Kore", "format": "pcm16"}
    assert config(modalities=["text", "audio"], audio=audio) == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    assert dropped(modalities=["text", "audio"], audio=audio) == ["modalities"]
    with pytest.raises(LLMError, match="pcm16"):
        body(modalities=["audio"], audio={**audio, "format": "mp3"})
    assert config(modalities=["image", "text"]) == {"responseModalities": ["IMAGE", "TEXT"]}


@pytest.mark.parametrize(
    ("tier", "expected"), [("flex", "flex"), ("fast", "priority"), ("auto", None), ("scale", None)]
)
def test_service_tier(tier: str, expected: str | None) -> None:
    assert body(service_tier=tier).get("serviceTier") == expected
    assert dropped(service_tier=tier) == (["service_tier"] if tier == "scale" else [])


def test_names_come_back_by_the_context() -> None:
    chat: Json = {
        **HELLO,
        "tools": [{"type": "function", "function": {"name": "a b"}}, {"type": "custom", "custom": {"name": "c"}}],
    }
    _, context, _ = gemini.content_body(chat, ENDPOINT, {}, {})
    assert context.tool_names == {"a_b": "a b"} and context.custom_tools == {"c"}


def test_the_signatures_of_a_recorded_answer_go_back_for_a_plain_client() -> None:
    rows = (FIXTURES / "gemini.generateContent.jsonl").read_text().splitlines()
    row = next(row for row in map(json.loads, rows) if row["id"] == "de8d4e72cdba")
    answer = gemini.response(row["response"]["body_text"].encode(), Context(), 1, "req")
    said = json.loads(answer.body)["choices"][0]["message"]
    calls = said["tool_calls"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "20"} for call in calls]
    plain = {"role": "assistant", "content": None, "tool_calls": calls}
    chat: Json = {**HELLO, "messages": [*HELLO["messages"], plain, *results]}
    sent, _, lost = gemini.content_body(chat, LEVEL, {}, answer.remember)
    assert_valid(sent)
    recorded = json.loads(row["response"]["body_text"])["candidates"][0]["content"]["parts"]
    wanted = [part.get("thoughtSignature") for part in recorded if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in sent["contents"][1]["parts"]] == wanted and wanted[0]
    assert len(sent["contents"][2]["parts"]) == len(calls) > 1 and lost == ()
    # and for a client that sends back all it was given
    chat["messages"][1] = said
    assert gemini.content_body(chat, LEVEL, {}, {})[0]["contents"] == sent["contents"]


_TEXT = st.text(max_size=8)
_NAMES = st.sampled_from(["f", "get it", "9", "a.b"])
_SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string", "pattern": "x"}, {"$ref": "#/$defs/A"}, {"const": 1}, {}]),
    lambda inner: st.builds(
        lambda properties, more: {"type": "object", "properties": properties, "required": list(properties), **more},
        st.dictionaries(st.sampled_from(["a", "$ref", "type"]), inner, max_size=2),
        st.sampled_from([{}, {"additionalProperties": False}, {"$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}}]),
    ),
    max_leaves=4,
)
_IMAGE = {"type": "image_url", "image_url": {"url": "gs://bucket/a.png"}}
_PARTS = st.lists(_TEXT.map(lambda text: {"type": "text", "text": text}) | st.just(_IMAGE), min_size=1, max_size=3)
_CALLS = st.lists(st.tuples(_NAMES, st.sampled_from(["", "{}", '{"a":1}', "{"])), min_size=1, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    messages: list[Json] = []
    for turn in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["system", "developer", "user", "assistant", "calls"]))
        if kind == "calls":
            calls = [
                {"id": f"c{turn}-{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for at, (name, arguments) in enumerate(draw(_CALLS))
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | _TEXT), "tool_calls": calls})
            answers = [{"role": "tool", "tool_call_id": call["id"], "content": draw(_TEXT)} for call in calls]
            messages += draw(st.permutations(answers))
        elif kind == "user":
            messages.append({"role": "user", "content": draw(_TEXT | _PARTS)})
        else:
            messages.append({"role": kind, "content": draw(_TEXT)})
    return [*messages, {"role": "user", "content": "go"}]


@st.composite
def chats(draw: st.DrawFn) -> Json:
    optional: Json = {
        "temperature": st.floats(0, 2),
        "n": st.integers(1, 3),
        "stop": st.lists(_TEXT, max_size=4),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "reasoning_effort": st.sampled_from(gemini.EFFORTS),
        "service_tier": st.sampled_from(["auto", "flex", "scale"]),
        "parallel_tool_calls": st.booleans(),
        "user": _TEXT,
        "logprobs": st.booleans(),
        "web_search_options": st.just({}),
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "response_format": _SCHEMAS.map(
            lambda schema: {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
        ),
        "unheard_of": st.integers(),
        "tools": st.lists(
            st.builds(
                lambda name, schema: {"type": "function", "function": {"name": name, "parameters": schema}},
                _NAMES,
                _SCHEMAS,
            )
            | st.just({"type": "custom", "custom": {"name": "own"}})
            | st.just({"type": "google_search"}),
            max_size=3,
            unique_by=lambda tool: json.dumps(tool.get("function", tool).get("name", tool["type"])),
        ),
    }
    asked = draw(st.fixed_dictionaries({}, optional=optional))
    return {"model": "x", "messages": draw(conversations()), **asked}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(chats(), st.sampled_from([BUDGET, LEVELS, ModelFacts()]))
def test_any_request_is_valid_there_and_nothing_is_lost_in_silence(chat: Json, facts: ModelFacts) -> None:
    chat_request.parse(json.dumps(chat).encode())
    before = copy.deepcopy(chat)
    endpoint = replace(ENDPOINT, facts=facts, unsupported="report")
    made, _, lost = gemini.content_body(chat, endpoint, {}, {})
    assert chat == before
    assert_valid(made)
    assert gemini.request(chat, endpoint, {}, {}).body == gemini.request(before, endpoint, {}, {}).body
    told = {each.feature for each in lost}
    for feature, _ in features(chat):
        if feature == "parallel_tool_calls" and chat[feature]:
            continue  # true is how Gemini works
        assert feature in told or gemini.OUTCOMES[feature].verdict == "translated", feature


@settings(deadline=None)
@given(conversations(), conversations())
def test_the_same_beginning_gives_the_same_bytes(first: list[Json], more: list[Json]) -> None:
    for at, message in enumerate(more):  # ids are of one conversation
        for call in message.get("tool_calls") or ():
            call["id"] = f"m{call['id']}"
        if "tool_call_id" in message:
            more[at] = {**message, "tool_call_id": f"m{message['tool_call_id']}"}
    begun = gemini.content_body({**HELLO, "messages": first}, LEVEL, {}, {})[0]
    longer = gemini.content_body({**HELLO, "messages": [*first, *more]}, LEVEL, {}, {})[0]
    short, long = begun["contents"], longer["contents"]
    assert long[: len(short) - 1] == short[:-1]
    assert long[len(short) - 1]["parts"][: len(short[-1]["parts"])] == short[-1]["parts"]
    assert begun.get("systemInstruction") == longer.get("systemInstruction")
