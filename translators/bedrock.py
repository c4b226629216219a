"""Bedrock's Converse and ConverseStream, for every model there: the request. `bedrock_answer` reads what comes back.

Source: botocore 1.44, bedrock-runtime 2023-09-30, ConverseRequest. Parameters that Converse has no word for go into
`additionalModelRequestFields` in the words of the model's maker (ModelFacts.own_words): Claude's as recorded, Nova's
from docs.aws.amazon.com (nova2-userguide, using-converse-api), gpt-oss's as Bedrock lists them (vercel/ai#11467).
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from translators import answer_form, bedrock_media, bedrock_tools, bedrock_turns, cache_marks, effort, reasoning, tools
from translators.bedrock_answer import Decoder, error, response
from translators.errors import LLMError
from translators.exchange import NONE, Context, Endpoint, Media, ModelFacts, UpstreamRequest
from translators.json_values import encoded
from translators.outcomes import Dropped, Outcome, Table, judge, without_lost

__all__ = ["OUTCOMES", "Decoder", "error", "media_urls", "request", "response"]

Json = dict[str, Any]

MAX_TOKENS = 4096  # where thinking needs a bound, and neither the client nor the facts say one
PASSED_ON = {  # extensions, in Converse's words
    "additionalModelResponseFieldPaths": list,
    "guardrailConfig": dict,
    "performanceConfig": dict,
    "promptVariables": dict,
}

OUTCOMES: Table = {
    "messages": Outcome("translated", "system and messages"),
    "model": Outcome("translated", "the model id, inference profile or ARN in the path"),
    "audio": Outcome("refused", "Converse does not speak"),
    "frequency_penalty": Outcome("dropped", "Converse has no penalties"),
    "function_call": Outcome("translated", "toolConfig.toolChoice"),
    "functions": Outcome("translated", "toolConfig.tools; the call comes back as function_call"),
    "logit_bias": Outcome("refused", "Converse has no logit_bias"),
    "logprobs": Outcome("refused", "Converse reports no log probabilities"),
    "max_completion_tokens": Outcome("translated", "inferenceConfig.maxTokens"),
    "max_tokens": Outcome("translated", "inferenceConfig.maxTokens"),
    "metadata": Outcome("translated", "requestMetadata, as far as its characters allow"),
    "modalities": Outcome("refused", "what Converse answers with cannot be chosen"),
    "moderation": Outcome("refused", "Converse has guardrails instead: guardrailConfig"),
    "n": Outcome("translated", "n parallel calls, under one hold", apart=("always",)),
    "parallel_tool_calls": Outcome("translated", "tool_choice.disable_parallel_tool_use, where Claude takes it"),
    "prediction": Outcome("dropped", "Converse has no predicted outputs"),
    "presence_penalty": Outcome("dropped", "Converse has no penalties"),
    "prompt_cache_key": Outcome("dropped", "Bedrock's cache needs no key"),
    "prompt_cache_options": Outcome("translated", "cachePoint: implicit mode sets one behind the last message"),
    "prompt_cache_retention": Outcome("dropped", "Bedrock keeps cache entries 5 minutes or 1 hour"),
    "reasoning_effort": Outcome("translated", "outputConfig.effort, or what the model's maker calls it"),
    "response_format": Outcome("translated", "outputConfig.textFormat"),
    "safety_identifier": Outcome("translated", "requestMetadata.user"),
    "seed": Outcome("dropped", "Converse samples without a seed"),
    "service_tier": Outcome("translated", "serviceTier"),
    "stop": Outcome("translated", "inferenceConfig.stopSequences"),
    "store": Outcome("dropped", "Bedrock stores no answers"),
    "stream": Outcome("translated", "ConverseStream"),
    "stream_options": Outcome("translated", "the usage frame is ours"),
    "temperature": Outcome("translated", "inferenceConfig.temperature, at most 1", "sampling", "dropped"),
    "tool_choice": Outcome("translated", "toolConfig.toolChoice; none leaves the tools out, where it can be"),
    "tools": Outcome("translated", "toolConfig.tools"),
    "top_logprobs": Outcome("refused", "Converse reports no log probabilities"),
    "top_p": Outcome("translated", "inferenceConfig.topP", "sampling", "dropped"),
    "user": Outcome("translated", "requestMetadata.user"),
    "verbosity": Outcome("dropped", "Converse has no verbosity"),
    "web_search_options": Outcome("refused", "Converse has no web search; Nova's is the systemTool nova_grounding"),
    # extensions, in Anthropic's and in Converse's words
    "cache_control": Outcome("translated", "cachePoint behind the last message"),
    "thinking": Outcome("translated", "additionalModelRequestFields.thinking"),
    "top_k": Outcome("translated", "additionalModelRequestFields, in the model's own words", "sampling", "dropped"),
    "additionalModelRequestFields": Outcome("translated", "as it is"),
    "requestMetadata": Outcome("translated", "as it is"),
    **{name: Outcome("translated", "as it is") for name in PASSED_ON},
    "role:system": Outcome("translated", "system; a later one in its place"),
    "role:developer": Outcome("translated", "system; a later one in its place"),
    "role:user": Outcome("translated", "user"),
    "role:assistant": Outcome("translated", "assistant"),
    "role:tool": Outcome("translated", "toolResult"),
    "role:function": Outcome("translated", "toolResult"),
    "part:text": Outcome("translated", "text"),
    "part:refusal": Outcome("translated", "text"),
    "part:image_url": Outcome("translated", "image, inline or in S3; URLs are fetched here", needs="vision"),
    "part:file": Outcome("translated", "document, inline or in S3 (s3://…); URLs are fetched here"),
    "part:input_audio": Outcome("translated", "audio", needs="audio"),
    "part:video_url": Outcome("translated", "video, inline or in S3; URLs are fetched here"),
    "part:assistant_audio": Outcome("refused", "Bedrock knows no audio by OpenAI's id"),
    "tool:function": Outcome("translated", "toolSpec"),
    "tool:custom": Outcome("translated", "toolSpec with one string; a grammar is told, not enforced"),
    "tool:systemTool": Outcome("translated", "as it is"),
    "format:text": Outcome("translated", "the default"),
    "format:json_object": Outcome("translated", "an instruction in system: not enforced"),
    "format:json_schema": Outcome("translated", "outputConfig.textFormat, or a forced tool that is unwrapped"),
}


def media_urls(chat: Json, endpoint: Endpoint) -> tuple[str, ...]:
    """Images, documents and videos by http(s) URL: Bedrock takes bytes or S3 addresses."""
    return bedrock_media.urls(chat)


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media] = NONE, remembered: Mapping[str, Any] = NONE
) -> UpstreamRequest:
    """POST /model/{id}/converse or /converse-stream; without an API key it is still to be signed (gateway.aws).

    Raises LLMError("invalid_request") for what would change the meaning.
    """
    body, context, dropped = _body(chat, endpoint, media, remembered)
    operation = "converse-stream" if chat.get("stream") else "converse"
    headers = {"content-type": "application/json"}
    if endpoint.api_key:
        headers["authorization"] = f"Bearer {endpoint.api_key}"
    headers |= {name.lower(): value for name, value in endpoint.headers.items()}
    path = (
        f"/model/{quote(endpoint.model, safe='-._~')}/{operation}"  # an ARN's slashes and colons too, as botocore does
    )
    return UpstreamRequest(f"{endpoint.base_url}{path}", headers, encoded(body), context, dropped)


def _body(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> tuple[Json, Context, tuple[Dropped, ...]]:
    """The body (`messages` last, where it grows), what the answer needs, and what is lost."""
    facts = endpoint.facts
    report = list(judge(chat, OUTCOMES, facts, endpoint.unsupported))
    asked, without = without_lost(chat, report)
    asked = cache_marks.in_anthropics_words(asked, report)
    output, json_schema = _output_format(asked, facts, report)
    tooling = bedrock_tools.tooling(asked, endpoint, json_schema, without, report)
    limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
    most, unset = limit or facts.max_output_tokens or MAX_TOKENS, "this model's reasoning cannot be set here"
    thinking, level = effort.thinking(asked, facts, most, forced=tooling.forced, unset=unset, report=report)
    thinking, system, turns = _conversation(asked, facts, (media, without), remembered, thinking, report)
    if asked.get("response_format", {}).get("type") == "json_object":
        system = [*system, {"text": answer_form.JSON_OBJECT}]
    if "cachePoint" not in turns[-1]["content"][-1]:  # two behind each other are refused
        turns[-1]["content"] += bedrock_turns.cache_point(asked)
    inference = _inference(asked, facts, limit, thinking, report)
    if level and facts.own_words not in ("nova", "openai"):
        output["effort"] = level
    own = _own_fields(asked, facts, thinking, level, report) | tooling.own_fields
    own |= _of_kind(asked, "additionalModelRequestFields", dict) or {}
    optional = {
        "additionalModelRequestFields": own,
        "inferenceConfig": inference,
        "outputConfig": output,
        "requestMetadata": _metadata(asked, report),
        "serviceTier": _tier(asked, report),
        "toolConfig": bedrock_tools.config(tooling, turns, endpoint, report),
        "system": system,
    }
    given = {name: _of_kind(asked, name, kind) for name, kind in PASSED_ON.items()}
    body = {name: value for name, value in given.items() if value is not None}
    body |= {name: value for name, value in optional.items() if value}
    body["messages"] = turns
    return (
        body,
        tools.context(asked, endpoint, tooling.json_tool),
        tuple({lost.feature: lost for lost in report}.values()),
    )


def _conversation(
    asked: Json,
    facts: ModelFacts,
    desk: tuple[Mapping[str, Media], frozenset[str]],
    remembered: Mapping[str, Any],
    thinking: Json | None,
    report: list[Dropped],
) -> tuple[Json | None, list[Json], list[Json]]:
    """Thinking as it can be for these messages, `system` and the turns. `desk`: what was fetched, what is left out."""

    def turns_with(allowed: bool) -> reasoning.Turns:
        return bedrock_turns.conversation(
            asked["messages"], facts, remembered, bedrock_media.Desk(*desk), reasoning=allowed, report=report
        )

    return reasoning.fitted(thinking, asked, facts, turns_with, _may_think, report)


# The answer's form.


def _output_format(asked: Json, facts: ModelFacts, report: list[Dropped]) -> tuple[Json, Json | None]:
    """`outputConfig`, and the schema that a forced tool must stand in for where the model has no native one."""
    form = answer_form.form(asked)
    if form is None:
        return {}, None
    if not facts.structured_output:
        return {}, form.titled
    text = orjson.dumps(answer_form.enforced(form.schema, report)).decode()
    structure = {"jsonSchema": {"schema": text, "name": form.name, **form.described}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}, None


# Reasoning.


def _may_think(turns: list[Json]) -> bool:
    """With a budget, an assistant turn whose tools have just been answered must begin with thinking.

    One that is prefilled may not be thought about at all.
    Source: platform.claude.com/docs, extended-thinking, on preserving thinking blocks.
    """
    if turns[-1]["role"] == "assistant":
        return False
    results = any("toolResult" in block for block in turns[-1]["content"])
    return not results or len(turns) < 2 or "reasoningContent" in turns[-2]["content"][0]


def _own_fields(
    asked: Json, facts: ModelFacts, thinking: Json | None, level: str | None, report: list[Dropped]
) -> Json:
    """What goes into additionalModelRequestFields, in the words of the model's maker."""
    made: Json = {"thinking": thinking} if thinking else {}
    off = asked.get("reasoning_effort") == "none"
    match facts.own_words:
        case "nova" if level or off:
            made["reasoningConfig"] = (
                {"type": "enabled", "maxReasoningEffort": level} if level else {"type": "disabled"}
            )
        case "openai" if level:
            made["reasoning_effort"] = level
    if (top_k := asked.get("top_k")) is None:
        return made
    if facts.own_words == "nova":
        made["inferenceConfig"] = {"topK": top_k}
    elif facts.own_words == "anthropic" and (thinking or {}).get("type") in (None, "disabled"):
        made["top_k"] = top_k
    else:
        report.append(Dropped("top_k", "cannot be set for this model as it is asked"))
    return made


