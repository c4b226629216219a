"""Anthropic's Messages API: the request. What comes back is read in `anthropic_answer`.

Source: anthropic 2.11, types/message_create_params.py and the types it names; what the docs alone say is marked so.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeGuard

from translators import answer_form, anthropic_messages, cache_marks, effort, plain, reasoning, tools
from translators.anthropic_answer import Decoder, error, response
from translators.errors import LLMError
from translators.exchange import ENDPOINTS, NONE, Context, Endpoint, Media, ModelFacts, UpstreamRequest
from translators.json_values import encoded, object_of
from translators.outcomes import Dropped, Outcome, Table, judge, unknown, without_lost

__all__ = ["OUTCOMES", "Decoder", "betas", "error", "media_urls", "messages_body", "request", "response"]

Json = dict[str, Any]

VERSION = "2023-06-01"
FILES_BETA = "files-api-2025-04-14"  # types/anthropic_beta_param.py; recorded beside file ids
OPAQUE = re.compile(r"(?=.*[A-Za-z_-])[A-Za-z0-9_-]{1,256}")  # no mail address and no telephone number
MAX_TOKENS = 4096  # where neither the client nor the facts say: what every Claude model can write
WEB_SEARCH = "web_search_20260318"  # the newest of types/tool_union_param.py

# Anthropic's own tools, given by the client in Anthropic's words (types/tool_union_param.py).
OWN_TOOLS = (
    "bash_20250124",
    "browser_toolset_20260801",
    "code_execution_20250522",
    "code_execution_20250825",
    "code_execution_20260120",
    "code_execution_20260521",
    "computer_toolset_20260801",
    "memory_20250818",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "tool_search_tool_bm25",
    "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex",
    "tool_search_tool_regex_20251119",
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
)

OUTCOMES: Table = {
    "messages": Outcome("translated", "system and messages"),
    "model": Outcome("translated", "model"),
    "audio": Outcome("refused", "Claude does not speak"),
    "frequency_penalty": Outcome("dropped", "Anthropic has no penalties"),
    "function_call": Outcome("translated", "tool_choice"),
    "functions": Outcome("translated", "tools; the call comes back as function_call"),
    "logit_bias": Outcome("refused", "Anthropic has no logit_bias"),
    "logprobs": Outcome("refused", "Anthropic reports no log probabilities"),
    "max_completion_tokens": Outcome("translated", "max_tokens"),
    "max_tokens": Outcome("translated", "max_tokens"),
    "metadata": Outcome("dropped", "Anthropic stores no answers to label"),
    "modalities": Outcome("refused", "Claude answers in text only"),
    "moderation": Outcome("refused", "Anthropic runs no moderation model beside an answer"),
    "n": Outcome("translated", "n parallel calls, under one hold", apart=("always",)),
    "parallel_tool_calls": Outcome("translated", "tool_choice.disable_parallel_tool_use"),
    "prediction": Outcome("dropped", "Anthropic has no predicted outputs"),
    "presence_penalty": Outcome("dropped", "Anthropic has no penalties"),
    "prompt_cache_key": Outcome("dropped", "Anthropic's cache needs no key"),
    "prompt_cache_options": Outcome("translated", "cache_control: implicit mode marks the last block"),
    "prompt_cache_retention": Outcome("dropped", "Anthropic keeps cache entries 5 minutes or 1 hour"),
    "reasoning_effort": Outcome("translated", "thinking and output_config.effort, as the model knows them"),
    "response_format": Outcome("translated", "output_config.format"),
    "safety_identifier": Outcome("translated", "metadata.user_id; hashed unless it is opaque"),
    "seed": Outcome("dropped", "Anthropic samples without a seed"),
    "service_tier": Outcome("translated", "service_tier: default is standard_only; flex and scale are dropped"),
    "stop": Outcome("translated", "stop_sequences; one of white space only is refused"),
    "store": Outcome("dropped", "Anthropic stores no answers"),
    "stream": Outcome("translated", "stream"),
    "stream_options": Outcome("translated", "the usage frame is ours"),
    "temperature": Outcome("translated", "temperature, at most 1", "sampling", "dropped"),
    "tool_choice": Outcome("translated", "tool_choice; a forced call is refused where the model cannot be forced"),
    "tools": Outcome("translated", "tools"),
    "top_logprobs": Outcome("refused", "Anthropic reports no log probabilities"),
    "top_p": Outcome("translated", "top_p, where temperature is not set", "sampling", "dropped"),
    "user": Outcome("translated", "metadata.user_id; hashed unless it is opaque"),
    "verbosity": Outcome("dropped", "Anthropic has no verbosity"),
    "web_search_options": Outcome("translated", f"the server tool {WEB_SEARCH}"),
    # extensions, in Anthropic's words
    "cache_control": Outcome("translated", "cache_control"),
    "container": Outcome("translated", "container"),
    "inference_geo": Outcome("translated", "inference_geo"),
    "thinking": Outcome("translated", "thinking"),
    "top_k": Outcome("translated", "top_k", "sampling", "dropped"),
    "role:system": Outcome("translated", "system; a later one in its place"),
    "role:developer": Outcome("translated", "system; a later one in its place"),
    "role:user": Outcome("translated", "user"),
    "role:assistant": Outcome("translated", "assistant"),
    "role:tool": Outcome("translated", "tool_result"),
    "role:function": Outcome("translated", "tool_result"),
    "part:text": Outcome("translated", "text"),
    "part:refusal": Outcome("translated", "text"),
    "part:image_url": Outcome("translated", "image, inline or by URL", needs="vision"),
    "part:file": Outcome("translated", "document: PDF or text, inline, by URL or by Anthropic's file id"),
    "part:input_audio": Outcome("refused", "Claude does not hear"),
    "part:video_url": Outcome("refused", "Claude does not watch videos"),
    "part:assistant_audio": Outcome("refused", "Anthropic knows no audio by OpenAI's id"),
    "tool:function": Outcome("translated", "a custom tool with input_schema"),
    "tool:custom": Outcome("translated", "a custom tool with one string; a grammar is told, not enforced"),
    **{f"tool:{kind}": Outcome("translated", "as it is") for kind in OWN_TOOLS},
    "format:text": Outcome("translated", "the default"),
    "format:json_object": Outcome("translated", "an instruction in system: not enforced"),
    "format:json_schema": Outcome("translated", "output_config.format, or a forced tool that is unwrapped"),
}


def media_urls(chat: Json, endpoint: Endpoint) -> tuple[str, ...]:
    """None: Anthropic fetches URLs itself."""
    return ()


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media] = NONE, remembered: Mapping[str, Any] = NONE
) -> UpstreamRequest:
    """POST /v1/messages. Raises LLMError("invalid_request") for what would change the meaning."""
    if not remembered and (short := _plain_body(chat, endpoint)) is not None:
        url, headers, contexts = _way(endpoint)
        return UpstreamRequest(url, headers, encoded(short), contexts[plain.wants_usage(chat)])
    body, context, dropped = messages_body(chat, endpoint, remembered)
    headers = _headers(endpoint, betas(body))
    return UpstreamRequest(_url(endpoint), headers, encoded(body), context, dropped)


def _url(endpoint: Endpoint) -> str:
    return f"{endpoint.base_url}/v1/messages"


def _headers(endpoint: Endpoint, needed: tuple[str, ...]) -> dict[str, str]:
    headers = {"content-type": "application/json", "anthropic-version": VERSION}
    if endpoint.api_key:
        headers["x-api-key"] = endpoint.api_key
    if needed:
        headers["anthropic-beta"] = ",".join(needed)
    for name, value in endpoint.headers.items():
        joined = headers.get("anthropic-beta") if name.lower() == "anthropic-beta" else None
        headers[name.lower()] = f"{joined},{value}" if joined else value
    return headers


@lru_cache(maxsize=ENDPOINTS)
def _way(endpoint: Endpoint) -> tuple[str, Mapping[str, str], tuple[Context, Context]]:
    """URL and headers of plain requests, and their contexts: usage not asked for, and asked for."""
    return _url(endpoint), _headers(endpoint, ()), plain.contexts(endpoint)


def _plain_body(chat: Json, endpoint: Endpoint) -> Json | None:
    """What `messages_body` makes of a plain request, on a short way; None where there is more to it."""
    leading = plain.leading(chat)
    limit = _limit(chat, endpoint.facts)
    temperature = chat.get("temperature")
    if leading < 0 or limit is None or (temperature is not None and not (endpoint.facts.sampling and temperature <= 1)):
        return None
    body: Json = {"model": endpoint.model, "max_tokens": limit}
    if chat.get("stream"):
        body["stream"] = True
    if temperature is not None:
        body["temperature"] = temperature
    messages = chat["messages"]
    if leading:
        body["system"] = [{"type": "text", "text": each["content"]} for each in messages[:leading]]
    body["messages"] = [
        {"role": each["role"], "content": [{"type": "text", "text": each["content"]}]} for each in messages[leading:]
    ]
    return body


def betas(body: Json) -> tuple[str, ...]:
    """The beta features that a body of `messages_body` needs."""
    for turn in body["messages"]:
        for block in turn["content"]:
            inner = block.get("content")
            for part in (block, *(inner if isinstance(inner, list) else ())):
                source = part.get("source")
                if isinstance(source, dict) and source.get("type") == "file":
                    return (FILES_BETA,)
    return ()


def messages_body(
    chat: Json, endpoint: Endpoint, remembered: Mapping[str, Any] = NONE, table: Table = OUTCOMES
) -> tuple[Json, Context, tuple[Dropped, ...]]:
    """The body of a Messages request (`messages` last, where it grows), what the answer needs, and what is lost.

    `table` holds another host's outcomes.
    """
    facts = endpoint.facts
    report = list(judge(chat, table, facts, endpoint.unsupported))
    asked, without = without_lost(chat, report)
    asked = cache_marks.in_anthropics_words(asked, report)
    body: Json = {"model": endpoint.model, "max_tokens": _max_tokens(asked, facts, report)}
    if asked.get("stream"):
        body["stream"] = True
    output, json_schema = _output_format(asked, facts, report)
    offered = _tools(asked, facts, without, report)
    choice = _tool_choice(asked, offered, report)
    json_tool = None
    if json_schema is not None and _forces(choice):
        report.append(Dropped("response_format", answer_form.NO_TEXT))
    elif json_schema is not None:
        fit = answer_form.tool_input(asked, json_schema, report)
        json_tool, choice = _json_tool(fit, offered, choice)
    choice = _forced(choice, endpoint, report)
    forced = _forces(choice)
    unset = "this model does not reason"
    thinking, level = effort.thinking(asked, facts, body["max_tokens"], forced=forced, unset=unset, report=report)
    thinking, system, turns = _conversation(asked, facts, remembered, thinking, without, report)
    if asked.get("response_format", {}).get("type") == "json_object":
        system = [*system, {"type": "text", "text": answer_form.JSON_OBJECT}]
    if level:
        output["effort"] = level
    optional = {"thinking": thinking, "output_config": output, "tools": offered, "tool_choice": choice} | {
        "system": system
    }
    body |= _sampling(asked, thinking, report) | _stop(asked, endpoint, report) | _account(asked, report)
    body |= {name: value for name, value in optional.items() if value}
    body["messages"] = turns
    return body, tools.context(asked, endpoint, json_tool), tuple({lost.feature: lost for lost in report}.values())


def _limit(asked: Json, facts: ModelFacts) -> int | None:
    return asked.get("max_completion_tokens") or asked.get("max_tokens") or facts.max_output_tokens


def _max_tokens(asked: Json, facts: ModelFacts, report: list[Dropped]) -> int:
    if (limit := _limit(asked, facts)) is not None:
        return limit
    why = "Anthropic demands a limit, and none is known of this model"
    report.append(Dropped(f"max_completion_tokens={MAX_TOKENS}", why))
    return MAX_TOKENS


def _conversation(
    asked: Json,
    facts: ModelFacts,
    remembered: Mapping[str, Any],
    thinking: Json | None,
    without: frozenset[str],
    report: list[Dropped],
) -> tuple[Json | None, list[Json], list[Json]]:
    """Thinking as it can be for these messages, `system` and the turns."""

    def turns_with(allowed: bool) -> reasoning.Turns:
        return anthropic_messages.conversation(
            asked["messages"], facts, remembered, reasoning=allowed, without=without, report=report
        )

    return reasoning.fitted(thinking, asked, facts, turns_with, _may_think, report)


def _may_think(turns: list[Json]) -> bool:
    """With a budget, an assistant turn whose tools have just been answered must begin with thinking.

    One that is prefilled may not be thought about at all.
    Source: platform.claude.com/docs, extended-thinking, on preserving thinking blocks.
    """
    if turns[-1]["role"] == "assistant":
        return False
    results = any(block["type"] == "tool_result" for block in turns[-1]["content"])
    return not results or len(turns) < 2 or turns[-2]["content"][0]["type"] in anthropic_messages.THINKING


# Tools.


def _tools(asked: Json, facts: ModelFacts, without: frozenset[str], report: list[Dropped]) -> list[Json]:
    made: list[Json] = []
    for at, tool in enumerate(asked.get("tools") or ()):
        if f"tool:{tool['type']}" in without:
            continue
        kind, path = tool["type"], f"tools[{at}]"
        if kind not in tools.FIELDS:
            made.append(tool)
            continue
        said = tool[kind]
        one = _function(said, path, facts, report) if kind == "function" else _custom(said, path, report)
        fields = _fields(said, tools.FIELDS[kind], f"{path}.{kind}", report)
        made.append(one | fields | _fields(tool, ("type", kind), path, report))
    for function, path in tools.functions(asked):
        fields = _fields(function, tools.FIELDS["function"], path, report)
        made.append(_function(function, path, facts, report) | fields)
    if (options := asked.get("web_search_options")) is not None:
        made.append(_web_search(options, report))
    return made


_FIELDS = ("allowed_callers", "cache_control", "defer_loading", "eager_input_streaming", "input_examples")


def _fields(given: Json, known: tuple[str, ...], path: str, report: list[Dropped]) -> Json:
    """What else Anthropic knows of a tool (types/tool_param.py), of what the client says at one of its levels."""
    report += unknown(given, (*known, *_FIELDS), path, "Anthropic's tools have no such field")
    return {name: given[name] for name in _FIELDS if given.get(name) is not None}


def _function(function: Json, path: str, facts: ModelFacts, report: list[Dropped]) -> Json:
    made: Json = {"name": tools.wire_name(function["name"])}
    if function.get("description"):
        made["description"] = function["description"]
    why_not = "this model does not enforce schemas"
    enforces = facts.structured_output
    schema, strict = tools.input_schema(function, path, report, enforces=enforces, why_not=why_not)
    made["input_schema"] = schema
    if strict:
        made["strict"] = True
    return made


def _custom(custom: Json, path: str, report: list[Dropped]) -> Json:
    description, schema = tools.free_form(custom, path, report)
    made: Json = {"name": tools.wire_name(custom["name"]), "input_schema": schema}
    return {**made, "description": description} if description else made


def _web_search(options: Json, report: list[Dropped]) -> Json:
    """`allowed_callers` is said because a search called from within code needs models that run code."""
    made: Json = {"type": WEB_SEARCH, "name": "web_search", "allowed_callers": ["direct"]}
    if options.get("search_context_size") not in (None, "medium"):
        report.append(Dropped("web_search_options.search_context_size", "Anthropic has no such control"))
    where = object_of(object_of(options, "user_location"), "approximate")
    known = {name: where[name] for name in ("city", "country", "region", "timezone") if where.get(name)}
    return {**made, "user_location": {"type": "approximate", **known}} if known else made


def _tool_choice(asked: Json, offered: list[Json], report: list[Dropped]) -> Json | None:
    """Anthropic's tool_choice. `allowed_tools` leaves only those in `offered`, which is changed in place."""
    if not offered:
        return None
    choice: Json | None = None
    if chosen := tools.choice(asked, report):
        choice = {"type": chosen.kind, **({"name": chosen.name} if chosen.kind == "tool" else {})}
        if chosen.kind == "none":
            return choice
        if (allowed := chosen.allowed) is not None:
            offered[:] = [tool for tool in offered if isinstance(tool.get("name"), str) and tool["name"] in allowed]
            choice = choice if offered else None
    if offered and (asked.get("parallel_tool_calls") is False or asked.get("functions")):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def _forces(choice: Json | None) -> TypeGuard[Json]:
    """Whether the answer must be a call."""
    return choice is not None and choice["type"] in ("any", "tool")


