"""Anthropic's Messages API: the request. What comes back is read in `anthropic_answer`.

Source: anthropic 2.11, types/message_create_params.py and the types it names; what the docs alone say is marked so.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from translators import anthropic_messages, closed_schema
from translators.anthropic_answer import Decoder, error, response
from translators.anthropic_blocks import object_of
from translators.anthropic_messages import wire_name
from translators.errors import LLMError
from translators.exchange import NONE, Context, Endpoint, Media, ModelFacts, UpstreamRequest
from translators.outcomes import Dropped, Outcome, Table, judge

__all__ = ["OUTCOMES", "Decoder", "betas", "error", "media_urls", "messages_body", "request", "response"]

Json = dict[str, Any]

VERSION = "2023-06-01"
FILES_BETA = "files-api-2025-04-14"  # types/anthropic_beta_param.py; recorded beside file ids
MAX_TOKENS = 4096  # where neither the client nor the facts say: what every Claude model can write
LEAST_BUDGET = 1024  # types/thinking_config_enabled_param.py
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 65536}  # tokens
EFFORTS = tuple(BUDGETS)
WEB_SEARCH = "web_search_20260318"  # the newest of types/tool_union_param.py
JSON_TOOL = "json_output"
JSON_OBJECT = "Answer with one valid JSON object and nothing else: no prose around it and no code fence."

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
    "safety_identifier": Outcome("translated", "metadata.user_id"),
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
    "user": Outcome("translated", "metadata.user_id"),
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
    body, context, dropped = messages_body(chat, endpoint, remembered)
    headers = {"content-type": "application/json", "anthropic-version": VERSION}
    if endpoint.api_key:
        headers["x-api-key"] = endpoint.api_key
    if needed := betas(body):
        headers["anthropic-beta"] = ",".join(needed)
    for name, value in endpoint.headers.items():
        joined = headers.get("anthropic-beta") if name.lower() == "anthropic-beta" else None
        headers[name.lower()] = f"{joined},{value}" if joined else value
    return UpstreamRequest(f"{endpoint.base_url}/v1/messages", headers, encoded(body), context, dropped)


def encoded(body: Json) -> bytes:
    """The body as JSON bytes. Raises LLMError("invalid_request") when it is nested too deep to be written."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise LLMError("invalid_request", "The request is nested deeper than 254 levels") from None


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
    without = frozenset(lost.feature for lost in report)
    asked = {name: value for name, value in chat.items() if value is not None and name not in without}
    if asked.get("response_format") and f"format:{asked['response_format']['type']}" in without:
        del asked["response_format"]
    body: Json = {"model": endpoint.model, "max_tokens": _max_tokens(asked, facts)}
    if asked.get("stream"):
        body["stream"] = True
    output, json_schema = _output_format(asked, facts, report)
    tools = _tools(asked, facts, without, report)
    choice = _tool_choice(asked, tools, report)
    json_tool = None
    if json_schema is not None:
        json_tool, choice = _json_tool(json_schema, tools, choice)
    choice = _forced(choice, endpoint, report)
    thinking, effort = _thinking(asked, facts, body["max_tokens"], choice, report)
    thinking, system, turns = _conversation(asked, facts, remembered, thinking, without, report)
    if asked.get("response_format", {}).get("type") == "json_object":
        system = [*system, {"type": "text", "text": JSON_OBJECT}]
    if effort:
        output["effort"] = effort
    optional = {"thinking": thinking, "output_config": output, "tools": tools, "tool_choice": choice, "system": system}
    body |= _sampling(asked, thinking, report) | _stop(asked, endpoint, report) | _account(asked, report)
    body |= {name: value for name, value in optional.items() if value}
    body["messages"] = turns
    return body, _context(asked, endpoint, json_tool), tuple({lost.feature: lost for lost in report}.values())


def _max_tokens(asked: Json, facts: ModelFacts) -> int:
    tokens: int = asked.get("max_completion_tokens") or asked.get("max_tokens") or facts.max_output_tokens or MAX_TOKENS
    return tokens


