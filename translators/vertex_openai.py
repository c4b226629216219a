"""Other makers' models that Vertex serves in OpenAI's shape (`openai`, composed here): Llama, Qwen, DeepSeek, Grok, …

Their names keep the maker before the `/`: meta/llama-4-maverick-17b-128e-instruct-maas.
Source: docs.cloud.google.com, maas/call-open-model-apis (endpoints/openapi); LiteLLM 1.109.1 names them so.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from translators import openai, vertex
from translators.errors import LLMError
from translators.exchange import ENDPOINTS, Endpoint, Json, Media, UpstreamRequest
from translators.openai import OUTCOMES, Decoder, media_urls, response
from translators.vertex import headers_of, is_googles, place_of

__all__ = ["OUTCOMES", "Decoder", "error", "media_urls", "request", "response"]

API_VERSION = "v1"


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    """POST …/endpoints/openapi/chat/completions. Raises as `openai.request`."""
    return replace(openai.request(chat, _there(endpoint), media, remembered), headers=headers_of(endpoint))


@lru_cache(maxsize=ENDPOINTS)
def _there(endpoint: Endpoint) -> Endpoint:
    """`endpoint` as a host of OpenAI's shape."""
    version = endpoint.api_version or API_VERSION
    url = f"{endpoint.base_url}/{version}/{place_of(endpoint)}/endpoints/openapi"
    return replace(endpoint, base_url=url, api_key=None, api_version="")


def error(status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """Google's refusal by its google.rpc status, any other as OpenAI's."""
    return (vertex.error if is_googles(body) else openai.error)(status, headers, body)