def _forced(choice: Json | None, endpoint: Endpoint, report: list[Dropped]) -> Json | None:
    if not _forces(choice) or endpoint.facts.forced_tool:
        return choice
    tools.give_up_forcing(endpoint, report)
    kept = {name: value for name, value in choice.items() if name == "disable_parallel_tool_use"}
    return {"type": "auto", **kept}


# The answer's form.


def _output_format(asked: Json, facts: ModelFacts, report: list[Dropped]) -> tuple[Json, Json | None]:
    """`output_config`, and the schema that a forced tool must stand in for where the model has no native one."""
    form = answer_form.form(asked)
    if form is None:
        return {}, None
    if not facts.structured_output:
        return {}, form.titled
    schema = answer_form.enforced(form.titled, report)
    return {"format": {"type": "json_schema", "schema": schema}}, None


def _json_tool(schema: Json, offered: list[Json], choice: Json | None) -> tuple[str, Json]:
    """A tool whose input is the answer, put last in `offered`; beside others, the model must call one of them all."""
    name = answer_form.tool_name([tool.get("name") for tool in offered])
    others = bool(offered) and (choice is None or choice["type"] != "none")
    offered.append({"name": name, "description": answer_form.JSON_TOOL_DESCRIPTION, "input_schema": schema})
    if not others:  # two calls of it would be two answers
        return name, {"type": "tool", "name": name, "disable_parallel_tool_use": True}
    return name, {**(choice or {}), "type": "any"}