def _context(asked: Json, endpoint: Endpoint, json_tool: str | None) -> Context:
    tools = [tool for tool in asked.get("tools") or () if tool["type"] in ("function", "custom")]
    names = [tool[tool["type"]]["name"] for tool in tools] + [tool["name"] for tool in asked.get("functions") or ()]
    return Context(
        model=endpoint.model,
        include_usage=bool((asked.get("stream_options") or {}).get("include_usage")),
        tool_names={wire_name(name): name for name in names if wire_name(name) != name},
        json_tool=json_tool,
        custom_tools=frozenset(tool["custom"]["name"] for tool in tools if tool["type"] == "custom"),
        function_call=bool(asked.get("functions")),
    )


def _conversation(
    asked: Json,
    facts: ModelFacts,
    remembered: Mapping[str, Any],
    thinking: Json | None,
    without: frozenset[str],
    report: list[Dropped],
) -> tuple[Json | None, list[Json], list[Json]]:
    """Thinking as it can be for these messages, `system` and the turns."""
    kind = (thinking or {}).get("type")
    on = kind not in (None, "disabled") or (kind is None and (facts.thinking_always or facts.thinking == "adaptive"))

    def turns_with(reasoning: bool) -> tuple[list[Json], list[Json]]:
        return anthropic_messages.conversation(
            asked["messages"], facts, remembered, reasoning=reasoning, without=without, report=report
        )

    system, turns = turns_with(on)
    if turns[-1]["role"] == "assistant" and not facts.prefill:
        raise LLMError(
            "invalid_request", "`messages`: this model cannot carry on an assistant message", param="messages"
        )
    if kind == "enabled" and "thinking" not in asked and not _may_think(turns):
        report.append(Dropped("reasoning_effort", "the reasoning of the last assistant message is unknown"))
        thinking = None
        system, turns = turns_with(False)
    return thinking, system, turns


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
        if tool["type"] == "function":
            made.append(anthropic_messages.marked(_function(tool["function"], f"tools[{at}]", facts, report), tool))
        elif tool["type"] == "custom":
            made.append(anthropic_messages.marked(_custom(tool["custom"], f"tools[{at}]", report), tool))
        else:
            made.append(tool)
    for at, function in enumerate(asked.get("functions") or ()):
        if not isinstance(function.get("name"), str) or not isinstance(function.get("parameters", {}), dict):
            param = f"functions[{at}]"
            raise LLMError("invalid_request", f"`{param}` needs a name and parameters that are an object", param=param)
        made.append(_function(function, f"functions[{at}]", facts, report))
    if (options := asked.get("web_search_options")) is not None:
        made.append(_web_search(options, report))
    return made


def _function(function: Json, path: str, facts: ModelFacts, report: list[Dropped]) -> Json:
    losses: set[str] = set()
    made: Json = {"name": wire_name(function["name"])}
    if function.get("description"):
        made["description"] = function["description"]
    parameters = function.get("parameters")
    if function.get("strict") and facts.structured_output:
        made["input_schema"] = closed_schema.enforced(
            {"properties": {}, **(parameters or {}), "type": "object"}, losses
        )
        made["strict"] = True
    else:
        made["input_schema"] = closed_schema.tool_input(parameters, losses)
        if function.get("strict"):
            report.append(Dropped(f"{path}.strict", "this model does not enforce schemas"))
    if losses:
        report.append(Dropped(f"{path}.parameters", f"not enforced: {', '.join(sorted(losses))}"))
    return anthropic_messages.marked(made, function)


