"""Gemini in Vertex's envelope; what the two Geminis share is tested with `gemini`."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.replay import recordings
from tests.translators.vertex_types import assert_valid
from translators import gemini, vertex
from translators.errors import LLMError
from translators.exchange import Endpoint, Media, ModelFacts, UpstreamRequest

Json = dict[str, Any]
LEVEL = ModelFacts(thinking="level", efforts=("low", "high"), thinking_always=True, audio=True, video=True)
ENDPOINT = Endpoint("vertex", "https://host", None, "gemini-3.8-flash", LEVEL, project="acme", location="europe-west4")
HELLO: Json = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}
WEATHER: Json = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PLACE = "https://host/v1beta1/projects/acme/locations/europe-west4/publishers/google/models"


def sent(endpoint: Endpoint = ENDPOINT, media: dict[str, Media] | None = None, **asked: Any) -> UpstreamRequest:
    made = vertex.request({**HELLO, **asked}, endpoint, media or {}, {})
    assert_valid(json.loads(made.body))
    return made


def body(endpoint: Endpoint = ENDPOINT, **asked: Any) -> Json:
    found: Json = json.loads(sent(endpoint, **asked).body)
    return found


def user(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def test_the_address_names_project_location_and_publisher() -> None:
    assert sent().url == f"{PLACE}/gemini-3.8-flash:generateContent"
    assert sent(stream=True).url == f"{PLACE}/gemini-3.8-flash:streamGenerateContent?alt=sse"
    assert sent(replace(ENDPOINT, model="google/gemini-3.8-flash")).url == sent().url
    assert "/v1/projects/" in sent(replace(ENDPOINT, api_version="v1")).url
    assert "/locations/global/" in sent(replace(ENDPOINT, location="")).url


def test_the_recorded_addresses_are_the_ones_we_make() -> None:
    rows = [*recordings("vertex.generateContent").values(), *recordings("vertex.streamGenerateContent").values()]
    for row in (row for row in rows if row["request"]):
        url = row["request"]["url"].partition("?")[0]
        host, version, _, project, _, location = url.removeprefix("https://").split("/")[:6]
        endpoint = replace(ENDPOINT, base_url=f"https://{host}", project=project, location=location)
        endpoint = replace(endpoint, api_version=version, model=url.rpartition("/")[2].partition(":")[0])
        assert sent(endpoint, stream=row["stream"]).url.partition("?")[0] == url


def test_an_api_key_needs_no_project_and_goes_into_its_header() -> None:
    made = sent(replace(ENDPOINT, api_key="secret", project="", headers={"X-Own": "1"}))
    assert made.url == "https://host/v1beta1/publishers/google/models/gemini-3.8-flash:generateContent"
    assert made.headers == {"content-type": "application/json", "x-goog-api-key": "secret", "x-own": "1"}
    assert "authorization" not in sent().headers


def test_a_name_cannot_lead_elsewhere() -> None:
    assert sent(replace(ENDPOINT, model="../../x?y=#")).url == f"{PLACE}/..%2F..%2Fx%3Fy%3D%23:generateContent"


def test_the_body_is_the_developer_apis_where_nothing_differs() -> None:
    chat: Json = {
        **HELLO,
        "tools": [WEATHER],
        "reasoning_effort": "low",
        "service_tier": "flex",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    }
    assert body(**chat) == json.loads(gemini.request(chat, ENDPOINT, {}, {}).body)


def test_metadata_becomes_labels_and_what_is_no_label_is_reported() -> None:
    made = sent(metadata={"team": "blue-1", "Team": "x", "note": "Two words"})
    assert json.loads(made.body)["labels"] == {"team": "blue-1"}
    assert [each.feature for each in made.dropped] == ["metadata.Team", "metadata.note"]
    assert "labels" not in body(metadata={})


def test_functions_beside_googles_tools_need_no_flag_here() -> None:
    asked = body(tools=[WEATHER, {"type": "google_search"}])
    assert [list(tool) for tool in asked["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert "toolConfig" not in asked
    forced = body(tools=[WEATHER, {"type": "google_search"}], tool_choice="required")
    assert forced["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


def test_vertex_has_tools_of_its_own_and_lacks_one() -> None:
    assert body(tools=[{"type": "enterprise_web_search"}])["tools"] == [{"enterpriseWebSearch": {}}]
    with pytest.raises(LLMError, match="file_search"):
        sent(tools=[{"type": "file_search", "file_search": {"fileSearchStoreNames": ["s"]}}])
    with pytest.raises(LLMError, match="enterprise_web_search"):
        gemini.request({**HELLO, "tools": [{"type": "enterprise_web_search"}]}, ENDPOINT, {}, {})


def test_cloud_storage_is_read_where_it_lies() -> None:
    parts = body(**user({"type": "image_url", "image_url": {"url": "gs://b/cat.png"}}))["contents"][0]["parts"]
    assert parts == [{"fileData": {"fileUri": "gs://b/cat.png", "mimeType": "image/png"}}]
    named = {"type": "file", "file": {"file_id": "gs://b/1", "filename": "a.pdf"}}
    assert body(**user(named))["contents"][0]["parts"][0]["fileData"]["mimeType"] == "application/pdf"
    assert vertex.media_urls({**HELLO, **user(named)}, ENDPOINT) == ()


def test_a_web_address_is_fetched_first() -> None:
    url = "https://example.com/cat.png"
    chat = {**HELLO, **user({"type": "image_url", "image_url": {"url": url}})}
    assert vertex.media_urls(chat, ENDPOINT) == (url,)
    made = vertex.request(chat, ENDPOINT, {url: Media("image/png", b"\x89PNG\r\n\x1a\n")}, {})
    assert json.loads(made.body)["contents"][0]["parts"][0]["inlineData"]["mimeType"] == "image/png"


@pytest.mark.parametrize(
    ("file", "told"),
    [({"file_id": "gs://b/1"}, "filename"), ({"file_id": "files/abc"}, "Cloud Storage")],
    ids=["of no type", "the Files API's"],
)
def test_a_file_that_vertex_cannot_read_is_refused(file: Json, told: str) -> None:
    with pytest.raises(LLMError, match=told) as refused:
        sent(**user({"type": "file", "file": file}))
    assert refused.value.status == 400


def test_calls_of_the_developer_apis_tools_are_left_out_and_reported() -> None:
    said = {"role": "assistant", "content": "Sunny.", "server_tool_blocks": [{"toolCall": {"id": "1"}}]}
    made = sent(messages=[*HELLO["messages"], said, *HELLO["messages"]])
    assert json.loads(made.body)["contents"][1]["parts"] == [{"text": "Sunny."}]
    assert [each.feature for each in made.dropped] == ["messages[].server_tool_blocks"]


def test_a_cache_is_named_in_full() -> None:
    whole = "projects/acme/locations/europe-west4/cachedContents/7"
    for name in ("7", "cachedContents/7", whole):
        assert body(cached_content=name)["cachedContent"] == whole


def test_instructions_alone_are_said_by_the_user() -> None:
    assert body(messages=[{"role": "system", "content": "hi"}])["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}]}
    ]
