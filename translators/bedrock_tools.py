"""OpenAI's tools and tool_choice as Converse's toolConfig.

Source: botocore 1.44, bedrock-runtime 2023-09-30, ToolConfiguration; what is said of Claude's own fields: its Messages
API has `tool_choice.disable_parallel_tool_use`, for which Converse has no word.
"""

from dataclasses import dataclass, field
from typing import Any

from translators import closed_schema
from translators.bedrock_turns import cache_point, wire_name
from translators.errors import LLMError
from translators.exchange import Endpoint, ModelFacts
from translators.outcomes import Dropped

Json = dict[str, Any]

JSON_TOOL = "json_output"


@dataclass(slots=True)
class Tooling:
    """What the request says of tools."""

    tools: list[Json]
    choice: Json | None = None  # Converse's ToolChoice
    none: bool = False  # no tool may be called
    json_tool: str | None = None
    own_fields: Json = field(default_factory=dict)

    @property
    def forced(self) -> bool:
        return self.choice is not None and "auto" not in self.choice


def tooling(
    asked: Json, endpoint: Endpoint, json_schema: Json | None, without: frozenset[str], report: list[Dropped]
) -> Tooling:
    """The tools, the choice among them, and the tool that stands in for `json_schema`. What is lost is in `report`."""
    made = Tooling(_tools(asked, endpoint.facts, without, report))
    _choose(made, asked, report)
    if json_schema is not None:
        _add_json_tool(made, json_schema)
    _check_forced(made, endpoint, report)
    if made.tools and not made.none and (asked.get("parallel_tool_calls") is False or asked.get("functions")):
        if endpoint.facts.serial_tools:
            made.own_fields["tool_choice"] = {**_anthropic(made.choice), "disable_parallel_tool_use": True}
        elif "parallel_tool_calls" in asked:
            report.append(Dropped("parallel_tool_calls", "this model cannot be kept from calling tools in parallel"))
    return made


def config(made: Tooling, turns: list[Json], endpoint: Endpoint, report: list[Dropped]) -> Json:
    """toolConfig. Calls and results within the turns demand one, with the tools that they name.

    Raises LLMError("invalid_request") where no tool may be called and yet they must be listed.
    """
    used = _used(turns)
    listed = {tool["toolSpec"]["name"] for tool in made.tools if "toolSpec" in tool}
    if made.none and not used:
        return {}
    if made.none:
        why = "`none` cannot be said to Bedrock in a conversation with tool calls, for which tools must be listed"
        if endpoint.unsupported == "refuse":
            raise LLMError("invalid_request", f"`tool_choice`: {why}", param="tool_choice", code="unsupported_value")
        report.append(Dropped("tool_choice", why))
    tools = made.tools or [_spec(name, {"type": "object", "properties": {}}) for name in used if name not in listed]
    if not tools:
        return {}
    return {"tools": tools, **({"toolChoice": made.choice} if made.choice else {})}


def enforced(schema: Json, path: str, report: list[Dropped]) -> Json:
    """`schema` as structured output takes it; what of it is not enforced is in `report`."""
    losses: set[str] = set()
    made = closed_schema.enforced(schema, losses)
    if losses:
        report.append(Dropped(path, f"not enforced: {', '.join(sorted(losses))}"))
    return made


def _used(turns: list[Json]) -> list[str]:
    """The names of the tools that the turns call."""
    uses = [block["toolUse"] for turn in turns for block in turn["content"] if "toolUse" in block]
    return list(dict.fromkeys(str(use["name"]) for use in uses if isinstance(use.get("name"), str)))


def _tools(asked: Json, facts: ModelFacts, without: frozenset[str], report: list[Dropped]) -> list[Json]:
    made: list[Json] = []
    for at, tool in enumerate(asked.get("tools") or ()):
        if f"tool:{tool['type']}" in without:
            continue
        if tool["type"] == "function":
            function = tool["function"]
            made.append(_function(function, f"tools[{at}]", facts, report))
            made += cache_point(tool) or cache_point(function)
        elif tool["type"] == "custom":
            made += [_custom(tool["custom"], f"tools[{at}]", report), *cache_point(tool)]
        elif isinstance(system_tool := tool.get("systemTool"), dict):
            made.append({"systemTool": system_tool})
    for at, function in enumerate(asked.get("functions") or ()):
        if not isinstance(function.get("name"), str) or not isinstance(function.get("parameters", {}), dict):
            param = f"functions[{at}]"
            raise LLMError("invalid_request", f"`{param}` needs a name and parameters that are an object", param=param)
        made.append(_function(function, f"functions[{at}]", facts, report))
    return made


