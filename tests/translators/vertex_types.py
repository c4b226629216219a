"""google-genai's own way to Vertex as the judge of a Gemini body: it raises for what the Developer API alone has."""

from typing import Any

from google.genai import Client, models, types

_CLIENT = Client(vertexai=True, api_key="none")._api_client
_BESIDE = {"systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent", "serviceTier", "labels"}


def assert_valid(body: dict[str, Any]) -> None:
    """Every key of `body` is one of the SDK's, at the place on the wire where the SDK itself puts it."""
    assert set(body) <= {"contents", "generationConfig"} | _BESIDE
    for content in body["contents"]:
        models._Content_to_vertex(types.Content.model_validate(content))
    config = {**body.get("generationConfig", {}), **{key: body[key] for key in _BESIDE if key in body}}
    beside: dict[str, Any] = {}
    models._GenerateContentConfig_to_vertex(_CLIENT, types.GenerateContentConfig.model_validate(config), beside)
    assert set(beside) == _BESIDE & set(body)
