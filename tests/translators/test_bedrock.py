"""What reaches Bedrock for what a client of OpenAI's asked."""

import copy
from typing import Any, get_type_hints

import orjson
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from tests.translators.bedrock_types import assert_valid
from translators import bedrock
from translators.errors import LLMError
from translators.exchange import Context, Endpoint, Json, ModelFacts

ADAPTIVE = ModelFacts(
    max_output_tokens=128000,
    thinking="adaptive",
    efforts=("low", "medium", "high", "max"),
    own_words="anthropic",
    serial_tools=True,
)
BUDGET = ModelFacts(max_output_tokens=64000, thinking="budget", own_words="anthropic")
NOVA = ModelFacts(
    thinking="level", efforts=("low", "medium", "high"), structured_output=False, strict_tools=False, own_words="nova"
)
OSS = ModelFacts(thinking="level", efforts=("low", "medium", "high"), own_words="openai")
PLAIN = ModelFacts(forced_tool=False)
USER = {"role": "user", "content": "Hello"}
TURN = {"role": "user", "content": [{"text": "Hello"}]}


def endpoint(facts: ModelFacts = ADAPTIVE, **more: Any) -> Endpoint:
    return Endpoint("bedrock", "https://b.example", "token", "us.anthropic.claude-x-v1:0", facts, **more)


def translated(
    facts: ModelFacts = ADAPTIVE, *, unsupported: str = "refuse", **asked: Any
) -> tuple[Json, Context, dict[str, str]]:
    """The body, checked against the service model, the context, and what was dropped with the reason."""
    chat = {"model": "m", "messages": [USER], **asked}
    before = copy.deepcopy(chat)
    made = bedrock.request(chat, endpoint(facts, unsupported=unsupported))
    assert chat == before
    body: Json = orjson.loads(made.body)
    assert_valid(body)
    return body, made.context, {lost.feature: lost.why for lost in made.dropped}


def refused(facts: ModelFacts = ADAPTIVE, **asked: Any) -> LLMError:
    with pytest.raises(LLMError) as caught:
        bedrock.request({"model": "m", "messages": [USER], **asked}, endpoint(facts))
    return caught.value


# Where it goes.


def test_the_request_is_a_post_with_the_key_as_a_bearer_token() -> None:
    made = bedrock.request({"model": "m", "messages": [USER]}, endpoint(headers={"X-Team": "a"}))
    assert made.url == "https://b.example/model/us.anthropic.claude-x-v1%3A0/converse"
    assert made.headers == {"content-type": "application/json", "authorization": "Bearer token", "x-team": "a"}
    assert orjson.loads(made.body) == {"messages": [TURN]}


def test_a_stream_has_a_path_of_its_own_and_an_arn_is_one_piece_of_it() -> None:
    arn = "arn:aws:bedrock:us-east-1:012345678901:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0"
    at = Endpoint("bedrock", "https://b.example", None, arn)
    made = bedrock.request({"model": "m", "messages": [USER], "stream": True}, at)
    assert made.url == (
        "https://b.example/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A012345678901%3Ainference-profile%2F"
        "us.anthropic.claude-3-7-sonnet-20250219-v1%3A0/converse-stream"
    )
    assert "authorization" not in made.headers


def test_urls_are_fetched_first() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://h/a.png"}}
    assert bedrock.media_urls({"messages": [{"role": "user", "content": [part]}]}, endpoint()) == ("https://h/a.png",)


# The outcome table.


def test_every_parameter_of_openai_has_an_outcome() -> None:
    assert {*get_type_hints(CompletionCreateParamsBase), "stream"} - bedrock.OUTCOMES.keys() == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("logit_bias", {"1": 5}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("web_search_options", {}),
    ],
)
def test_what_would_change_the_meaning_is_refused_by_name_or_reported(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert (error.status, error.param) == (400, name)
    _, _, dropped = translated(unsupported="report", **{name: value})
    assert name in dropped


def test_hints_are_dropped_and_reported() -> None:
    hints: Json = {"seed": 1, "verbosity": "low", "store": True, "presence_penalty": 1, "prompt_cache_key": "k"}
    body, _, dropped = translated(**hints)
    assert set(dropped) == set(hints) and body == {"messages": [TURN]}


# Sampling and the rest.


def test_limits_and_sampling_go_into_inference_config() -> None:
    body, _, dropped = translated(NOVA, max_completion_tokens=9, temperature=1.5, top_p=0.5, stop=["a", ""], top_k=7)
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 1, "topP": 0.5, "stopSequences": ["a"]}
    assert body["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 7}}
    assert set(dropped) == {"temperature"}


def test_claude_takes_one_of_temperature_and_top_p_and_its_own_top_k() -> None:
    body, _, dropped = translated(temperature=0.2, top_p=0.5, top_k=7)
    assert body["inferenceConfig"] == {"temperature": 0.2} and set(dropped) == {"top_p"}
    assert body["additionalModelRequestFields"] == {"top_k": 7}
    assert "top_k" in translated(OSS, top_k=7)[2]


def test_a_model_without_sampling_parameters_gets_none() -> None:
    body, _, dropped = translated(ModelFacts(sampling=False), temperature=0.2, top_p=0.5, top_k=3)
    assert body == {"messages": [TURN]} and set(dropped) == {"temperature", "top_p", "top_k"}


def test_tiers_metadata_and_bedrocks_own_words() -> None:
    own: Json = {
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "DRAFT", "trace": "enabled"},
        "performanceConfig": {"latency": "optimized"},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
    }
    more: Json = {"requestMetadata": {"team": "a"}, "additionalModelRequestFields": {"x": 1}}
    body, _, dropped = translated(service_tier="flex", user="u-1", metadata={"k": "v", "bad": "ünfit"}, **own, **more)
    assert {name: body[name] for name in own} == own
    assert body["serviceTier"] == {"type": "flex"}
    assert body["requestMetadata"] == {"team": "a", "user": "u-1", "k": "v"}
    assert body["additionalModelRequestFields"] == {"x": 1}
    assert set(dropped) == {"metadata"}
    assert "service_tier" in translated(service_tier="scale")[2]