def _spec(name: str, schema: Json, description: object = None, *, strict: bool = False) -> Json:
    made: Json = {"name": wire_name(name)}
    if isinstance(description, str) and description:
        made["description"] = description
    made["inputSchema"] = {"json": schema}
    return {"toolSpec": {**made, "strict": True} if strict else made}


def _function(function: Json, path: str, facts: ModelFacts, report: list[Dropped]) -> Json:
    losses: set[str] = set()
    parameters = function.get("parameters")
    strict = bool(function.get("strict")) and facts.strict_tools
    if strict:
        schema = closed_schema.enforced({"properties": {}, **(parameters or {}), "type": "object"}, losses)
    else:
        schema = closed_schema.tool_input(parameters, losses)
        if function.get("strict"):
            report.append(Dropped(f"{path}.strict", "this model does not hold tool calls to their schemas"))
    if losses:
        report.append(Dropped(f"{path}.parameters", f"not enforced: {', '.join(sorted(losses))}"))
    return _spec(function["name"], schema, function.get("description"), strict=strict)


def _custom(custom: Json, path: str, report: list[Dropped]) -> Json:
    """OpenAI's free-form tool as one with a single string; the answer's side unwraps it."""
    description = custom.get("description") or ""
    form = custom.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        grammar = form["grammar"] if isinstance(form.get("grammar"), dict) else {}
        told = f"`input` must match this {grammar.get('syntax')} grammar:\n{grammar.get('definition')}"
        description = f"{description}\n\n{told}" if description else told
        report.append(Dropped(f"{path}.custom.format", "the grammar is told in the description, not enforced"))
    properties = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    return _spec(custom["name"], {**properties, "additionalProperties": False}, description)


def _choose(made: Tooling, asked: Json, report: list[Dropped]) -> None:
    """`choice`; `allowed_tools` leaves only those in `tools`."""
    if not made.tools:
        return
    match asked.get("tool_choice", asked.get("function_call")):
        case "none":
            made.none = True
        case "auto":
            made.choice = {"auto": {}}
        case "required":
            made.choice = {"any": {}}
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            made.choice = {"tool": {"name": wire_name(name)}}
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(allowed)}}:
            names = {wire_name(_named(tool)) for tool in allowed}
            made.tools = [tool for tool in made.tools if "toolSpec" in tool and tool["toolSpec"]["name"] in names]
            made.none = not made.tools
            if made.tools:
                made.choice = {"any": {}} if mode == "required" else {"auto": {}}
        case {"name": str(name)}:
            made.choice = {"tool": {"name": wire_name(name)}}
        case None:
            pass
        case _:
            report.append(Dropped("tool_choice", "of a form that is not OpenAI's"))


def _named(tool: object) -> str:
    """The name within an entry of `allowed_tools`, which is a tool's definition cut down to it."""
    if not isinstance(tool, dict):
        return ""
    inner = tool.get(tool["type"]) if isinstance(tool.get("type"), str) else None
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def _add_json_tool(made: Tooling, schema: Json) -> None:
    """A tool whose input is the answer, put last; beside others, the model must call one of them all."""
    name = JSON_TOOL
    while any(tool.get("toolSpec", {}).get("name") == name for tool in made.tools):
        name += "_"
    if made.none:  # the others may not be called
        made.tools, made.none = [], False
    others = bool(made.tools)
    made.json_tool = name
    made.tools.append(_spec(name, closed_schema.tool_input(schema, set()), "Gives the final answer."))
    if not made.forced:
        made.choice = {"any": {}} if others else {"tool": {"name": name}}


def _check_forced(made: Tooling, endpoint: Endpoint, report: list[Dropped]) -> None:
    if not made.forced or endpoint.facts.forced_tool:
        return
    why = "this model cannot be made to call a tool"
    if endpoint.unsupported == "refuse":
        raise LLMError("invalid_request", f"`tool_choice`: {why}", param="tool_choice", code="unsupported_parameter")
    report.append(Dropped("tool_choice", why))
    made.choice = None


def _anthropic(choice: Json | None) -> Json:
    """A ToolChoice in the words of Claude's own API."""
    match choice:
        case {"any": _}:
            return {"type": "any"}
        case {"tool": {"name": name}}:
            return {"type": "tool", "name": name}
    return {"type": "auto"}
