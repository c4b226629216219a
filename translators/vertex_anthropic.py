"""Claude on Vertex: Anthropic's Messages in Vertex's envelope (`anthropic`, composed here).

The model stands in the URL, the version in the body. Images and documents are inline: their addresses are fetched
first. Of Anthropic's server tools there is web search, in its first form; there are no files, containers or tiers.

Sources: anthropic 2.11, lib/vertex/_client.py; platform.claude.com, vision (Google managed: base64 alone) and
docs.cloud.google.com, partner-models/claude/web-search (both read 2026-11).
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from translators import anthropic, vertex
from translators import media as media_types
from translators.anthropic import Decoder, response
from translators.anthropic_messages import inline
from translators.errors import LLMError
from translators.exchange import Endpoint, Json, Media, ModelFacts, UpstreamRequest
from translators.json_values import encoded
from translators.outcomes import Dropped, Outcome, Table
from translators.vertex import headers_of, is_googles, publisher_url

__all__ = ["OUTCOMES", "Decoder", "error", "media_urls", "request", "response"]

API_VERSION = "v1"
ANTHROPIC_VERSION = "vertex-2023-10-16"
WEB_SEARCH, SEARCH_BETA = "web_search_20250305", "web-search-2025-03-05"
NOT_HERE = ("code_execution_", "web_fetch_", "web_search_2026", "browser_toolset_", "computer_toolset_")

OUTCOMES: Table = {
    **anthropic.OUTCOMES,
    "service_tier": Outcome("dropped", "Vertex has no tiers for Claude"),
    "inference_geo": Outcome("dropped", "the provider's location decides"),
    "container": Outcome("refused", "Vertex runs no code"),
    "web_search_options": Outcome("translated", f"the server tool {WEB_SEARCH}"),
    "part:image_url": Outcome("translated", "image, inline (web addresses are fetched)", "vision"),
    "part:file": Outcome("translated", "document: PDF or text, inline (web addresses are fetched)"),
    **{
        f"tool:{kind}": Outcome("refused", "Vertex does not run this tool")
        for kind in anthropic.OWN_TOOLS
        if kind.startswith(NOT_HERE)
    },
}


def media_urls(chat: Json, endpoint: Endpoint) -> tuple[str, ...]:
    """The web addresses of `chat` to be fetched first."""
    return tuple(dict.fromkeys(_addresses(chat, endpoint)))


def _addresses(chat: Json, endpoint: Endpoint) -> Iterator[str]:
    for part, _ in media_types.parts(chat):
        uri: Any = None
        if part["type"] == "image_url" and endpoint.facts.vision:
            uri = part["image_url"]["url"]
        elif part["type"] == "file":
            uri = part["file"].get("file_data")
        if isinstance(uri, str) and uri.startswith(("http://", "https://")):
            yield uri


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    """POST …/publishers/anthropic/models/{model}:rawPredict, or :streamRawPredict for a stream.

    Raises LLMError("invalid_request") for what would change the meaning.
    """
    model = endpoint.model.removeprefix("anthropic/")
    told, context, dropped = anthropic.messages_body(chat, replace(endpoint, model=model), remembered, OUTCOMES)
    del told["model"]
    if anthropic.betas(told):
        raise LLMError("invalid_request", "Vertex keeps no files: send the file itself", param="messages")
    report = list(dropped)
    body: Json = {"anthropic_version": ANTHROPIC_VERSION, **told}
    headers = headers_of(endpoint)
    if tools := [_tool(tool, report) for tool in told.get("tools") or ()]:
        body["tools"] = tools
    if any(tool.get("type") == WEB_SEARCH for tool in tools):
        own = headers.get("anthropic-beta")
        headers["anthropic-beta"] = f"{SEARCH_BETA},{own}" if own else SEARCH_BETA
    body["messages"] = [
        {**turn, "content": [_inline(block, media, endpoint.facts) for block in turn["content"]]}
        for turn in told["messages"]
    ]
    method = "streamRawPredict" if chat.get("stream") else "rawPredict"
    version = endpoint.api_version or API_VERSION
    url = f"{publisher_url(endpoint, version, 'anthropic')}/models/{quote(model, safe='@')}:{method}"
    return UpstreamRequest(url, headers, encoded(body), context, tuple(dict.fromkeys(report)))


def error(status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """Google's refusal by its google.rpc status, Claude's by Anthropic's type."""
    return (vertex.error if is_googles(body) else anthropic.error)(status, headers, body)


def _tool(tool: Json, report: list[Dropped]) -> Json:
    """The search that `web_search_options` asks for, in the form that there is here; every other tool as it is."""
    if tool.get("type") != anthropic.WEB_SEARCH:
        return tool
    return {name: value for name, value in tool.items() if name != "allowed_callers"} | {"type": WEB_SEARCH}


def _inline(block: Json, media: Mapping[str, Media], facts: ModelFacts) -> Json:
    """`block` with what it and a tool result within it name by URL put in place of the URL."""
    inner = block.get("content")
    if isinstance(inner, list):
        return {**block, "content": [_inline(each, media, facts) for each in inner]}
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") != "url":
        return block
    url = source["url"]
    found = media.get(url)
    if found is None:
        raise LLMError("invalid_request", f"{url} could not be fetched", param="messages", code="invalid_image_url")
    mime = "application/pdf" if found.data.startswith(b"%PDF") else found.mime.partition(";")[0].strip()
    made = inline(mime, base64.b64encode(found.data).decode(), found.data, url, facts)
    if made["type"] == block["type"]:
        return {**block, **made}
    if block["type"] == "image":
        raise LLMError("invalid_request", f"{url} is not an image", param="messages", code="invalid_image_url")
    return {name: value for name, value in block.items() if name == "cache_control"} | made
