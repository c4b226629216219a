"""Tools for Gemini: declarations, the names it takes, and which of them may or must be called.

Sources: google-genai 3.4, types.FunctionDeclaration, types.ToolConfig, types.GenerateContentConfig (docstrings).
"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from translators import answer_form, schema
from translators.errors import LLMError
from translators.exchange import Endpoint, Json
from translators.outcomes import Dropped, unknown

# What a JSON schema may hold here: types.GenerateContentConfig.response_json_schema.
KEYWORDS = frozenset(
    {
        *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
        *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties"),
        *("required", "propertyOrdering"),
    }
)
# OpenAI-side `type` of a tool of Google's own → its field in types.Tool; settings stand under the type's name.
SERVER_TOOLS = {
    "google_search": "googleSearch",
    "google_maps": "googleMaps",
    "code_execution": "codeExecution",
    "url_context": "urlContext",
    "file_search": "fileSearch",
    "computer_use": "computerUse",
}
VERTEX_TOOLS = {"enterprise_web_search": "enterpriseWebSearch", "retrieval": "retrieval"}  # models.py, _Tool_to_vertex
JSON_TOOL = "json_answer"  # the function that stands in for response_format

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")  # types.FunctionDeclaration.name
_UNFIT = re.compile(r"[^A-Za-z0-9_.:-]")


class Toolbox(NamedTuple):
    """What goes upstream of a request's tools."""

    tools: list[Json]
    config: Json  # toolConfig; empty where nothing need be said
    custom: frozenset[str]  # OpenAI custom tools among them, by the client's names
    json_tool: str | None
    dropped: list[Dropped]


