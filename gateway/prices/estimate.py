"""How many tokens a request can come to, for the hold; and how many it probably came to, where a provider never said.

A token is at least one byte of UTF-8, so the bytes of a body bound its text, whatever the tokenizer.
"""

from collections.abc import Iterator

import orjson

from translators import cache_marks, media, recall
from translators.exchange import Json, ModelFacts
from translators.gemini_tools import allowed_server_tools
from translators.json_values import objects_of

MESSAGE_TOKENS = 16  # what a provider wraps around each message
SYSTEM_TOKENS = 1024  # the instructions that a provider adds for tools or a response format, one each
# The most that one image comes to: gpt-4o-mini's eight tiles at 5,667 tokens and 2,833 more, the dearest of OpenAI's
# counting rules (platform.openai.com/docs, images and vision); Claude stays below 5,000, Gemini below 2,500 an image.
IMAGE_TOKENS = 50_000
# Gemini counts 32 tokens a second (ai.google.dev, audio understanding), OpenAI fewer; the thinnest MP3 has 1,000 bytes.
AUDIO_BYTES_PER_TOKEN = 16
# Where a model's context is not known: the longest of any model of OpenAI, Anthropic and Google in models.yaml.
CONTEXT_TOKENS = 2_097_152
SEARCHES = 20  # server-side searches in one answer, unless the request itself sets a limit; more is an overrun

# Guesses, for bills that are marked as estimated.
BYTES_PER_TOKEN = 4  # of English text and of code; a character outside ASCII is about one token
IMAGE_GUESS_TOKENS = 1_500
MEDIA_BYTES_PER_TOKEN_GUESS = 25  # a page of PDF: some 50 kB and 2,000 tokens
AUDIO_BYTES_PER_TOKEN_GUESS = 500

_CLIENT_TOOLS = ("function", "custom")
_GOOGLES = ("gemini", "vertex")  # take any kind of media as a file, or in an image's place


# Parameters that bring more than the text of messages, or are about another kind of answer or price.
_BEYOND_TEXT = frozenset(
    {"tools", "functions", "response_format", "web_search_options", "plugins", "prediction", "modalities"}
    | {"cache_control", "prompt_cache_options", "cached_content", "extra_body", "inference_geo"}
)
_BEYOND_CONTENT = frozenset({"audio", "images", "tool_calls", "cache_control", "prompt_cache_breakpoint"})


def text_alone(chat: Json) -> bool:
    """Whether `chat` is surely no more than text, for text: no parts, tools, predictions or marks for a cache."""
    if not _BEYOND_TEXT.isdisjoint(chat):
        return False
    for message in chat["messages"]:
        if type(message.get("content")) is not str:
            return False
        if len(message) > 2 and not _BEYOND_CONTENT.isdisjoint(message):
            return False
    return True


def text_bound(chat: Json, body_bytes: int, facts: ModelFacts) -> int:
    """`input_bound` of what is known to be `text_alone`."""
    tokens = body_bytes + MESSAGE_TOKENS * len(chat["messages"])
    most = facts.max_input_tokens or CONTEXT_TOKENS
    return tokens if tokens < most else most


def input_bound(chat: Json, body_bytes: int, facts: ModelFacts) -> int:
    """The most prompt tokens that `chat` can come to, its body being `body_bytes` long; at most the model's context.

    Images count by IMAGE_TOKENS, audio by its length; what has no bound of its own (files, video, media by id, a prompt
    that the provider keeps, server tools that read pages into the prompt) counts as the whole context.
    """
    if text_alone(chat):
        return text_bound(chat, body_bytes, facts)
    context = facts.max_input_tokens or CONTEXT_TOKENS
    if _server_tools(chat) or _is_kept(chat) or any(message.get("audio") for message in chat["messages"]):
        return context
    tokens = body_bytes + MESSAGE_TOKENS * len(chat["messages"])
    tokens += SYSTEM_TOKENS * sum(bool(chat.get(name)) for name in ("tools", "functions", "response_format"))
    for part in _all_parts(chat):
        kind = part.get("type")
        if kind == "image_url":
            url = _url_of(part)
            if not media.is_image(url):
                return context
            tokens += IMAGE_TOKENS - (len(url) if url.startswith("data:") else 0)
        elif kind == "input_audio":
            encoded = len(part["input_audio"]["data"])
            tokens += encoded // AUDIO_BYTES_PER_TOKEN - encoded
        elif kind not in ("text", "refusal") and not _is_text(part):
            return context
    return min(tokens, context)


