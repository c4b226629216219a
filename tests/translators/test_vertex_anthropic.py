"""Claude in Vertex's envelope; the body within is tested with `anthropic`."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.replay import recordings
from tests.translators.anthropic_types import assert_valid
from translators import anthropic, vertex_anthropic
from translators.errors import LLMError
from translators.exchange import Endpoint, Media, ModelFacts, UpstreamRequest

Json = dict[str, Any]
ENDPOINT = Endpoint(
    "v", "https://host", None, "claude-sonnet-4-5@20250929", ModelFacts(), project="p", location="us-east5"
)
HELLO: Json = {"model": "x", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
PLACE = "https://host/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929"
PNG = b"\x89PNG\r\n\x1a\n"


def sent(endpoint: Endpoint = ENDPOINT, media: dict[str, Media] | None = None, **asked: Any) -> UpstreamRequest:
    made = vertex_anthropic.request({**HELLO, **asked}, endpoint, media or {}, {})
    body = json.loads(made.body)
    assert body.pop("anthropic_version") == "vertex-2023-10-16"
    assert "model" not in body
    assert_valid({**body, "model": "m"})
    return made


def body(endpoint: Endpoint = ENDPOINT, **asked: Any) -> Json:
    found: Json = json.loads(sent(endpoint, **asked).body)
    return found


def user(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def test_the_address_names_the_model_and_the_way_of_answering() -> None:
    assert sent().url == f"{PLACE}:rawPredict"
    assert sent(stream=True).url == f"{PLACE}:streamRawPredict"
    assert body(stream=True)["stream"] is True
    assert sent(replace(ENDPOINT, model=f"anthropic/{ENDPOINT.model}")).url == sent().url
    assert sent(replace(ENDPOINT, model="a/b;c")).url.endswith("/models/a%2Fb%3Bc:rawPredict")


def test_the_recorded_addresses_are_the_ones_we_make() -> None:
    for api in ("vertex.anthropic.rawPredict", "vertex.anthropic.streamRawPredict"):
        for row in recordings(api).values():
            url = row["request"]["url"]
            host, _, path = url.partition("/v1/")
            endpoint = replace(ENDPOINT, base_url=host, project="PROJECT", location=path.split("/")[3])
            endpoint = replace(endpoint, model=path.rpartition("/")[2].partition(":")[0])
            assert sent(endpoint, stream=row["stream"]).url == url


def test_no_header_of_anthropics_is_sent_but_the_betas() -> None:
    assert sent().headers == {"content-type": "application/json"}
    own = replace(ENDPOINT, api_key="k", headers={"Anthropic-Beta": "mine"})
    assert sent(own).headers == {"content-type": "application/json", "x-goog-api-key": "k", "anthropic-beta": "mine"}
    assert sent(own, web_search_options={}).headers["anthropic-beta"] == "web-search-2025-03-05,mine"


def test_the_body_is_anthropics_own_where_nothing_differs() -> None:
    chat = {
        **HELLO,
        "temperature": 0.5,
        "stop": ["x"],
        "user": "u",
        "tools": [{"type": "bash_20250124", "name": "bash"}],
    }
    there = json.loads(anthropic.request(chat, ENDPOINT).body)
    assert {"model": ENDPOINT.model, **body(**chat)} == {**there, "anthropic_version": "vertex-2023-10-16"}


def test_web_search_is_the_one_that_vertex_has() -> None:
    asked = body(web_search_options={"user_location": {"approximate": {"city": "Rome"}}})
    assert [(tool["type"], tool["name"]) for tool in asked["tools"]] == [("web_search_20250305", "web_search")]
    assert asked["tools"][0]["user_location"]["city"] == "Rome"
    given = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    assert body(tools=[given])["tools"] == [given]
    assert "anthropic-beta" in sent(tools=[given]).headers


@pytest.mark.parametrize("kind", ["code_execution_20250825", "web_fetch_20250910", "web_search_20260318"])
def test_tools_that_vertex_does_not_run_are_refused(kind: str) -> None:
    with pytest.raises(LLMError, match=kind):
        sent(tools=[{"type": kind, "name": "t"}])


def test_a_service_tier_is_dropped_and_reported() -> None:
    made = sent(service_tier="priority")
    assert "service_tier" not in json.loads(made.body)
    assert [each.feature for each in made.dropped] == ["service_tier"]


def test_what_lies_on_the_web_is_fetched_and_put_in() -> None:
    image, paper, note = (f"https://example.com/{name}" for name in ("cat", "paper.pdf", "note.txt"))
    asked = user(
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "file", "file": {"file_data": paper}},
        {"type": "file", "file": {"file_data": note}},
    )
    assert vertex_anthropic.media_urls({**HELLO, **asked}, ENDPOINT) == (image, paper, note)
    media = {
        image: Media("application/octet-stream", PNG),
        paper: Media("application/pdf; v=1", b"%PDF"),
        note: Media("text/plain", "schön".encode()),
    }
    sources = [block["source"] for block in body(media=media, **asked)["messages"][0]["content"]]
    assert [(source["type"], source["media_type"]) for source in sources] == [
        ("base64", "image/png"),
        ("base64", "application/pdf"),
        ("text", "text/plain"),
    ]
    assert sources[2]["data"] == "schön"
    with pytest.raises(LLMError, match="could not be fetched"):
        sent(**asked)


def test_a_fetched_file_is_taken_by_what_it_is_or_refused() -> None:
    url = "https://example.com/f"
    part = {"type": "file", "file": {"file_data": url, "filename": "f"}, "cache_control": {"type": "ephemeral"}}

    def of(mime: str, data: bytes, endpoint: Endpoint = ENDPOINT) -> Json:
        found: Json = body(endpoint, media={url: Media(mime, data)}, **user(part))["messages"][0]["content"][0]
        return found

    image, text = of("application/octet-stream", PNG), of("application/json", b"{}")
    assert image["type"] == "image" and image["source"]["media_type"] == "image/png" and "title" not in image
    assert text["source"] == {"type": "text", "media_type": "text/plain", "data": "{}"} and text["title"] == "f"
    assert image["cache_control"] == text["cache_control"] == {"type": "ephemeral"}
    assert of("binary/octet-stream", b"%PDF-1")["source"]["media_type"] == "application/pdf"
    for mime, data in (("application/zip", b"PK"), ("text/plain", b"\xff")):
        with pytest.raises(LLMError, match=url):
            of(mime, data)
    with pytest.raises(LLMError, match="does not read PDFs"):
        of("application/pdf", b"%PDF-1", replace(ENDPOINT, facts=ModelFacts(pdf=False)))
    with pytest.raises(LLMError, match="not an image"):
        shown = {"type": "image_url", "image_url": {"url": url}}
        sent(media={url: Media("text/plain", b"x")}, **user(shown))


def test_an_image_within_a_tool_result_is_put_in_too() -> None:
    url = "https://example.com/cat"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    messages = [*HELLO["messages"], {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    tools = [{"type": "function", "function": {"name": "f"}}]
    made = body(media={url: Media("image/png", PNG)}, messages=messages, tools=tools)
    assert made["messages"][-1]["content"][0]["content"][0]["source"]["type"] == "base64"


def test_a_file_kept_at_anthropic_is_refused() -> None:
    with pytest.raises(LLMError, match="Vertex keeps no files"):
        sent(**user({"type": "file", "file": {"file_id": "file_1"}}))


def test_google_refuses_in_its_own_words_and_claude_in_anthropics() -> None:
    policy = {"error": {"code": 400, "message": "not allowed by policy", "status": "FAILED_PRECONDITION"}}
    refused = vertex_anthropic.error(400, {}, json.dumps([policy]).encode())
    assert (refused.kind, refused.message, refused.fall_back) == ("upstream_auth", "not allowed by policy", True)
    long = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}}
    assert vertex_anthropic.error(400, {}, json.dumps(long).encode()).kind == "context_length"
    assert vertex_anthropic.error(502, {}, b"<html>").status == 502
