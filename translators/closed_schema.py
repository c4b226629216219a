"""A JSON schema made to fit what Claude is held to: closed objects, few keywords; the rest is told in descriptions.

Source: anthropic 2.11, lib/_parse/_transform.py, which does the same for pydantic models.
"""

from typing import Any

import orjson

from translators.errors import LLMError

Json = dict[str, Any]

MAX_DEPTH = 100  # levels of nesting; `$ref` is never followed, so a schema that refers to itself is no cycle here

_STRING_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_SILENT = frozenset({"$schema", "$id", "$comment"})  # say nothing about the values


def enforced(schema: Json, losses: set[str], depth: int = 0) -> Json:
    """`schema` with the keywords that Anthropic enforces; the names of the others are added to `losses`.

    Raises LLMError("invalid_request") for a schema nested deeper than MAX_DEPTH.
    """
    if depth > MAX_DEPTH:
        raise LLMError("invalid_request", f"The JSON schema is nested deeper than {MAX_DEPTH} levels")
    rest = {name: value for name, value in schema.items() if name not in _SILENT}
    made: Json = {}
    definitions = {**_mapping(rest.pop("definitions", None)), **_mapping(rest.pop("$defs", None))}
    if definitions:
        made["$defs"] = {name: _inner(value, losses, depth) for name, value in definitions.items()}
    if isinstance(reference := rest.pop("$ref", None), str):
        losses.update(rest.keys() - {"title"})
        return {**made, "$ref": reference.replace("#/definitions/", "#/$defs/")}
    rest = _put_together(rest)
    kind = rest.pop("type", None)
    if isinstance(kind, list) and "enum" not in rest:
        return {**made, **_any_type(kind, rest, losses, depth)}
    made |= _literals(rest)
    kind = kind if isinstance(kind, str) else _implied_type(rest)
    if kind is not None and not made.keys() & {"enum", "const"}:
        made["type"] = kind
    made |= _combined(rest, losses, depth)
    for name in ("title", "description"):
        if isinstance(rest.get(name), str):
            made[name] = rest.pop(name)
    if kind == "object":
        made |= _object(rest, losses, depth)
    elif kind == "array":
        made |= _array(rest, losses, depth)
    elif kind == "string" and rest.get("format") in _STRING_FORMATS:
        made["format"] = rest.pop("format")
    return _told(made, rest, losses)


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _inner(value: object, losses: set[str], depth: int) -> Json:
    if isinstance(value, dict):
        return enforced(value, losses, depth + 1)
    if value is False:
        losses.add("false")
    return {}


def _any_type(kinds: list[Any], rest: Json, losses: set[str], depth: int) -> Json:
    """`{"type": ["string", "null"]}` as one variant a type; what describes the whole stays outside."""
    outside: Json = {name: rest.pop(name) for name in ("title", "description") if name in rest}
    variants = [{"type": kind} if kind == "null" else {**rest, "type": kind} for kind in kinds]
    return {"anyOf": [_inner(variant, losses, depth) for variant in variants], **outside}


def _literals(rest: Json) -> Json:
    made: Json = {}
    values = rest.get("enum")
    if isinstance(values, list) and values and all(_is_primitive(value) for value in values):
        made["enum"] = rest.pop("enum")
    if "const" in rest and _is_primitive(rest["const"]):
        made["const"] = rest.pop("const")
    return made


def _is_primitive(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _implied_type(rest: Json) -> str | None:
    if "properties" in rest:
        return "object"
    return "array" if "items" in rest else None


def _combined(rest: Json, losses: set[str], depth: int) -> Json:
    for name, becomes in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if isinstance(variants := rest.get(name), list):
            del rest[name]
            closed = any(_mapping(variant).keys() & {"properties", "$ref"} for variant in variants)
            if closed and ("properties" in rest or (name == "allOf" and len(variants) > 1)):
                losses.add(name)  # each is closed by itself, and so forbids what the others want
            return {becomes: [_inner(variant, losses, depth) for variant in variants]}
    return {}


_OBJECT = frozenset({"type", "properties", "required", "title"})


def _put_together(schema: Json) -> Json:
    """`schema` with the objects of its `allOf` in it, where no two of them describe the same property otherwise."""
    parts = schema.get("allOf")
    if not isinstance(parts, list) or not parts or schema.get("additionalProperties") is False:
        return schema
    if not all(isinstance(part, dict) and "properties" in part and part.keys() <= _OBJECT for part in parts):
        return schema
    properties, required = dict[str, Any](), dict[str, None]()
    for part in (schema, *parts):
        names, more = part.get("required", []), _mapping(part.get("properties"))
        if part.get("type", "object") != "object" or not _are_names(names):
            return schema
        if any(properties[name] != more[name] for name in properties.keys() & more.keys()):
            return schema
        properties |= more
        required |= dict.fromkeys(names)
    made = {name: value for name, value in schema.items() if name != "allOf"}
    made |= {"type": "object", "properties": properties}
    return made | ({"required": list(required)} if required else {})


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _object(rest: Json, losses: set[str], depth: int) -> Json:
    free = "properties" not in rest  # any object would do, and closed it is an empty one
    properties = _mapping(rest.pop("properties", None))
    if rest.pop("additionalProperties", free) is not False:
        losses.add("additionalProperties")
    made: Json = {
        "properties": {name: _inner(value, losses, depth) for name, value in properties.items()},
        "additionalProperties": False,
    }
    if isinstance(rest.get("required"), list):
        made["required"] = rest.pop("required")
    return made


def _array(rest: Json, losses: set[str], depth: int) -> Json:
    made: Json = {}
    if isinstance(rest.get("items"), dict):
        made["items"] = _inner(rest.pop("items"), losses, depth)
    if rest.get("minItems") in (0, 1):
        made["minItems"] = rest.pop("minItems")
    return made


def _told(made: Json, rest: Json, losses: set[str]) -> Json:
    """What cannot be enforced goes into the description, so that the model may still follow it."""
    if not rest:
        return made
    losses.update(rest)
    told = "{" + ", ".join(f"{name}: {orjson.dumps(value).decode()}" for name, value in rest.items()) + "}"
    before = made.get("description")
    return {**made, "description": f"{before}\n\n{told}" if before else told}


def tool_input(parameters: Json | None, losses: set[str]) -> Json:
    """The schema of a tool that is not strict: an object at the top, without anyOf, oneOf or allOf there.

    Properties of top-level variants are put together; what was required of one variant only is no longer.
    Source: the API's own refusals (recorded: "input_schema.type: Input should be 'object'").
    """
    schema = {"type": "object", "properties": {}} if not parameters else {**parameters, "type": "object"}
    for name in ("anyOf", "oneOf", "allOf"):
        variants = schema.pop(name, None)
        if variants is None:
            continue
        losses.add(name)
        for variant in variants if isinstance(variants, list) else ():
            schema["properties"] = {
                **_mapping(_mapping(variant).get("properties")),
                **_mapping(schema.get("properties")),
            }
    return schema
