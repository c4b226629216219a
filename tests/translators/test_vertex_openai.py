"""Other makers' models on Vertex: OpenAI's shape at Vertex's own address."""

import json
from dataclasses import replace
from typing import Any

from translators import vertex_openai
from translators.exchange import Endpoint

CHAT: dict[str, Any] = {"model": "x", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
ENDPOINT = Endpoint(
    "v", "https://host", None, "meta/llama-4-maas", project="p", location="us-east5", headers={"X-H": "1"}
)


def test_the_body_is_relayed_to_vertexs_openapi_endpoint_under_the_models_full_name() -> None:
    made = vertex_openai.request(CHAT, ENDPOINT, {}, {})
    assert made.url == "https://host/v1/projects/p/locations/us-east5/endpoints/openapi/chat/completions"
    assert made.headers == {"content-type": "application/json", "x-h": "1"}
    asked = json.loads(made.body)
    assert asked["model"] == "meta/llama-4-maas"
    assert asked["stream_options"] == {"include_usage": True}


def test_an_api_key_goes_where_google_looks_for_it() -> None:
    made = vertex_openai.request(CHAT, replace(ENDPOINT, api_key="k", api_version="v1beta1"), {}, {})
    assert made.headers == {"content-type": "application/json", "x-goog-api-key": "k", "x-h": "1"}
    assert made.url.startswith("https://host/v1beta1/projects/p/")


def test_google_refuses_in_its_own_words_and_the_model_in_openais() -> None:
    spent = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}
    assert vertex_openai.error(429, {}, json.dumps([spent]).encode()).kind == "rate_limit"
    assert vertex_openai.error(429, {}, json.dumps([spent]).encode()).message == "Quota exceeded"
    said = {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
    assert vertex_openai.error(400, {}, json.dumps(said).encode()).kind == "context_length"
