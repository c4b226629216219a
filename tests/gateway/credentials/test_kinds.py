"""Providers that need more than a key: a gateway in front of Vertex, its tokens from a server of the test."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.credentials.test_google import user
from tests.replay import Reply, Request, Upstream, json_reply, recorded, recording
from tests.running import Running, configured

ROUTES = """
providers:
  vertex: {{dialect: vertex, project: acme, location: us-east5, base_url: "{url}", credentials: "{file}"}}
  express: {{dialect: vertex, api_key: k-1, base_url: "{url}"}}
  static: {{dialect: vertex, project: acme, base_url: "{url}", headers: {{Authorization: Bearer mine}}}}
  other: {{dialect: openai, base_url: "{url}/v1", api_key: k-2}}
routes:
  safe: {{targets: [{{model: vertex/gemini-3.8-flash}}], fallback: [other/o]}}
"""
PRICES = "unpriced: allow\nmodels: {demo: {input: 1, output: 1}}\n"
PUBLISHERS = "/projects/acme/locations/us-east5/publishers"
GEMINI = recording("vertex.generateContent", "a383dffebcf7")
STREAM = recording("vertex.streamGenerateContent", "852a984e9da7")
CLAUDE = recording("vertex.anthropic.streamRawPredict", "9865ac51c1ee")
OPENAI = recording("openai.chat", "ee0d8ce82eb3")


class Google:
    """Token server and Vertex in one: `tokens` False refuses every token."""

    def __init__(self) -> None:
        self.tokens = True
        self.upstream = Upstream()
        self.upstream.handler = self.reply

    def reply(self, request: Request) -> Reply:
        if request.path == "/token":
            return json_reply(200, {"access_token": "t-1", "expires_in": 3600}) if self.tokens else json_reply(400, {})
        if "/publishers/anthropic/" in request.path:
            return recorded(CLAUDE)
        if "streamGenerateContent" in request.path:
            return recorded(STREAM)
        return recorded(GEMINI if "generateContent" in request.path else OPENAI)

    @property
    def asked(self) -> list[Request]:
        return [request for request in self.upstream.requests if request.path != "/token"]


@pytest.fixture
def google() -> Iterator[Google]:
    made = Google()
    with made.upstream:
        yield made


@pytest.fixture
def gateway(google: Google, tmp_path: Path) -> Iterator[Running]:
    file = user(tmp_path, google.upstream.url)
    with configured(
        ROUTES.format(url=google.upstream.url, file=file), PRICES, {"HEADGATE_DATA": str(tmp_path / "h.db")}, tmp_path
    ) as running:
        yield running


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def test_gemini_and_claude_are_asked_with_one_token_each_in_its_own_shape(gateway: Running, google: Google) -> None:
    key = gateway.new_key()
    answer = gateway.chat(key, chat("vertex/gemini-3.8-flash"))
    assert answer.status_code == 200, answer.text
    stream = gateway.chat(key, chat("vertex/claude-haiku-4-5@20251001", stream=True))
    assert stream.status_code == 200 and stream.text.endswith("data: [DONE]\n\n"), stream.text
    gemini, claude = google.asked
    assert gemini.path == f"/v1beta1{PUBLISHERS}/google/models/gemini-3.8-flash:generateContent"
    assert claude.path == f"/v1{PUBLISHERS}/anthropic/models/claude-haiku-4-5@20251001:streamRawPredict"
    assert {request.headers["authorization"] for request in google.asked} == {"Bearer t-1"}
    assert claude.json()["anthropic_version"] == "vertex-2023-10-16" and "contents" in gemini.json()
    assert len(google.upstream.requests) == 3  # the token was fetched once, when the worker started


@pytest.mark.parametrize(
    ("model", "calls"),
    [
        ("gemini-2.5-flash", [("add", {"a": 2, "b": 3}), ("multiply", {"a": 2, "b": 3})]),
        (
            "claude-haiku-4-5@20251001",
            [("structured_output", {"name": "Alex Johnson", "age": 32, "occupation": "Software Engineer"})],
        ),
    ],
    ids=["gemini", "claude"],
)
def test_openais_sdk_streams_tool_calls(
    gateway: Running, google: Google, model: str, calls: list[tuple[str, Any]]
) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key())
    with client.chat.completions.stream(
        model=f"vertex/{model}", messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    made = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]
    assert made == calls


def test_a_model_of_another_maker_is_asked_in_openais_shape(gateway: Running, google: Google) -> None:
    answer = gateway.chat(gateway.new_key(), chat("vertex/meta/llama-4"))
    assert answer.status_code == 200, answer.text
    (asked,) = google.asked
    assert asked.path == "/v1/projects/acme/locations/us-east5/endpoints/openapi/chat/completions"
    assert asked.json()["model"] == "meta/llama-4"


@pytest.mark.parametrize(
    ("provider", "header"), [("express", ("x-goog-api-key", "k-1")), ("static", ("authorization", "Bearer mine"))]
)
def test_who_has_a_key_or_a_header_of_its_own_needs_no_token(
    gateway: Running, google: Google, provider: str, header: tuple[str, str]
) -> None:
    assert gateway.chat(gateway.new_key(), chat(f"{provider}/gemini-3.8-flash")).status_code == 200
    (asked,) = google.asked
    assert asked.headers[header[0]] == header[1]
    assert len({"x-goog-api-key", "authorization"} & set(asked.headers)) == 1


def test_with_a_token_the_first_target_answers(google: Google, gateway: Running) -> None:
    assert gateway.chat(gateway.new_key(), chat("safe")).headers["x-headgate-target"] == "vertex/gemini-3.8-flash"


@pytest.fixture
def refusing(google: Google) -> Google:
    google.tokens = False
    return google


def test_where_google_refuses_the_credentials_the_next_target_answers(refusing: Google, gateway: Running) -> None:
    key = gateway.new_key()
    answer = gateway.chat(key, chat("safe"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-headgate-target"] == "other/o"
    alone = gateway.chat(key, chat("vertex/gemini-3.8-flash"))
    assert alone.status_code == 502
    assert json.loads(alone.text)["error"]["code"] == "provider_auth_failed"
    assert all("/publishers/" not in request.path for request in refusing.upstream.requests)
