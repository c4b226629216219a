"""botocore's service model as the judge of a Converse request, and of whole answers."""

import base64
import itertools
import re
from functools import cache
from typing import Any

from botocore.session import Session  # type: ignore[import-untyped]
from botocore.validate import ParamValidator  # type: ignore[import-untyped]

_DOCUMENT_NAME = re.compile(r"(?!.*\s\s)[A-Za-z0-9\s\-()\[\]]{1,200}")  # the documentation of DocumentBlock


@cache
def _shape(operation: str) -> Any:
    return Session().get_service_model("bedrock-runtime").operation_model(operation).input_shape


def assert_valid(body: dict[str, Any], model: str = "m", operation: str = "Converse") -> None:
    """Every key of `body` is in the service model at its place, its value valid by type, range, enum and pattern."""
    params = {"modelId": model, **body}
    shape = _shape(operation)
    report = ParamValidator().validate(_decoded(params, shape), shape)
    assert not report.has_errors(), report.generate_report()
    _walk(params, shape, "")
    roles = [turn["role"] for turn in body["messages"]]
    assert all(one != other for one, other in itertools.pairwise(roles)), roles
    names = [block["document"]["name"] for turn in body["messages"] for block in turn["content"] if "document" in block]
    assert len(names) == len(set(names)), names
    assert all(_DOCUMENT_NAME.fullmatch(name) for name in names), names


def _decoded(value: Any, shape: Any) -> Any:
    """Blobs as bytes, which is what botocore's callers give."""
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if shape.type_name == "structure" and not shape.metadata.get("document") and isinstance(value, dict):
        known = shape.members
        return {name: _decoded(inner, known[name]) if name in known else inner for name, inner in value.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [_decoded(inner, shape.member) for inner in value]
    return value


def _walk(value: Any, shape: Any, path: str) -> None:
    """What ParamValidator leaves out: unions of one, enums, patterns, the upper bounds, empty texts."""
    if shape.type_name == "structure" and not shape.metadata.get("document"):
        if shape.metadata.get("union") or shape.name in ("ContentBlock", "Tool", "SystemContentBlock"):
            assert len(value) == 1, f"{path}: {sorted(value)}"
        for name, inner in value.items():
            _walk(inner, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for at, inner in enumerate(value):
            _walk(inner, shape.member, f"{path}[{at}]")
    elif shape.type_name == "string":
        assert not shape.enum or value in shape.enum, f"{path}: {value}"
        pattern = shape.metadata.get("pattern")
        assert not pattern or shape.name == "ConversationalModelId" or re.fullmatch(pattern, value), f"{path}: {value}"
        assert len(value) <= shape.metadata.get("max", len(value)), path
        assert value.strip() or not path.endswith(".text"), path
    elif shape.type_name in ("float", "integer"):
        assert value <= shape.metadata.get("max", value), path
