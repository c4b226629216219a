"""OpenAI's tools and tool_choice as Converse's toolConfig.

Source: botocore 1.44, bedrock-runtime 2023-09-30, ToolConfiguration; what is said of Claude's own fields: its Messages
API has `tool_choice.disable_parallel_tool_use`, for which Converse has no word.
"""

from dataclasses import dataclass, field
from typing import Any

from translators import answer_form, tools
from translators.bedrock_turns import cache_point
from translators.errors import LLMError
from translators.exchange import Endpoint, ModelFacts
from translators.outcomes import Dropped, unknown
from translators.tools import wire_name

Json = dict[str, Any]

_NO_FIELD = "Converse's tools have no such field"


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
    if json_schema is not None and made.forced:
        report.append(Dropped("response_format", answer_form.NO_TEXT))
    elif json_schema is not None:
        _add_json_tool(made, answer_form.tool_input(asked, json_schema, report))
    _check_forced(made, endpoint, report)
    if made.tools and not made.none and (asked.get("parallel_tool_calls") is False or asked.get("functions")):
        if endpoint.facts.serial_tools:
            made.own_fields["tool_choice"] = {**_anthropic(made.choice), "disable_parallel_tool_use": True}
        elif "parallel_tool_calls" in asked or asked.get("functions"):
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
    listing = made.tools or [_spec(name, {"type": "object", "properties": {}}) for name in used if name not in listed]
    if not listing:
        return {}
    return {"tools": listing, **({"toolChoice": made.choice} if made.choice else {})}


def _used(turns: list[Json]) -> list[str]:
    """The names of the tools that the turns call."""
    uses = [block["toolUse"] for turn in turns for block in turn["content"] if "toolUse" in block]
    return list(dict.fromkeys(str(use["name"]) for use in uses if isinstance(use.get("name"), str)))


def _tools(asked: Json, facts: ModelFacts, without: frozenset[str], report: list[Dropped]) -> list[Json]:
    made: list[Json] = []
    for at, tool in enumerate(asked.get("tools") or ()):
        if f"tool:{tool['type']}" in without:
            continue
        kind, path = tool["type"], f"tools[{at}]"
        if kind in tools.FIELDS:
            said = tool[kind]
            made.append(_function(said, path, facts, report) if kind == "function" else _custom(said, path, report))
            made += cache_point(tool) or cache_point(said)
            report += unknown(tool, ("type", kind, "cache_control"), path, _NO_FIELD)
            report += unknown(said, (*tools.FIELDS[kind], "cache_control"), f"{path}.{kind}", _NO_FIELD)
        elif isinstance(system_tool := tool.get("systemTool"), dict):
            made.append({"systemTool": system_tool})
    for function, path in tools.functions(asked):
        made.append(_function(function, path, facts, report))
        report += unknown(function, tools.FIELDS["function"], path, _NO_FIELD)
    return made


def _spec(name: str, schema: Json, description: object = None, *, strict: bool = False) -> Json:
    made: Json = {"name": wire_name(name)}
    if isinstance(description, str) and description:
        made["description"] = description
    made["inputSchema"] = {"json": schema}
    return {"toolSpec": {**made, "strict": True} if strict else made}


def _function(function: Json, path: str, facts: ModelFacts, report: list[Dropped]) -> Json:
    why_not = "this model does not hold tool calls to their schemas"
    schema, strict = tools.input_schema(function, path, report, enforces=facts.strict_tools, why_not=why_not)
    return _spec(function["name"], schema, function.get("description"), strict=strict)


def _custom(custom: Json, path: str, report: list[Dropped]) -> Json:
    description, schema = tools.free_form(custom, path, report)
    return _spec(custom["name"], schema, description)


def _choose(made: Tooling, asked: Json, report: list[Dropped]) -> None:
    """`choice`; `allowed_tools` leaves only those in `tools`."""
    if not made.tools or (chosen := tools.choice(asked, report)) is None:
        return
    if (allowed := chosen.allowed) is not None:
        made.tools = [tool for tool in made.tools if "toolSpec" in tool and tool["toolSpec"]["name"] in allowed]
    made.none = chosen.kind == "none" or not made.tools
    if not made.none:
        made.choice = {chosen.kind: {"name": chosen.name} if chosen.kind == "tool" else {}}


def _add_json_tool(made: Tooling, schema: Json) -> None:
    """A tool whose input is the answer, put last; beside others, the model must call one of them all."""
    name = answer_form.tool_name([tool.get("toolSpec", {}).get("name") for tool in made.tools])
    if made.none:  # the others may not be called
        made.tools, made.none = [], False
    others = bool(made.tools)
    made.json_tool = name
    made.tools.append(_spec(name, schema, answer_form.JSON_TOOL_DESCRIPTION))
    made.choice = {"any": {}} if others else {"tool": {"name": name}}


def _check_forced(made: Tooling, endpoint: Endpoint, report: list[Dropped]) -> None:
    if not made.forced or endpoint.facts.forced_tool:
        return
    tools.give_up_forcing(endpoint, report)
    made.choice = None


def _anthropic(choice: Json | None) -> Json:
    """A ToolChoice in the words of Claude's own API."""
    match choice:
        case {"any": _}:
            return {"type": "any"}
        case {"tool": {"name": name}}:
            return {"type": "tool", "name": name}
    return {"type": "auto"}