def _all_parts(chat: Json) -> Iterator[Json]:
    """Those of the content, and the images of earlier answers, which go back as they came."""
    for part, _ in media.parts(chat):
        yield part
    for message in chat["messages"]:
        for image in objects_of(message, "images"):
            yield {**image, "type": "image_url"}


def _url_of(part: Json) -> str:
    """An image part's address; "" where an answer's image has none."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    return url if isinstance(url, str) else ""


def _is_kept(chat: Json) -> bool:
    """Whether a prompt of any length comes before this one, kept by the provider (Gemini's `cachedContent`)."""
    extra = chat.get("extra_body")
    google = extra.get("google") if isinstance(extra, dict) else None
    return bool(chat.get("cached_content") or (isinstance(google, dict) and google.get("cached_content")))


def _is_text(part: Json) -> bool:
    file = part.get("file") or {}
    data = file.get("file_data")
    return isinstance(data, str) and data.startswith("data:text/") and not file.get("file_id")


def _server_tools(chat: Json) -> bool:
    if chat.get("web_search_options") is not None:
        return True
    return any(tool["type"] not in _CLIENT_TOOLS for tool in chat.get("tools") or ())


def offered(chat: Json, dialect: str) -> Json:
    """`chat` without the server tools that its `tool_choice` bars, in the dialects that leave those out."""
    if dialect not in _GOOGLES or (allowed := allowed_server_tools(chat)) is None:
        return chat
    kept = [tool for tool in chat.get("tools") or () if tool["type"] in _CLIENT_TOOLS or tool["type"] in allowed]
    searches = chat.get("web_search_options") if "google_search" in allowed else None
    return {**chat, "tools": kept, "web_search_options": searches}


def search_bound(chat: Json) -> int:
    """The most server-side searches that an answer to `chat` is held for; 0 when it has no such tool."""
    tools = [tool for tool in chat.get("tools") or () if tool["type"] not in _CLIENT_TOOLS and "search" in tool["type"]]
    named = [use for tool in tools if isinstance(use := tool.get("max_uses"), int) and use > 0]
    unnamed = len(tools) - len(named) + (chat.get("web_search_options") is not None) + _plugged(chat)
    return sum(named) + (SEARCHES if unnamed else 0)


def map_search_bound(chat: Json) -> int:
    """The most answers grounded in a map that one to `chat` counts as (Gemini's google_maps); 0 without that tool."""
    return int(any(tool["type"] == "google_maps" for tool in chat.get("tools") or ()))


def _plugged(chat: Json) -> int:
    """OpenRouter's searching plugins."""
    plugins = chat.get("plugins")
    named = [each for each in plugins if isinstance(each, dict)] if isinstance(plugins, list) else []
    return sum(each.get("id") == "web" for each in named)


# Extension parameters by which hosts search, sample or route at the caller's expense: xAI's and Perplexity's search,
# OpenRouter's models, preset and route (openrouter.ai/docs, api-reference), vLLM's best_of, Bedrock's dearer
# latency (botocore 1.44, PerformanceConfiguration).
UNBOUNDED = dict.fromkeys(
    ("best_of", "data_sources", "models", "performanceConfig", "preset", "route", "search_parameters")
)
# How the makers on Bedrock call an answer's length or number, and what searches, beside what Converse itself says
# (docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html). Whether it heeds these is not known.
_OWN_WORDS = "additionalModelRequestFields"
_LENGTHS = frozenset(
    {"max_tokens", "max_tokens_to_sample", "max_completion_tokens", "maxTokens", "max_gen_len", "textGenerationConfig"}
    | {"inferenceConfig", "n", "num_generations", "numResults", "tools"}
)


def unbounded(chat: Json) -> str | None:
    """The first parameter of `chat` whose cost nothing bounds, or which names another model to be paid for."""
    plugins = chat.get("plugins")
    if plugins and not (isinstance(plugins, list) and len(plugins) == _plugged(chat)):
        return "plugins"
    own = chat.get(_OWN_WORDS)
    if isinstance(own, dict) and not _LENGTHS.isdisjoint(own):
        return _OWN_WORDS
    if UNBOUNDED.keys().isdisjoint(chat):
        return None
    return next((name for name in UNBOUNDED if chat.get(name)), None)


def prediction_bound(chat: Json) -> int:
    """The most tokens of a predicted output that can be rejected (openai 3.52, `rejected_prediction_tokens`)."""
    return len(orjson.dumps(chat["prediction"])) if chat.get("prediction") else 0


def special_rates(chat: Json, dialect: str) -> frozenset[str]:
    """The rates beyond text's that `chat` may need in this dialect, by their names in pricing.yaml."""
    wanted = {f"{kind}_output" for kind in chat.get("modalities") or () if kind in ("audio", "image")}
    for part in _all_parts(chat):
        kind = part.get("type")
        if kind == "image_url":
            wanted.add("image_input")
        if kind in ("input_audio", "video_url") or (dialect in _GOOGLES and _may_sound(part)):
            wanted.add("audio_input")
    if _asks_for_an_hour(chat, dialect in _KEEPING):
        wanted.add("cache_write_1h")
    return frozenset(wanted)


_KEEPING = ("anthropic", "vertex_anthropic", "bedrock")  # read OpenAI's marks too; any `ttl` of theirs is an hour


def _may_sound(part: Json) -> bool:
    """Whether a file, or what stands in an image's place, may be sound or a video."""
    match part:
        case {"type": "image_url"}:
            url = _url_of(part)
            mime = "image/" if media.is_image(url) else media.told_mime(url)
        case {"type": "file", "file": file}:
            data, name = file.get("file_data"), str(file.get("filename") or "")
            mime = media.told_mime(data) if isinstance(data, str) and data[:5] in _ADDRESSES else None
            if mime in (None, "application/octet-stream"):
                mime = media.mime_of(name) or media.mime_of(str(file.get("file_id") or ""))
            if mime is None and isinstance(data, str) and data[:5] not in _ADDRESSES:
                return False  # bytes under no name are a PDF or text
        case _:
            return False
    return mime is None or mime.startswith(("audio/", "video/"))


_ADDRESSES = ("data:", "http:", "https", "gs://")


def _asks_for_an_hour(chat: Json, both: bool) -> bool:
    """Whether a cache is to keep anything for an hour. `both`: OpenAI's marks count as Anthropic's own do."""
    for holder in (chat, *cache_marks.markable(chat)):
        control, point = holder.get("cache_control"), holder.get("prompt_cache_breakpoint")
        if isinstance(control, dict) and control.get("ttl") == "1h":
            return True
        if both and isinstance(point, dict) and point.get("ttl"):
            return True
    return both and bool((chat.get("prompt_cache_options") or {}).get("ttl"))


def text_estimate(text_bytes: int) -> int:
    """About how many tokens so many bytes of UTF-8 are, where the text itself is gone."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def prompt_estimate(chat: Json, plain: bool = False) -> int:
    """About how many tokens the prompt of `chat` is. `plain`: it is known to be `text_alone`."""
    tokens = 0
    for message in chat["messages"]:
        content = message.get("content")
        tokens += MESSAGE_TOKENS // 4
        if not isinstance(content, str):
            tokens += _tokens_in(recall.text_of(content))
        elif content.isascii():
            tokens += -(-len(content) // BYTES_PER_TOKEN)
        else:
            tokens += _tokens_in(content)
        if "tool_calls" in message:
            for call in message["tool_calls"] or ():
                tokens += text_estimate(len(orjson.dumps(call)))
    if plain:
        return tokens
    for name in ("tools", "functions", "response_format"):
        if chat.get(name):
            tokens += text_estimate(len(orjson.dumps(chat[name])))
    return tokens + sum(_media_estimate(part) for part in _all_parts(chat))


def _tokens_in(text: str) -> int:
    if text.isascii():
        return text_estimate(len(text))
    ascii_bytes = len(text.encode("ascii", "ignore"))
    return text_estimate(ascii_bytes) + len(text) - ascii_bytes


def _media_estimate(part: Json) -> int:
    match part:
        case {"type": "image_url"}:
            return IMAGE_GUESS_TOKENS
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return len(data) // AUDIO_BYTES_PER_TOKEN_GUESS
        case {"type": "file", "file": {"file_data": str(data)}}:
            return len(data) // MEDIA_BYTES_PER_TOKEN_GUESS
    return 0
