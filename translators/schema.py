"""A JSON schema made fit for a provider that knows only some of its keywords; what is lost is said.

Pure and safe on cycles: `$ref`s are never followed into copies, only looked up. What has an equivalent is said with it:
`const` as a one-value `enum`, `nullable` as a type, `definitions` as `$defs`, an exclusive bound of an integer as an
inclusive one, an `allOf` of one as that one.
"""

from collections.abc import Iterator, Set
from typing import Any

from translators.errors import LLMError
from translators.outcomes import Dropped

Json = dict[str, Any]

MAX_DEPTH = 100  # of nesting; no provider takes as much, and the functions here recurse
MAX_DEFINITIONS = 500  # each may lead to each other one, and all the ways are looked at

_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS = ("properties", "$defs")
_SCHEMAS = ("items", "additionalProperties")
_WORDS = frozenset({"title", "description"})
# Words about the schema rather than about the value: to leave them out changes nothing.
_SILENT = frozenset({"$schema", "$comment", "deprecated", "examples", "example", "readOnly", "writeOnly", "strict"})


def cleaned(schema: Json, keywords: Set[str], path: str) -> tuple[Json, list[Dropped]]:
    """`schema` with `keywords` only, and one Dropped for each constraint that had to go, named `path…keyword`.

    Raises LLMError("invalid_request") for a schema nested deeper than MAX_DEPTH or with more than MAX_DEFINITIONS.
    """
    if _deeper_than(MAX_DEPTH, schema):
        raise LLMError("invalid_request", f"`{path}` is nested too deep: at most {MAX_DEPTH} levels", param=path)
    definitions = len(_dict(schema.get("$defs"))) + len(_dict(schema.get("definitions")))
    if definitions > MAX_DEFINITIONS:
        message = f"`{path}` has {definitions} definitions: at most {MAX_DEFINITIONS}"
        raise LLMError("invalid_request", message, param=path)
    dropped: list[Dropped] = []
    local = {f"#/$defs/{name}" for where in ("$defs", "definitions") for name in _dict(schema.get(where))} | {"#"}
    return _node(schema, keywords, path, local, dropped), dropped


def loosened(schema: Json, path: str) -> tuple[Json, list[Dropped]]:
    """`schema` with no required property that leads back to where it stands: no finite value could be planned for it.

    For Gemini, which unrolls a cycle only within properties that are not required.
    """
    defs = {f"#/$defs/{name}": node for name, node in _dict(schema.get("$defs")).items()}
    root = {key: value for key, value in schema.items() if key != "$defs"}
    graph = {"#": set(_refs(root))} | {name: set(_refs(node)) for name, node in defs.items()}
    dropped: list[Dropped] = []
    made = _loosened(root, "#", graph, path, dropped)
    if defs:
        made["$defs"] = {
            name.removeprefix("#/$defs/"): _loosened(node, name, graph, f"{path}.$defs", dropped)
            for name, node in defs.items()
        }
    return made, dropped


def _deeper_than(levels: int, value: object) -> bool:
    row: list[object] = [value]
    for _ in range(levels):
        row = [sub for node in row for sub in _subs(node)]
        if not row:
            return False
    return True


