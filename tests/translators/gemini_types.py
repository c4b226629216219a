"""google-genai's own types as the judge of a request's body."""

import itertools
from typing import Any

from google.genai import types

_BESIDE = ("systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent", "serviceTier")


def assert_valid(body: dict[str, Any]) -> None:
    """Every key of `body` is one of the SDK's, at its place on the wire (models.py, `_…_to_mldev`), its value valid."""
    assert set(body) <= {"contents", "generationConfig", *_BESIDE}
    for content in body["contents"]:
        assert content["role"] in ("user", "model")
        assert content["parts"]
        types.Content.model_validate(content)
    roles = [content["role"] for content in body["contents"]]
    assert all(one != other for one, other in itertools.pairwise(roles)), roles
    config = {**body.get("generationConfig", {}), **{key: body[key] for key in _BESIDE if key in body}}
    types.GenerateContentConfig.model_validate(config)  # it forbids what it does not know
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