def _custom(custom: Json, path: str, report: list[Dropped]) -> Json:
    """OpenAI's free-form tool as one with a single string; the answer's side unwraps it."""
    description = custom.get("description") or ""
    form = object_of(custom, "format")
    if form.get("type") == "grammar":
        grammar = object_of(form, "grammar")
        told = f"`input` must match this {grammar.get('syntax')} grammar:\n{grammar.get('definition')}"
        description = f"{description}\n\n{told}" if description else told
        report.append(Dropped(f"{path}.custom.format", "the grammar is told in the description, not enforced"))
    schema = {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": False,
    }
    made: Json = {"name": wire_name(custom["name"]), "input_schema": schema}
    return {**made, "description": description} if description else made


def _web_search(options: Json, report: list[Dropped]) -> Json:
    """`allowed_callers` is said because a search called from within code needs models that run code."""
    made: Json = {"type": WEB_SEARCH, "name": "web_search", "allowed_callers": ["direct"]}
    if options.get("search_context_size") not in (None, "medium"):
        report.append(Dropped("web_search_options.search_context_size", "Anthropic has no such control"))
    where = object_of(object_of(options, "user_location"), "approximate")
    known = {name: where[name] for name in ("city", "country", "region", "timezone") if where.get(name)}
    return {**made, "user_location": {"type": "approximate", **known}} if known else made


def _tool_choice(asked: Json, tools: list[Json], report: list[Dropped]) -> Json | None:
    """Anthropic's tool_choice. `allowed_tools` leaves only those in `tools`, which is changed in place."""
    asked_choice = asked.get("tool_choice", asked.get("function_call"))
    if not tools:
        return None
    choice: Json | None = None
    match asked_choice:
        case "none":
            return {"type": "none"}
        case "auto":
            choice = {"type": "auto"}
        case "required":
            choice = {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            choice = {"type": "tool", "name": wire_name(name)}
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(allowed)}}:
            names = {wire_name(_named(tool)) for tool in allowed}
            tools[:] = [tool for tool in tools if isinstance(tool.get("name"), str) and tool["name"] in names]
            choice = ({"type": "any"} if mode == "required" else {"type": "auto"}) if tools else None
        case {"name": str(name)}:
            choice = {"type": "tool", "name": wire_name(name)}
        case None:
            pass
        case _:
            report.append(Dropped("tool_choice", "of a form that is not OpenAI's"))
    if tools and (asked.get("parallel_tool_calls") is False or asked.get("functions")):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def _named(tool: object) -> str:
    """The name within an entry of `allowed_tools`, which is a tool's definition cut down to it."""
    if not isinstance(tool, dict):
        return ""
    inner = tool.get(tool["type"]) if isinstance(tool.get("type"), str) else None
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def _forced(choice: Json | None, endpoint: Endpoint, report: list[Dropped]) -> Json | None:
    if choice is None or choice["type"] not in ("any", "tool") or endpoint.facts.forced_tool:
        return choice
    why = "this model cannot be made to call a tool"
    if endpoint.unsupported == "refuse":
        raise LLMError("invalid_request", f"`tool_choice`: {why}", param="tool_choice", code="unsupported_parameter")
    report.append(Dropped("tool_choice", why))
    kept = {name: value for name, value in choice.items() if name == "disable_parallel_tool_use"}
    return {"type": "auto", **kept}


# The answer's form.


def _output_format(asked: Json, facts: ModelFacts, report: list[Dropped]) -> tuple[Json, Json | None]:
    """`output_config`, and the schema that a forced tool must stand in for where the model has no native one."""
    wanted = asked.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return {}, None
    named = wanted["json_schema"]
    schema = named.get("schema") or {"type": "object"}
    described = {"description": named["description"]} if named.get("description") else {}
    schema = {"title": named["name"], **described, **schema}
    if not facts.structured_output:
        return {}, schema
    losses: set[str] = set()
    made = closed_schema.enforced(schema, losses)
    if losses:
        report.append(Dropped("response_format.json_schema.schema", f"not enforced: {', '.join(sorted(losses))}"))
    return {"format": {"type": "json_schema", "schema": made}}, None