# Sampling and the rest.


def _sampling(asked: Json, thinking: Json | None, report: list[Dropped]) -> Json:
    """temperature (0 to 1 there), top_p and top_k, as far as they may stand beside each other and beside thinking.

    Source: platform.claude.com/docs, extended-thinking (feature compatibility); recorded: "temperature: range: 0..1".
    """
    made: Json = {name: asked[name] for name in ("temperature", "top_p", "top_k") if name in asked}
    if (thinking or {}).get("type") not in (None, "disabled"):
        why = "cannot be set while Claude thinks"
        fine = {"temperature": made.get("temperature") == 1, "top_p": made.get("top_p", 0) >= 0.95, "top_k": False}
        report += [Dropped(name, why) for name in made if not fine[name] and (name, made[name]) != ("top_p", 1)]
        return {name: value for name, value in made.items() if fine[name] and name == "top_p"}
    if "temperature" in made and "top_p" in made:
        top_p = made.pop("top_p")
        if top_p != 1:
            report.append(Dropped("top_p", "temperature is set, and newer models take only one of the two"))
    if made.get("temperature", 0) > 1:
        made["temperature"] = 1
        report.append(Dropped("temperature", "Anthropic's highest is 1"))
    return made


def _stop(asked: Json, endpoint: Endpoint, report: list[Dropped]) -> Json:
    stop = asked.get("stop")
    given: list[str] = [stop] if isinstance(stop, str) else list(stop or ())
    taken = [text for text in given if text.strip()]
    if any(text and not text.strip() for text in given):
        why = "Anthropic takes no stop sequence of white space only"
        if endpoint.unsupported == "refuse":
            raise LLMError("invalid_request", f"`stop`: {why}", param="stop", code="unsupported_value")
        report.append(Dropped("stop", why))
    return {"stop_sequences": taken} if taken else {}


_TIERS = {"auto": "auto", "default": "standard_only", "priority": "auto", "fast": "auto"}


def _hashed(user: str) -> str:
    """An opaque name for an end user, as Anthropic asks for one (types/metadata_param.py)."""
    return hashlib.blake2b(user.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _account(asked: Json, report: list[Dropped]) -> Json:
    """Who asks, at which tier, and what Anthropic's own extensions say."""
    made: Json = {name: asked[name] for name in ("container", "inference_geo", "cache_control") if name in asked}
    if user := asked.get("safety_identifier") or asked.get("user"):
        opaque = OPAQUE.fullmatch(user) is not None
        made["metadata"] = {"user_id": user if opaque else _hashed(user)}
        if not opaque:
            why = "sent as a hash, since Anthropic refuses mail addresses and telephone numbers"
            report += [Dropped(name, why) for name in ("safety_identifier", "user") if asked.get(name) == user]
        if asked.get("user") not in (None, user):
            report.append(Dropped("user", "safety_identifier is set, and Anthropic knows one id"))
    if tier := asked.get("service_tier"):
        if tier in _TIERS:
            made["service_tier"] = _TIERS[tier]
        else:
            report.append(Dropped("service_tier", f"Anthropic has no {tier} tier"))
    return made
