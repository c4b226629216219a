"""Gemini on Vertex: the Developer API's shape in Vertex's envelope (`gemini`, composed here).

What differs: the address; `metadata` becomes labels; files lie at Cloud Storage (`gs://…`) or YouTube, never with the
Files API, and must say their type; parts for calls of Google's own tools, and `includeServerSideToolInvocations`, which
asks for them, are the Developer API's alone.

Source: google-genai 3.4, models.py (`_…_to_vertex` beside `_…_to_mldev`) and _api_client.py.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from translators import gemini
from translators.errors import LLMError
from translators.exchange import Endpoint, Json, Media, UpstreamRequest
from translators.gemini import Decoder, error, media_urls, response
from translators.gemini_error import error_object
from translators.gemini_tools import VERTEX_TOOLS
from translators.json_values import encoded, piece_of
from translators.outcomes import Dropped, Outcome, Table

__all__ = ["OUTCOMES", "Decoder", "error", "media_urls", "request", "response"]

API_VERSION = "v1beta1"  # google-genai's default here
OUTCOMES: Table = {
    **gemini.OUTCOMES,
    "metadata": Outcome("translated", "labels: those of lower-case letters, digits, `_` and `-`"),
    "part:image_url": Outcome("translated", "inlineData (web addresses are fetched), or fileData for gs://", "vision"),
    "part:video_url": Outcome("translated", "inlineData, or fileData for YouTube and gs://", "video"),
    "part:file": Outcome("translated", "inlineData, or fileData for gs://"),
    "tool:file_search": Outcome("refused", "the Developer API alone has it"),
    **{f"tool:{kind}": Outcome("translated", field) for kind, field in VERTEX_TOOLS.items()},
}

MAX_LABELS = 64
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")  # docs.cloud.google.com, requirements for labels (read 2026-11)
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_DEVELOPERS_OWN = ("toolCall", "toolResponse")


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    """POST …/publishers/google/models/{model}:generateContent, or :streamGenerateContent for a stream.

    Raises LLMError("invalid_request") for what Vertex has no word for.
    """
    model = endpoint.model.removeprefix("google/")
    body, context, dropped = gemini.content_body(chat, replace(endpoint, model=model), media, remembered, OUTCOMES)
    report = list(dropped)
    body["contents"] = _contents(body.get("contents", []), report)
    body.get("toolConfig", {}).pop("includeServerSideToolInvocations", None)
    body = {name: value for name, value in body.items() if value or name == "contents"}
    if cached := body.get("cachedContent"):
        body["cachedContent"] = _cache_name(str(cached), endpoint)
    if labels := _labels(chat.get("metadata") or {}, report):
        body["labels"] = labels
    method = "streamGenerateContent?alt=sse" if chat.get("stream") else "generateContent"
    url = f"{publisher_url(endpoint, endpoint.api_version or API_VERSION, 'google')}/models/{quote(model, safe='')}"
    whole = tuple(dict.fromkeys(report))
    return UpstreamRequest(f"{url}:{method}", headers_of(endpoint), encoded(body), context, whole)


def publisher_url(endpoint: Endpoint, api_version: str, publisher: str) -> str:
    """Where a publisher's models stand; without a project (an API key's own) directly below the version."""
    place = f"/{place_of(endpoint)}" if endpoint.project else ""
    return f"{endpoint.base_url}/{api_version}{place}/publishers/{publisher}"


def headers_of(endpoint: Endpoint) -> dict[str, str]:
    """Content type, API key where there is one (a token is put in by the gateway), and the operator's own."""
    made = {"content-type": "application/json"}
    if endpoint.api_key:
        made["x-goog-api-key"] = endpoint.api_key
    return made | {name.lower(): value for name, value in endpoint.headers.items()}


def is_googles(body: bytes) -> bool:
    """Whether an error is Google's own, and not the model's within: it says a google.rpc status."""
    try:
        found = error_object(piece_of(body))
    except orjson.JSONDecodeError:
        return False
    return found is not None and isinstance(found.get("status"), str)


def place_of(endpoint: Endpoint) -> str:
    """The resource below which a project's models and caches stand."""
    location = endpoint.location or "global"
    return f"projects/{quote(endpoint.project, safe=':')}/locations/{quote(location, safe='')}"


def _cache_name(name: str, endpoint: Endpoint) -> str:
    """A cache's full name. Source: google-genai 3.4, _transformers.t_cached_content_name."""
    return name if name.startswith("projects/") else f"{place_of(endpoint)}/cachedContents/{name.rpartition('/')[2]}"


def _contents(contents: list[Json], report: list[Dropped]) -> list[Json]:
    """The turns without the parts that Vertex does not take back; files checked."""
    made = []
    for turn in contents:
        parts = [part for part in turn["parts"] if not any(key in part for key in _DEVELOPERS_OWN)]
        if len(parts) < len(turn["parts"]):
            report.append(Dropped("messages[].server_tool_blocks", "Vertex takes no calls of Google's own tools back"))
        for part in parts:
            if "fileData" in part:
                _check_file(part["fileData"])
        if parts:
            made.append({**turn, "parts": parts})
    return made


def _check_file(file: Json) -> None:
    uri = file["fileUri"]
    if "/v1beta/files/" in urlsplit(uri).path:
        raise LLMError(
            "invalid_request", f"Vertex cannot read {uri}: upload the file to Cloud Storage", param="messages"
        )
    if "mimeType" not in file:  # types.FileData.mime_type: required
        told = f"The type of {uri} is unknown: give a `filename` with an ending that tells it"
        raise LLMError("invalid_request", told, param="messages")


def _labels(metadata: Json, report: list[Dropped]) -> Json:
    labels: Json = {}
    for name, value in metadata.items():
        if len(labels) < MAX_LABELS and _LABEL.fullmatch(name) and _LABEL_VALUE.fullmatch(str(value)):
            labels[name] = str(value)
        else:
            report.append(Dropped(f"metadata.{name}", "a label has lower-case letters, digits, _ and -, at most 63"))
    return labels