def _json_tool(schema: Json, tools: list[Json], choice: Json | None) -> tuple[str, Json]:
    """A tool whose input is the answer, put last in `tools`; beside others, the model must call one of them all."""
    name = JSON_TOOL
    while any(tool.get("name") == name for tool in tools):
        name += "_"
    others = bool(tools) and (choice is None or choice["type"] != "none")
    made = {
        "name": name,
        "description": "Gives the final answer.",
        "input_schema": closed_schema.tool_input(schema, set()),
    }
    tools.append(made)
    if choice is not None and choice["type"] in ("any", "tool"):
        return name, choice
    return name, {"type": "any"} if others else {"type": "tool", "name": name}


# Reasoning, sampling and the rest.


def _thinking(
    asked: Json, facts: ModelFacts, max_tokens: int, choice: Json | None, report: list[Dropped]
) -> tuple[Json | None, str | None]:
    """`thinking` and `output_config.effort`, from what the model is known to take."""
    own, effort = asked.get("thinking"), asked.get("reasoning_effort")
    if effort is not None and effort not in (*EFFORTS, "none"):
        raise LLMError(
            "invalid_request",
            f"`reasoning_effort` must be one of none, {', '.join(EFFORTS)}",
            param="reasoning_effort",
            code="invalid_value",
        )
    level = _level(effort, facts, report) if effort else None
    if own is not None:
        if not isinstance(own, dict):
            raise LLMError("invalid_request", "`thinking` must be an object", param="thinking", code="invalid_type")
        return own, level
    if effort is None or facts.thinking not in ("budget", "adaptive"):
        if effort not in (None, "none") and level is None:
            report.append(Dropped("reasoning_effort", "this model does not reason"))
        return None, level
    if effort == "none":
        return (None if facts.thinking_always else {"type": "disabled"}), level
    if choice is not None and choice["type"] in ("any", "tool") and not facts.thinking_always:
        report.append(Dropped("reasoning_effort", "Claude does not think where it is made to call a tool"))
        return None, level
    if facts.thinking == "adaptive":
        return {"type": "adaptive", "display": "summarized"}, level
    if max_tokens <= LEAST_BUDGET:
        report.append(Dropped("reasoning_effort", f"needs a max_completion_tokens above {LEAST_BUDGET}"))
        return None, level
    return {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, min(BUDGETS[effort], max_tokens * 4 // 5))}, level


def _level(effort: str, facts: ModelFacts, report: list[Dropped]) -> str | None:
    """The model's own level nearest to `effort`, from below where there is one."""
    known = sorted((level for level in facts.efforts if level in EFFORTS), key=EFFORTS.index)
    if effort == "none":
        if not facts.thinking_always:
            return None
        report.append(Dropped("reasoning_effort", "this model always reasons: the least is asked for"))
        return known[0] if known else None
    if not known:
        return None
    below = [level for level in known if EFFORTS.index(level) <= EFFORTS.index(effort)]
    level = below[-1] if below else known[0]
    if level != effort:
        report.append(Dropped("reasoning_effort", f"this model does not know {effort}: {level} is asked for"))
    return level


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


def _account(asked: Json, report: list[Dropped]) -> Json:
    """Who asks, at which tier, and what Anthropic's own extensions say."""
    made: Json = {name: asked[name] for name in ("container", "inference_geo", "cache_control") if name in asked}
    if user := asked.get("safety_identifier") or asked.get("user"):
        made["metadata"] = {"user_id": user}
        if asked.get("user") not in (None, user):
            report.append(Dropped("user", "safety_identifier is set, and Anthropic knows one id"))
    if tier := asked.get("service_tier"):
        if tier in _TIERS:
            made["service_tier"] = _TIERS[tier]
        else:
            report.append(Dropped("service_tier", f"Anthropic has no {tier} tier"))
    options = asked.get("prompt_cache_options")
    if options and options.get("mode") != "explicit" and "cache_control" not in made:
        made["cache_control"] = anthropic_messages.cache_control(options)
    return made