def wire_names(chat: Json) -> dict[str, str]:
    """Every function that `chat` names → the name it has at Gemini: letters, digits and `_.:-`, at most 128, unique."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name in _mentioned(chat):
        if name in names:
            continue
        fit = name if _NAME.fullmatch(name) else _UNFIT.sub("_", name)[:120]
        if not _NAME.fullmatch(fit):
            fit = f"_{fit}"
        wire, count = fit, 2
        while wire in taken:
            wire, count = f"{fit[:120]}_{count}", count + 1
        names[name] = wire
        taken.add(wire)
    return names


def _mentioned(chat: Json) -> Iterator[str]:
    for tool in chat.get("tools") or ():
        if tool["type"] in ("function", "custom"):
            yield tool[tool["type"]]["name"]
    for function in chat.get("functions") or ():
        yield _function_name(function)
    for message in chat["messages"]:
        for call in message.get("tool_calls") or ():
            yield call[call.get("type") or "function"]["name"]
        if message.get("function_call"):
            yield _function_name(message["function_call"])
        if message["role"] == "function":
            yield _function_name(message)


def _function_name(function: Json) -> str:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise LLMError(
            "invalid_request", "a function needs a name", param="functions", code="missing_required_parameter"
        )
    return name


def toolbox(chat: Json, endpoint: Endpoint, names: Mapping[str, str], gone: Set[str]) -> Toolbox:
    """`chat`'s tools and its choice among them. `gone` are the features left out by their outcome.

    Raises LLMError("invalid_request") for a choice that names no tool, or one the model cannot be held to.
    """
    declared: list[Json] = []
    dropped: list[Dropped] = []
    custom: set[str] = set()
    strict = False
    for at, tool in enumerate(chat.get("tools") or ()):
        kind, path = tool["type"], f"tools[{at}]"
        if f"tool:{kind}" in gone:
            continue
        if kind == "function":
            declared.append(_declaration(tool["function"], names, f"{path}.function", dropped))
            strict |= tool["function"].get("strict") is True
        elif kind == "custom":
            declared.append(_custom_declaration(tool["custom"], names, path, dropped))
            custom.add(tool["custom"]["name"])
    if "functions" not in gone:
        for at, function in enumerate(chat.get("functions") or ()):
            declared.append(_declaration(function, names, f"functions[{at}]", dropped))
    server = _server_tools(chat, gone, dropped)
    config = _calling(chat, endpoint, names, declared, server, strict, dropped)
    if server and config.get("mode") == "NONE":  # before Gemini 3 the two cannot be together: NONE is said by absence
        declared, config = [], {}
    json_tool = None
    needed = needs_json_tool(chat, endpoint, gone)
    if needed and config.get("mode") == "ANY":
        dropped.append(Dropped("response_format", answer_form.NO_TEXT))
    elif needed:
        json_tool = _free_name(JSON_TOOL, names)
        declared.append(_json_declaration(chat["response_format"]["json_schema"], json_tool, dropped))
        config = _or_answer(config, json_tool)
    tools = [{"functionDeclarations": declared}] if declared else []
    whole: Json = {"functionCallingConfig": config} if config and declared else {}
    if declared and server and endpoint.facts.thinking == "level":
        # ai.google.dev/gemini-api/docs/tool-combination (read 2026-11): without it the two cannot be together
        whole["includeServerSideToolInvocations"] = True
    return Toolbox(tools + server, whole, frozenset(custom), json_tool, dropped)


def allowed_server_tools(chat: Json) -> frozenset[str] | None:
    """The only types of Google's own tools that `chat`'s choice lets the model call; None where it lets it call all.

    Google holds functions alone to the choice (types.FunctionCallingConfigMode): of its own, it runs whatever it is
    sent.
    """
    choice = _choice(chat)
    if choice == "none":
        return frozenset()
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return frozenset(str(tool.get("type")) for tool in _allowed(choice) or ())
    return None


def needs_json_tool(chat: Json, endpoint: Endpoint, gone: Set[str]) -> bool:
    """Whether a forced function must stand in for `response_format: json_schema`.

    It must where the model takes no schema, and beside functions where it takes thinking by budget or none (Gemini 2.5
    and before: "Function calling with a response mime type: 'application/json' is unsupported", python-genai#867).
    """
    asked = chat.get("response_format") or {}
    if asked.get("type") != "json_schema" or "format:json_schema" in gone or "response_format" in gone:
        return False
    if not endpoint.facts.structured_output:
        return True
    return endpoint.facts.thinking != "level" and has_functions(chat)


def has_functions(chat: Json) -> bool:
    """Whether `chat` declares functions of its own."""
    kinds = {tool["type"] for tool in chat.get("tools") or ()}
    return bool(kinds & {"function", "custom"}) or bool(chat.get("functions"))


def answer_schema(asked: Json, dropped: list[Dropped]) -> Json:
    """The `schema` of a `response_format.json_schema`, as Gemini understands it."""
    return _schema(asked.get("schema") or {}, "response_format.json_schema.schema", dropped)


def _schema(given: Json, path: str, dropped: list[Dropped]) -> Json:
    fit, lost = schema.cleaned(given, KEYWORDS, path)
    # "Cyclic references … may only be used within non-required properties" (response_json_schema, as above)
    fit, loosened = schema.loosened(fit, path)
    dropped += lost + loosened
    return fit


def _server_tools(chat: Json, gone: Set[str], dropped: list[Dropped]) -> list[Json]:
    """Google's own tools, without those that may not be called."""
    made: list[Json] = []
    allowed = allowed_server_tools(chat)
    for at, tool in enumerate(chat.get("tools") or ()):
        kind = tool["type"]
        if kind in ("function", "custom") or f"tool:{kind}" in gone or (allowed is not None and kind not in allowed):
            continue
        made.append({(SERVER_TOOLS | VERTEX_TOOLS)[kind]: tool.get(kind) or {}})
        dropped += [Dropped(f"tools[{at}].{key}", "unknown here") for key in tool if key not in ("type", kind)]
    options = chat.get("web_search_options")
    if options is None or "web_search_options" in gone or (allowed is not None and "google_search" not in allowed):
        return made
    dropped += [
        Dropped(f"web_search_options.{key}", "Google Search has no such setting")
        for key, value in options.items()
        if value is not None
    ]
    return [*made, {"googleSearch": {}}]


def _declaration(function: Json, names: Mapping[str, str], path: str, dropped: list[Dropped]) -> Json:
    made: Json = {"name": names[function["name"]]}
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("parameters"):
        made["parametersJsonSchema"] = {
            "type": "object",
            **_schema(function["parameters"], f"{path}.parameters", dropped),
        }
    dropped += unknown(function, ("name", "description", "parameters", "strict"), path, "unknown here")
    return made


def _custom_declaration(tool: Json, names: Mapping[str, str], path: str, dropped: list[Dropped]) -> Json:
    """A custom tool as a function of one string; a grammar can only be described."""
    description = tool.get("description") or ""
    form = _dict(tool.get("format"))
    if form.get("type") == "grammar":
        grammar = _dict(form.get("grammar"))
        description += f"\n\n`input` must follow this {grammar.get('syntax')} grammar:\n{grammar.get('definition')}"
        dropped.append(Dropped(f"{path}.custom.format", "the grammar is described to the model, not enforced"))
    made: Json = {"name": names[tool["name"]]}
    if description:
        made["description"] = description.lstrip()
    properties = {"input": {"type": "string"}}
    made["parametersJsonSchema"] = {"type": "object", "properties": properties, "required": ["input"]}
    return made


def _json_declaration(asked: Json, name: str, dropped: list[Dropped]) -> Json:
    made = {"name": name, "description": asked.get("description") or "Gives the final answer."}
    return {**made, "parametersJsonSchema": {"type": "object", **answer_schema(asked, dropped)}}


def _free_name(wanted: str, names: Mapping[str, str]) -> str:
    taken, name, count = set(names.values()), wanted, 2
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name


def _or_answer(config: Json, json_tool: str) -> Json:
    """One of the functions that may be called, or the answer as asked: free text is not possible any more."""
    if config.get("mode") == "NONE":
        return {"mode": "ANY", "allowedFunctionNames": [json_tool]}
    if "allowedFunctionNames" in config:
        return {"mode": "ANY", "allowedFunctionNames": [*config["allowedFunctionNames"], json_tool]}
    return {"mode": "ANY"}


def _calling(
    chat: Json,
    endpoint: Endpoint,
    names: Mapping[str, str],
    declared: list[Json],
    server: list[Json],
    strict: bool,
    dropped: list[Dropped],
) -> Json:
    """types.FunctionCallingConfig for `tool_choice` (or the deprecated `function_call`); {} leaves the default, AUTO.

    `strict` asks for VALIDATED, in which calls are held to their schema while text stays possible.
    """
    choice = _choice(chat)
    auto: Json = {"mode": "VALIDATED"} if strict else {}
    if choice is None or choice == "auto":
        return auto
    if choice == "none":
        return {"mode": "NONE"}
    forced, wanted = _forced(choice)
    why = ""
    if not endpoint.facts.forced_tool:
        why = "this model cannot be made to call a tool"
    elif wanted == [] or (wanted is None and server and not declared):
        why = "only a function can be forced, and none may be called"
    if forced and why:
        if endpoint.unsupported == "refuse":
            raise LLMError(
                "invalid_request", f"`tool_choice`: {why}", param="tool_choice", code="unsupported_parameter"
            )
        dropped.append(Dropped("tool_choice", why))
        forced = False
    if wanted is None:
        return {"mode": "ANY"} if forced else auto
    if not wanted:
        return {"mode": "NONE"}
    known = {tool["name"] for tool in declared}
    for name in wanted:
        if names.get(name) not in known:
            raise LLMError("invalid_request", f"`tool_choice` names no tool of `tools`: {name}", param="tool_choice")
    # AUTO takes no names; VALIDATED does, and leaves text possible
    return {"mode": "ANY" if forced else "VALIDATED", "allowedFunctionNames": [names[name] for name in wanted]}


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _choice(chat: Json) -> str | Json | None:
    choice: str | Json | None = chat.get("tool_choice")
    return choice if choice is not None else chat.get("function_call")


def _forced(choice: str | Json) -> tuple[bool, list[str] | None]:
    """Whether a function must be called, and the names of those that may be; None for all."""
    if isinstance(choice, str):
        return True, None  # required
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return True, [choice[kind]["name"]]
    if kind == "allowed_tools":
        if (allowed := _allowed(choice)) is None:
            message = "`tool_choice.allowed_tools.tools` must be a list"
            raise LLMError("invalid_request", message, param="tool_choice", code="invalid_type")
        listed = [_named(tool) for tool in allowed if tool.get("type") in ("function", "custom")]
        return choice["allowed_tools"].get("mode") == "required", [name for name in listed if isinstance(name, str)]
    if isinstance(choice.get("name"), str):
        return True, [choice["name"]]  # the deprecated function_call
    raise LLMError("invalid_request", f"`tool_choice`: there is no type {kind!r}", param="tool_choice")


def _allowed(choice: Json) -> list[Json] | None:
    """The entries of `allowed_tools`; None where they are no list."""
    given = _dict(choice.get("allowed_tools")).get("tools")
    return [_dict(tool) for tool in given] if isinstance(given, list) else None


def _named(tool: Json) -> object:
    """The name within an entry of `allowed_tools`, which is a function's definition cut down to it."""
    return _dict(tool.get(tool["type"])).get("name") or tool.get("name")
