"""Gemini's Developer API: generateContent and streamGenerateContent.

The request's side is here, with gemini_turns (messages) and gemini_tools; the answer's is gemini_answer, its errors
gemini_error. Extension parameters: `top_k`, `safety_settings`, `cached_content`, `thinking_config`, and Google's own
`extra_body: {"google": {"thinking_config", "cached_content"}}`; tools of Google's own by `{"type": "google_search"}`
and the like, with settings under that name; parts by `video_url`.

Sources: google-genai 3.4 (types.py; models.py `_…_to_mldev` for the names on the wire), ai.google.dev/gemini-api/docs.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from translators import plain
from translators.errors import LLMError
from translators.exchange import ENDPOINTS, Context, Endpoint, Json, Media, UpstreamRequest
from translators.gemini_answer import Decoder, response
from translators.gemini_error import error
from translators.gemini_tools import (
    SERVER_TOOLS,
    VERTEX_TOOLS,
    answer_schema,
    has_functions,
    needs_json_tool,
    toolbox,
    wire_names,
)
from translators.gemini_turns import fetched_urls, turns
from translators.json_values import encoded
from translators.outcomes import Dropped, Outcome, Table, judge

__all__ = ["OUTCOMES", "Decoder", "content_body", "error", "media_urls", "request", "response"]

OUTCOMES: Table = {
    "messages": Outcome("translated", "contents, systemInstruction"),
    "model": Outcome("translated", "in the URL"),
    "audio": Outcome("translated", "speechConfig voice; the only format is pcm16, 24 kHz, any other is refused"),
    "frequency_penalty": Outcome("translated", "frequencyPenalty", needs="sampling", otherwise="dropped"),
    "function_call": Outcome("translated", "as tool_choice"),
    "functions": Outcome("translated", "as tools; the call comes back as function_call"),
    "logit_bias": Outcome("refused", "Gemini has no bias by token"),
    "logprobs": Outcome("translated", "responseLogprobs"),
    "max_completion_tokens": Outcome("translated", "maxOutputTokens, reasoning included"),
    "max_tokens": Outcome("translated", "maxOutputTokens"),
    "metadata": Outcome("dropped", "Gemini keeps no metadata"),
    "modalities": Outcome("translated", "responseModalities; audio comes alone, without its transcript"),
    "moderation": Outcome("refused", "OpenAI's own moderation; see the extension safety_settings"),
    "n": Outcome(
        "translated",
        "candidateCount; n parallel calls for a stream, and for models that think by level, which have none",
        apart=("stream", "level"),
    ),
    "parallel_tool_calls": Outcome("dropped", "Gemini always may call in parallel; false is reported"),
    "prediction": Outcome("dropped", "Gemini takes no predicted output"),
    "presence_penalty": Outcome("translated", "presencePenalty", needs="sampling", otherwise="dropped"),
    "prompt_cache_key": Outcome("dropped", "Gemini's implicit cache has no key"),
    "prompt_cache_options": Outcome("dropped", "Gemini's implicit cache has no options"),
    "prompt_cache_retention": Outcome("dropped", "Gemini's implicit cache has a lifetime of its own"),
    "reasoning_effort": Outcome("translated", "thinkingConfig: the nearest level, or a budget in tokens"),
    "response_format": Outcome("translated", "responseMimeType, responseJsonSchema"),
    "safety_identifier": Outcome("dropped", "Gemini takes no end user"),
    "seed": Outcome("translated", "seed, folded into 31 bits"),
    "service_tier": Outcome("translated", "serviceTier: flex, priority (fast is priority); scale is reported"),
    "stop": Outcome("translated", "stopSequences, at most 5"),
    "store": Outcome("dropped", "Gemini stores no completions to be read again"),
    "stream": Outcome("translated", "streamGenerateContent?alt=sse"),
    "stream_options": Outcome("translated", "the usage chunk is written here; nothing is obfuscated"),
    "temperature": Outcome("translated", "temperature", needs="sampling", otherwise="dropped"),
    "tool_choice": Outcome(
        "translated", "toolConfig.functionCallingConfig; Google's own tools are left out where barred, never forced"
    ),
    "tools": Outcome("translated", "functionDeclarations and Google's own tools"),
    "top_logprobs": Outcome("translated", "logprobs"),
    "top_p": Outcome("translated", "topP", needs="sampling", otherwise="dropped"),
    "user": Outcome("dropped", "Gemini takes no end user"),
    "verbosity": Outcome("dropped", "Gemini has no such control"),
    "web_search_options": Outcome("translated", "the googleSearch tool; its settings are reported"),
    # extensions
    "top_k": Outcome("translated", "topK", needs="sampling", otherwise="dropped"),
    "safety_settings": Outcome("translated", "safetySettings, as they are"),
    "cached_content": Outcome("translated", "cachedContent"),
    "thinking_config": Outcome("translated", "thinkingConfig, before reasoning_effort"),
    "extra_body": Outcome("translated", "google.thinking_config, google.cached_content; others are reported"),
    # roles
    "role:system": Outcome("translated", "systemInstruction; a later one user text within <system> and </system>"),
    "role:developer": Outcome("translated", "as system"),
    "role:user": Outcome("translated", "role user"),
    "role:assistant": Outcome("translated", "role model, thought signatures put back on their parts"),
    "role:tool": Outcome("translated", "functionResponse"),
    "role:function": Outcome("translated", "functionResponse"),
    # parts
    "part:text": Outcome("translated", "text"),
    "part:refusal": Outcome("translated", "text"),
    "part:image_url": Outcome("translated", "inlineData (web addresses are fetched) or fileData", needs="vision"),
    "part:input_audio": Outcome("translated", "inlineData", needs="audio"),
    "part:video_url": Outcome("translated", "inlineData, or fileData for YouTube and Google's files", needs="video"),
    "part:file": Outcome("translated", "inlineData, or fileData for the Files API"),
    "part:assistant_audio": Outcome("refused", "Gemini keeps no audio of an earlier answer"),
    # tools
    "tool:function": Outcome("translated", "functionDeclarations, parametersJsonSchema"),
    "tool:custom": Outcome("translated", "a function of one string; a grammar is described, not enforced"),
    **{f"tool:{kind}": Outcome("translated", field) for kind, field in SERVER_TOOLS.items()},
    **{f"tool:{kind}": Outcome("refused", "Vertex alone has it") for kind in VERTEX_TOOLS},
    # response formats
    "format:text": Outcome("translated", "the default"),
    "format:json_object": Outcome("translated", "responseMimeType; refused beside functions before Gemini 3"),
    "format:json_schema": Outcome(
        "translated", "responseJsonSchema, or a forced function where they cannot be together"
    ),
}

# The scale in order; budgets in tokens as Google's own OpenAI endpoint sets them (…/docs/openai, thinking).
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
LEAST_BUDGET = 128  # of a model that always thinks (gemini-2.5-pro: 128 to 32768; …/docs/thinking)
MAX_STOPS = 5

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_TIERS = {
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "auto": None,
    "default": None,
}  # types.ServiceTier


def media_urls(chat: Json, endpoint: Endpoint) -> tuple[str, ...]:
    """The web addresses of `chat` to be fetched first: Gemini is given bytes, save what lies at Google."""
    for message in chat["messages"]:
        if type(message.get("content")) is list:
            return tuple(dict.fromkeys(fetched_urls(chat, endpoint)))
    return ()


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    """POST /v1beta/models/{model}:generateContent, or :streamGenerateContent for a stream.

    Raises LLMError("invalid_request") for what Gemini has no word for.
    Source: https://ai.google.dev/api/generate-content (by way of google-genai 3.4, models.py)
    """
    whole_url, stream_url, headers, contexts = _way(endpoint)
    url = stream_url if chat.get("stream") else whole_url
    if not remembered and (short := _plain_body(chat, endpoint)) is not None:
        return UpstreamRequest(url, headers, encoded(short), contexts[plain.wants_usage(chat)])
    body, context, dropped = content_body(chat, endpoint, media, remembered)
    return UpstreamRequest(url, headers, encoded(body), context, dropped)


@lru_cache(maxsize=ENDPOINTS)
def _way(endpoint: Endpoint) -> tuple[str, str, Mapping[str, str], tuple[Context, Context]]:
    """Both URLs and the headers, and the contexts of plain requests: usage not asked for, and asked for."""
    url = f"{endpoint.base_url}/v1beta/models/{quote(endpoint.model.removeprefix('models/'), safe='')}"
    headers = {"content-type": "application/json"}
    if endpoint.api_key:
        headers["x-goog-api-key"] = endpoint.api_key  # never in the URL, which is logged
    streamed = f"{url}:streamGenerateContent?alt=sse"
    return f"{url}:generateContent", streamed, {**headers, **endpoint.headers}, plain.contexts(endpoint)


def _plain_body(chat: Json, endpoint: Endpoint) -> Json | None:
    """What `content_body` makes of a plain request, on a short way; None where there is more to it."""
    leading = plain.leading(chat)
    temperature = chat.get("temperature")
    if leading < 0 or (temperature is not None and not endpoint.facts.sampling):
        return None
    body: Json = {}
    messages = chat["messages"]
    if leading:
        body["systemInstruction"] = {"parts": [{"text": each["content"]} for each in messages[:leading]]}
    body["contents"] = [
        {"role": "user" if each["role"] == "user" else "model", "parts": [{"text": each["content"]}]}
        for each in messages[leading:]
    ]
    config: Json = {} if temperature is None else {"temperature": temperature}
    if limit := chat.get("max_completion_tokens") or chat.get("max_tokens"):
        config["maxOutputTokens"] = limit
    if config:
        body["generationConfig"] = config
    return body


def content_body(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any], table: Table = OUTCOMES
) -> tuple[Json, Context, tuple[Dropped, ...]]:
    """The body of generateContent, the same for both methods, what its answer's side must know, and what was left out.

    `remembered` is what gemini_answer kept, by tool-call id or recall.text_key; `table` another host's outcomes. Raises
    as `request`.
    """
    left_out = judge(chat, table, endpoint.facts, endpoint.unsupported)
    gone = {each.feature for each in left_out}
    dropped = [each for each in left_out if each.feature != "parallel_tool_calls" or not chat["parallel_tool_calls"]]
    asked = {key: value for key, value in chat.items() if key not in gone and value is not None}
    names = wire_names(asked)
    said = turns(asked, endpoint, media, remembered, names, gone)
    tools = toolbox(asked, endpoint, names, gone)
    dropped += said.dropped + tools.dropped
    if asked.get("functions"):
        dropped.append(
            Dropped("parallel_tool_calls", "of several calls at once `function_call` has room for the first")
        )
    config = (
        _sampling(asked, endpoint, dropped)
        | _format(asked, endpoint, gone, dropped)
        | _thinking(asked, endpoint, dropped)
        | _speech(asked, endpoint, dropped)
    )
    body: Json = {
        "systemInstruction": {"parts": said.system} if said.system else None,
        "contents": said.contents,
        "tools": tools.tools,
        "toolConfig": tools.config,
        "safetySettings": asked.get("safety_settings"),
        "cachedContent": asked.get("cached_content") or _google(asked).get("cached_content"),
        "serviceTier": _tier(asked, dropped),
        "generationConfig": config,
    }
    context = Context(
        model=endpoint.model,
        include_usage=bool((asked.get("stream_options") or {}).get("include_usage")),
        tool_names={wire: name for name, wire in names.items() if wire != name},
        json_tool=tools.json_tool,
        custom_tools=tools.custom,
        function_call=bool(asked.get("functions")),
    )
    return {key: value for key, value in body.items() if value}, context, tuple(dict.fromkeys(dropped))


def _unsupported(feature: str, why: str, endpoint: Endpoint, dropped: list[Dropped]) -> None:
    if endpoint.unsupported == "refuse":
        message = f"`{feature}` cannot be sent to this model: {why}"
        raise LLMError("invalid_request", message, param=feature, code="unsupported_parameter")
    dropped.append(Dropped(feature, why))


def _google(asked: Json) -> Json:
    extra = asked.get("extra_body")
    google = extra.get("google") if isinstance(extra, dict) else None
    return google if isinstance(google, dict) else {}


def _sampling(asked: Json, endpoint: Endpoint, dropped: list[Dropped]) -> Json:
    config: Json = {wire: asked[name] for name, wire in _SAMPLING.items() if name in asked}
    if limit := asked.get("max_completion_tokens") or asked.get("max_tokens"):
        config["maxOutputTokens"] = limit
    if "seed" in asked:
        config["seed"] = asked["seed"] & 0x7FFFFFFF  # an int32 there
    stops = [asked["stop"]] if isinstance(asked.get("stop"), str) else asked.get("stop") or []
    if stops := [stop for stop in stops if stop]:
        if len(stops) > MAX_STOPS:
            raise LLMError("invalid_request", f"`stop`: at most {MAX_STOPS} sequences for this model", param="stop")
        config["stopSequences"] = stops
    if asked.get("n", 1) != 1:
        config["candidateCount"] = asked["n"]
    if asked.get("logprobs"):
        config["responseLogprobs"] = True
        if asked.get("top_logprobs"):
            config["logprobs"] = asked["top_logprobs"]
    return config


def _format(asked: Json, endpoint: Endpoint, gone: set[str], dropped: list[Dropped]) -> Json:
    wanted = asked.get("response_format") or {}
    kind = wanted.get("type")
    if f"format:{kind}" in gone or kind not in ("json_object", "json_schema") or needs_json_tool(asked, endpoint, gone):
        return {}
    if kind == "json_object":
        if endpoint.facts.thinking != "level" and has_functions(asked):
            _unsupported("response_format", "JSON mode and functions exclude each other", endpoint, dropped)
            return {}
        return {"responseMimeType": "application/json"}
    config: Json = {"responseMimeType": "application/json"}
    if schema := answer_schema(wanted["json_schema"], dropped):
        labels = {"title": wanted["json_schema"]["name"], "description": wanted["json_schema"].get("description")}
        said = {} if "$ref" in schema else {key: label for key, label in labels.items() if label}
        config["responseJsonSchema"] = said | schema
    return config


def _thinking(asked: Json, endpoint: Endpoint, dropped: list[Dropped]) -> Json:
    """types.ThinkingConfig, from Google's own setting or from `reasoning_effort` by the model's facts."""
    extra = asked.get("extra_body")
    if isinstance(extra, dict):
        dropped += [Dropped(f"extra_body.{key}", "unknown here") for key in extra if key != "google"]
        known = ("thinking_config", "cached_content")
        dropped += [Dropped(f"extra_body.google.{key}", "unknown here") for key in _google(asked) if key not in known]
    own = asked.get("thinking_config") or _google(asked).get("thinking_config")
    if isinstance(own, dict):
        return {"thinkingConfig": {_camel(key): value for key, value in own.items()}}
    effort = asked.get("reasoning_effort")
    if effort is None:
        return {}
    if effort not in EFFORTS:
        raise LLMError(
            "invalid_request", f"`reasoning_effort` must be one of {', '.join(EFFORTS)}", param="reasoning_effort"
        )
    facts = endpoint.facts
    if facts.thinking == "level":
        return _level(effort, facts.efforts or ("low", "high"), dropped)
    if facts.thinking != "budget":
        if effort != "none":
            dropped.append(Dropped("reasoning_effort", "this model does not think"))
        return {}
    if effort != "none":
        return {"thinkingConfig": {"thinkingBudget": BUDGETS[effort], "includeThoughts": True}}
    if facts.thinking_always:
        dropped.append(
            Dropped("reasoning_effort", f"it cannot be none: the least, {LEAST_BUDGET} tokens, is asked for")
        )
    return {"thinkingConfig": {"thinkingBudget": LEAST_BUDGET if facts.thinking_always else 0}}


def _level(effort: str, efforts: tuple[str, ...], dropped: list[Dropped]) -> Json:
    """The nearest level the model has, the lower of two as near. None of them is off: Gemini 3 always thinks."""
    wanted = EFFORTS.index(effort)
    levels = sorted(
        (EFFORTS.index(each) for each in efforts if each in EFFORTS[1:]), key=lambda i: (abs(i - wanted), i)
    )
    if not levels:
        dropped.append(Dropped("reasoning_effort", "this model has no levels of thinking"))
        return {}
    level = EFFORTS[levels[0]]
    if effort == "none":
        dropped.append(Dropped("reasoning_effort", f"it cannot be none: the least, {level}, is asked for"))
        return {"thinkingConfig": {"thinkingLevel": level.upper()}}
    return {"thinkingConfig": {"thinkingLevel": level.upper(), "includeThoughts": True}}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _speech(asked: Json, endpoint: Endpoint, dropped: list[Dropped]) -> Json:
    config: Json = {}
    modalities = [str(each).upper() for each in asked.get("modalities") or ()]
    if "AUDIO" in modalities:
        # OpenAI demands "text" beside "audio"; here that combination is refused ("accepts … AUDIO", recorded 400)
        config["responseModalities"] = ["AUDIO"]
        if "TEXT" in modalities:
            dropped.append(Dropped("modalities", "audio comes without its transcript"))
    elif modalities and modalities != ["TEXT"]:
        config["responseModalities"] = modalities
    audio = asked.get("audio")
    if audio:
        voice = audio.get("voice")
        name = voice.get("id") if isinstance(voice, dict) else voice
        if name:
            config["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": name}}}
        if audio.get("format") not in (None, "pcm16"):
            _unsupported("audio.format", "audio comes as pcm16", endpoint, dropped)
    return config


def _tier(asked: Json, dropped: list[Dropped]) -> str | None:
    tier = asked.get("service_tier")
    if tier is not None and tier not in _TIERS:
        dropped.append(Dropped("service_tier", f"Gemini has no tier {tier!r}"))
    return _TIERS.get(tier or "auto")