# Sampling and the rest.


def _inference(asked: Json, facts: ModelFacts, limit: int | None, thinking: Json | None, report: list[Dropped]) -> Json:
    """inferenceConfig: temperature (0 to 1 there) and topP as far as they may stand beside each other and thinking.

    Source for Claude: platform.claude.com/docs, extended-thinking (feature compatibility).
    """
    made: Json = {"maxTokens": limit} if limit else {}
    if not limit and (thinking or {}).get("type") == "enabled":  # the budget must be below a limit that is known
        made["maxTokens"] = facts.max_output_tokens or MAX_TOKENS
        if facts.max_output_tokens is None:
            why = "thinking needs a limit above its budget, and none is known of this model"
            report.append(Dropped(f"max_completion_tokens={MAX_TOKENS}", why))
    temperature, top_p = asked.get("temperature"), asked.get("top_p")
    if (thinking or {}).get("type") not in (None, "disabled"):
        if temperature not in (None, 1):
            report.append(Dropped("temperature", "cannot be set while Claude thinks"))
        if top_p is not None and top_p < 0.95:
            report.append(Dropped("top_p", "cannot be set while Claude thinks"))
        temperature, top_p = None, top_p if top_p is not None and 0.95 <= top_p < 1 else None
    elif temperature is not None and top_p is not None and facts.own_words == "anthropic":
        if top_p != 1:
            report.append(Dropped("top_p", "temperature is set, and newer Claudes take only one of the two"))
        top_p = None
    if temperature is not None:
        made["temperature"] = min(temperature, 1)
        if temperature > 1:
            report.append(Dropped("temperature", "Converse's highest is 1"))
    if top_p is not None:
        made["topP"] = top_p
    stop = asked.get("stop")
    if sequences := [text for text in ([stop] if isinstance(stop, str) else stop or ()) if text]:
        made["stopSequences"] = sequences
    return made


