"""OpenAI's tools, the choice among them and their calls, as Claude's two hosts take them."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import orjson

from translators import closed_schema
from translators.errors import LLMError
from translators.exchange import Context, Endpoint
from translators.json_values import exactly, object_of, parsed
from translators.outcomes import Dropped

Json = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # Converse's ToolName too; its ToolUseId takes a little more
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def wire_name(name: str) -> str:
    """`name` as tool names and tool-call ids are accepted; a changed one ends in a hash, so that none collide."""
    if _NAME.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{_NO_NAME.sub('_', name)[:55]}_{digest}"


def context(asked: Json, endpoint: Endpoint, json_tool: str | None) -> Context:
    """What the answer's side must know of a request with these tools."""
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


# Definitions.

FIELDS = {  # that OpenAI knows of a tool of the client's
    "function": ("name", "description", "parameters", "strict"),
    "custom": ("name", "description", "format"),
}


def functions(asked: Json) -> Iterator[tuple[Json, str]]:
    """The deprecated `functions`, each with its path. Raises LLMError("invalid_request") for what is none."""
    for at, function in enumerate(asked.get("functions") or ()):
        param = f"functions[{at}]"
        if not isinstance(function.get("name"), str) or not isinstance(function.get("parameters", {}), dict):
            raise LLMError("invalid_request", f"`{param}` needs a name and parameters that are an object", param=param)
        yield function, param


def input_schema(
    function: Json, path: str, report: list[Dropped], *, enforces: bool, why_not: str
) -> tuple[Json, bool]:
    """The schema of a function's input, and whether calls are held to it: it must be strict, and the model enforce it.

    `why_not` says why `strict` is lost on a model that does not; what else is lost is in `report` too.
    """
    losses: set[str] = set()
    parameters = function.get("parameters")
    strict = bool(function.get("strict")) and enforces
    if strict:
        schema = closed_schema.enforced({"properties": {}, **(parameters or {}), "type": "object"}, losses)
    else:
        schema = closed_schema.tool_input(parameters, losses)
        if function.get("strict"):
            report.append(Dropped(f"{path}.strict", why_not))
    if losses:
        report.append(Dropped(f"{path}.parameters", f"not enforced: {', '.join(sorted(losses))}"))
    return schema, strict


def free_form(custom: Json, path: str, report: list[Dropped]) -> tuple[str, Json]:
    """Description and input schema of a custom tool, as one with a single string; `free_form_input` unwraps it."""
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
    return description, schema


# The choice among them.


class Choice(NamedTuple):
    """`tool_choice`, with names as they are on the wire."""

    kind: Literal["none", "auto", "any", "tool"]
    name: str = ""  # of the one tool that must be called
    allowed: frozenset[str] | None = None  # the only tools that may be called


def choice(asked: Json, report: list[Dropped]) -> Choice | None:
    """The client's `tool_choice`, or the deprecated `function_call`; None where it leaves that open."""
    match asked.get("tool_choice", asked.get("function_call")):
        case "none":
            return Choice("none")
        case "auto":
            return Choice("auto")
        case "required":
            return Choice("any")
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            return Choice("tool", wire_name(name))
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(allowed)}}:
            names = frozenset(wire_name(_named(tool)) for tool in allowed)
            return Choice("any" if mode == "required" else "auto", allowed=names)
        case {"name": str(name)}:
            return Choice("tool", wire_name(name))
        case None:
            return None
    report.append(Dropped("tool_choice", "of a form that is not OpenAI's"))
    return None


def _named(tool: object) -> str:
    """The name within an entry of `allowed_tools`, which is a tool's definition cut down to it."""
    if not isinstance(tool, dict):
        return ""
    inner = tool.get(tool["type"]) if isinstance(tool.get("type"), str) else None
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def give_up_forcing(endpoint: Endpoint, report: list[Dropped]) -> None:
    """For a model that cannot be made to call a tool: reported, or LLMError("invalid_request")."""
    why = "this model cannot be made to call a tool"
    if endpoint.unsupported == "refuse":
        raise LLMError("invalid_request", f"`tool_choice`: {why}", param="tool_choice", code="unsupported_parameter")
    report.append(Dropped("tool_choice", why))


# Calls.


def called(call: Json) -> tuple[str, Json]:
    """The name on the wire and the input of a call that the client sends back.

    Arguments that are no JSON object go wrapped, for a model may have cut them short.
    """
    if call.get("type") == "custom":
        return wire_name(call["custom"]["name"]), {"input": call["custom"].get("input", "")}
    return wire_name(call["function"]["name"]), _arguments(call["function"].get("arguments"))


def _arguments(text: object) -> Json:
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        found = exactly(text)
    except orjson.JSONDecodeError:
        return {"invalid_arguments": text}
    return found if isinstance(found, dict) else {"arguments": found}


def free_form_input(text: str) -> str:
    """The one string within a custom tool's input; as it stands where the model was cut short or did otherwise."""
    found = parsed(text)
    return found["input"] if isinstance(found, dict) and isinstance(found.get("input"), str) else text