def test_no_metadata_takes_the_place_of_other_without_a_word() -> None:
    body, _, dropped = translated(user="alice", metadata={"user": "bob"})
    assert (body["requestMetadata"], set(dropped)) == ({"user": "bob"}, {"user"})
    body, _, dropped = translated(metadata={"k": "v"}, requestMetadata={"k": "w"})
    assert (body["requestMetadata"], set(dropped)) == ({"k": "w"}, {"metadata"})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("guardrailConfig", [{}]),
        ("requestMetadata", "team=a"),
        ("additionalModelRequestFields", []),
        ("additionalModelResponseFieldPaths", {}),
    ],
)
def test_bedrocks_own_words_in_another_shape_are_refused(name: str, wrong: Any) -> None:
    error = refused(**{name: wrong})
    assert (error.param, error.code) == (name, "invalid_type")


# Reasoning.


def test_effort_is_said_as_each_model_knows_it() -> None:
    body, _, dropped = translated(ADAPTIVE, reasoning_effort="xhigh", max_tokens=5000)
    assert body["outputConfig"] == {"effort": "high"} and "reasoning_effort" in dropped
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "adaptive", "display": "summarized"}}
    body = translated(BUDGET, reasoning_effort="medium")[0]
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 8192}}
    assert body["inferenceConfig"] == {"maxTokens": 64000}
    body = translated(NOVA, reasoning_effort="minimal")[0]
    assert body["additionalModelRequestFields"] == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}
    assert translated(NOVA, reasoning_effort="none")[0]["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "disabled"}
    }
    assert translated(OSS, reasoning_effort="high")[0]["additionalModelRequestFields"] == {"reasoning_effort": "high"}
    body, _, dropped = translated(PLAIN, reasoning_effort="high")
    assert body == {"messages": [TURN]} and "reasoning_effort" in dropped
    assert refused(reasoning_effort="immense").param == "reasoning_effort"


def test_a_budget_stays_below_the_limit_and_sampling_aside() -> None:
    body, _, dropped = translated(BUDGET, reasoning_effort="high", max_tokens=2000, temperature=0.3, top_p=0.97)
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 1600
    assert body["inferenceConfig"] == {"maxTokens": 2000, "topP": 0.97} and set(dropped) == {"temperature"}
    assert "reasoning_effort" in translated(BUDGET, reasoning_effort="high", max_tokens=1000)[2]


def test_the_clients_own_thinking_goes_as_it_is() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2048}
    body = translated(BUDGET, thinking=thinking, max_tokens=4096)[0]
    assert body["additionalModelRequestFields"] == {"thinking": thinking}
    assert refused(BUDGET, thinking="yes").param == "thinking"


def test_an_always_thinking_model_is_asked_for_the_least() -> None:
    facts = ModelFacts(thinking="adaptive", thinking_always=True, efforts=("low", "high"), own_words="anthropic")
    body, _, dropped = translated(facts, reasoning_effort="none")
    assert body["outputConfig"] == {"effort": "low"} and "reasoning_effort" in dropped
    assert translated(ADAPTIVE, reasoning_effort="none")[0]["additionalModelRequestFields"] == {
        "thinking": {"type": "disabled"}
    }


def test_reasoning_is_left_out_where_the_last_turns_is_unknown() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]
    body, _, dropped = translated(BUDGET, messages=asked, reasoning_effort="low")
    assert "additionalModelRequestFields" not in body and "reasoning_effort" in dropped


# The answer's form.

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "City", "description": "A city", "schema": SCHEMA}}


def test_a_schema_is_native_where_the_model_has_it() -> None:
    body, context, dropped = translated(response_format=FORMAT)
    told = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (told["name"], told["description"]) == ("City", "A city")
    assert orjson.loads(told["schema"])["additionalProperties"] is False
    assert context.json_tool is None and "maxLength" in dropped["response_format.json_schema.schema"]


def test_else_a_forced_tool_stands_in() -> None:
    body, context, _ = translated(NOVA, response_format=FORMAT)
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "json_output"}}
    assert body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["required"] == ["city"]
    assert context.json_tool == "json_output"


def test_json_object_is_an_instruction() -> None:
    body, _, _ = translated(response_format={"type": "json_object"})
    assert "JSON object" in body["system"][-1]["text"]


# Caches.


def test_cache_marks_become_cache_points() -> None:
    body, _, _ = translated(cache_control={"type": "ephemeral", "ttl": "1h"})
    assert body["messages"][0]["content"][-1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    body, _, _ = translated(prompt_cache_options={"mode": "implicit"})
    assert body["messages"][0]["content"][-1] == {"cachePoint": {"type": "default"}}
    assert translated(prompt_cache_options={"mode": "explicit"})[0] == {"messages": [TURN]}


def test_a_prefill_is_refused_where_the_model_takes_none() -> None:
    asked = [USER, {"role": "assistant", "content": "I "}]
    assert translated(messages=asked)[0]["messages"][-1]["content"] == [{"text": "I"}]
    assert refused(ModelFacts(prefill=False), messages=asked).param == "messages"


def test_a_request_too_deep_to_write_is_refused() -> None:
    deep: Json = {}
    for _ in range(300):
        deep = {"a": deep}
    assert refused(additionalModelRequestFields=deep).kind == "invalid_request"