def _subs(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _node(node: Json, keywords: Set[str], path: str, local: Set[str], dropped: list[Dropped]) -> Json:
    node = _said_otherwise(node)
    made: Json = {}
    for key, value in node.items():
        if key in _SILENT or (key == "default" and value is None):
            continue
        if key not in keywords:
            dropped.append(Dropped(f"{path}.{key}", "this provider's schemas have no such keyword"))
        elif key == "$ref" and isinstance(value, str) and not _known(value, local):
            dropped.append(Dropped(f"{path}.{key}", "it refers to nothing within this schema"))
        elif key in _SCHEMA_MAPS and isinstance(value, dict):
            made[key] = {name: _child(sub, keywords, f"{path}.{name}", local, dropped) for name, sub in value.items()}
        elif key in _SCHEMA_LISTS and isinstance(value, list):
            made[key] = [_child(sub, keywords, f"{path}.{key}[{i}]", local, dropped) for i, sub in enumerate(value)]
        elif key in _SCHEMAS:
            made[key] = _child(value, keywords, f"{path}.{key}", local, dropped)
        else:
            made[key] = value
    return _ref_apart(made)


def _child(value: object, keywords: Set[str], path: str, local: Set[str], dropped: list[Dropped]) -> object:
    return _node(value, keywords, path, local, dropped) if isinstance(value, dict) else value


def _known(ref: str, local: Set[str]) -> bool:
    return ref in local or (ref.startswith("#/") and not ref.startswith("#/$defs/"))


def _said_otherwise(node: Json) -> Json:
    """The same schema with what has an equivalent said by it."""
    made = dict(node)
    if "definitions" in made:
        made["$defs"] = {**_dict(made.pop("definitions")), **_dict(made.get("$defs"))}
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/definitions/", "#/$defs/")
    if "const" in made:
        made["enum"] = [made.pop("const")]
    nullable = made.pop("nullable", False) is True
    if isinstance(made.get("allOf"), list) and len(made["allOf"]) == 1 and isinstance(made["allOf"][0], dict):
        only, beside = _said_otherwise(made["allOf"][0]), {key: made[key] for key in made if key != "allOf"}
        if all(key in _WORDS or only[key] == beside[key] for key in only.keys() & beside.keys()):
            made = {**only, **beside}  # else what one of them says would take the other's place
            nullable |= made.pop("nullable", False) is True
    if nullable and "type" in made:
        kinds = made["type"] if isinstance(made["type"], list) else [made["type"]]
        made["type"] = [*kinds, *(["null"] if "null" not in kinds else [])]
    if made.get("type") == "integer":
        for bound, inclusive, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            value = made.get(bound)
            if isinstance(value, int) and not isinstance(value, bool) and inclusive not in made:
                made[inclusive] = made.pop(bound) + step
    if nullable and "type" not in made and made.keys() & {"$ref", "anyOf", "oneOf", "allOf", "enum"}:
        kept = {"$defs": made.pop("$defs")} if "$defs" in made else {}  # OpenAPI 3.0 writes it beside a reference
        return {"anyOf": [made, {"type": "null"}], **kept}
    if nullable and "type" not in made and made:
        made["nullable"] = True  # no word for it here, which is then said
    return made


def _ref_apart(node: Json) -> Json:
    """A `$ref` alone in its schema, as Gemini demands; what stood beside it goes one level up."""
    if "$ref" not in node or all(key.startswith("$") for key in node):
        return node
    beside = {key: value for key, value in node.items() if key != "$ref"}
    if "anyOf" in beside:
        return node
    return {"anyOf": [{"$ref": node["$ref"]}], **beside}


def _refs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _refs(value)


def _leads_to(start: str, goal: str, graph: dict[str, set[str]]) -> bool:
    seen, todo = set[str](), [start]
    while todo:
        here = todo.pop()
        if here == goal:
            return True
        if here not in seen:
            seen.add(here)
            todo += graph.get(here, ())
    return False


def _loosened(node: Any, home: str, graph: dict[str, set[str]], path: str, dropped: list[Dropped]) -> Any:
    """`node`, which stands in the definition `home`, with its required cycles taken out of `required`."""
    if isinstance(node, list):
        return [_loosened(item, home, graph, path, dropped) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _loosened(value, home, graph, path, dropped) for key, value in node.items()}
    properties, required = made.get("properties"), made.get("required")
    if isinstance(properties, dict) and isinstance(required, list):
        cyclic = [
            name for name in required if any(_leads_to(ref, home, graph) for ref in _refs(properties.get(str(name))))
        ]
        if cyclic:
            made["required"] = [name for name in required if name not in cyclic]
            dropped += [Dropped(f"{path}.required[{name}]", "a cycle must be optional here") for name in cyclic]
    return made