def _tier(asked: Json, report: list[Dropped]) -> Json:
    """ServiceTierType; `auto` is left to Bedrock."""
    tier = asked.get("service_tier")
    if tier in ("default", "flex", "priority", "reserved"):
        return {"type": tier}
    if tier not in (None, "auto"):
        report.append(Dropped("service_tier", f"Bedrock has no {tier} tier"))
    return {}


_KEY = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")  # RequestMetadata's keys and values
_MOST_ENTRIES = 16


def _of_kind(asked: Json, name: str, kind: type) -> Any:
    """An extension in Converse's words, or None. Raises LLMError("invalid_request") where it is of another type."""
    if (value := asked.get(name)) is not None and not isinstance(value, kind):
        words = "a list" if kind is list else "an object"
        raise LLMError("invalid_request", f"`{name}` must be {words}", param=name, code="invalid_type")
    return value


def _metadata(asked: Json, report: list[Dropped]) -> Json:
    """requestMetadata, which is written to Bedrock's invocation log."""
    made: Json = dict(_of_kind(asked, "requestMetadata", dict) or {})
    of_user = "safety_identifier" if asked.get("safety_identifier") else "user"
    user = asked.get("safety_identifier") or asked.get("user")
    if asked.get("user") not in (None, user):
        report.append(Dropped("user", "safety_identifier is set, and goes by the same name"))
    wanted = {**({"user": user} if user else {}), **(asked.get("metadata") or {})}
    if user and wanted["user"] != user:
        report.append(Dropped(of_user, "`metadata` has a user of its own"))
    for name, value in wanted.items():
        fits = isinstance(value, str) and _KEY.fullmatch(name) and (not value or _KEY.fullmatch(value))
        if fits and (made.get(name) == value or (name not in made and len(made) < _MOST_ENTRIES)):
            made[name] = value
        else:
            feature = "metadata" if name in (asked.get("metadata") or {}) else of_user
            report.append(Dropped(feature, f"{name!r} is not what requestMetadata takes"))
    return made
