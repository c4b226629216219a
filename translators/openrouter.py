"""The `openrouter` dialect: OpenAI's shape (`openai`, composed here) with OpenRouter's own manners.

Frames and bodies are relayed as in `openai`; its comments, errors within chunks, last frame (usage *and* a choice) and
`usage.cost` are read there. What is added here:

- `usage.cost` is always asked for; `reasoning_effort` becomes `reasoning.effort`; what a model is known not to take is
  left out and reported.
- `reasoning_details` are remembered, and put back for a client that dropped them, where a model of the same maker
  (`anthropic/…`) is asked again.
- OpenRouter's own parameters (provider, plugins, transforms, reasoning, …), tools and content parts pass; `models`,
  which would go past the key's models and the price of the one that was asked for, is refused.

Sources: 135 recorded exchanges; OpenRouter's TypeScript SDK, models/chatrequest.ts and chatassistantmessage.ts (read
2026-11-20). OpenRouter itself leaves out, without a word, what a model's hosts do not take, unless the request says
`provider: {require_parameters: true}`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from translators import openai
from translators.exchange import NONE, Answer, Context, Endpoint, Json, Media, UpstreamRequest
from translators.openai import error, media_urls
from translators.outcomes import Dropped, Outcome, Table, judge
from translators.recall import text_key, text_of
from translators.usage import Usage

__all__ = ["OUTCOMES", "Decoder", "error", "media_urls", "request", "response"]

_SAMPLING = Outcome("translated", "sent as it is, where the model is known to sample", "sampling", "dropped")
_OWN = """
    provider plugins transforms reasoning usage cache_control image_config session_id trace debug
    part:video_url part:input_video
"""
OUTCOMES: Table = {
    **{name: Outcome("translated", "sent as it is") for name in openai.OUTCOMES},
    "stream_options": Outcome("translated", "sent, and usage always asked for"),
    "reasoning_effort": Outcome("translated", "reasoning.effort"),
    "temperature": _SAMPLING,
    "top_p": _SAMPLING,
    "frequency_penalty": _SAMPLING,
    "presence_penalty": _SAMPLING,
    "n": Outcome("translated", "n parallel calls, under one hold", apart=("always",)),  # recorded: one choice for n = 2
    "functions": Outcome("refused", "OpenRouter knows tools alone"),
    "function_call": Outcome("refused", "OpenRouter knows tools alone"),
    "role:function": Outcome("refused", "OpenRouter knows tools alone"),
    "tool:custom": Outcome("refused", "OpenRouter knows functions alone"),
    "moderation": Outcome("refused", "OpenRouter runs no moderation model beside an answer"),
    "store": Outcome("dropped", "OpenRouter stores no answers"),
    "part:refusal": Outcome("translated", "text"),
    # extensions, in OpenRouter's words; any other passes too
    **{name: Outcome("translated", "sent as it is") for name in _OWN.split()},
    "top_k": _SAMPLING,
    "models": Outcome("refused", "name them in the route's `fallback`: keys and prices are checked there"),
}

REMEMBERED = "openrouter"  # the key of what this dialect remembers: another's signatures are of no use here
MAX_KEPT_BYTES = 4 * 1024 * 1024  # of a stream's frames; the reasoning of a longer one is not remembered
# Recorded. The SDKs' accumulators concatenate a delta's strings, `format` too: a client may send it back repeated.
_FORMATS = ("anthropic-claude-v1", "google-gemini-v1", "openai-responses-v1", "xai-responses-v1", "unknown")


# ── the request ──────────────────────────────────────────────────────────────────────────────────────────────────────


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    """POST {base_url}/chat/completions.

    Raises LLMError("invalid_request") for what OpenRouter would leave out without a word and changes the meaning.
    """
    dropped = list(judge(chat, OUTCOMES, endpoint.facts, endpoint.unsupported, extensions=True))
    asked = _without(chat, {drop.feature for drop in dropped})
    asked = _with_effort(asked, dropped)
    asked["messages"] = [_message(message, endpoint.model, remembered) for message in asked["messages"]]
    own = chat.get("usage")
    asked["usage"] = {**(own if isinstance(own, dict) else {}), "include": True}  # what it cost is what is billed
    sent = openai.request(asked, endpoint, media, remembered)
    return replace(sent, dropped=(*dropped, *sent.dropped))


def _without(chat: Json, features: set[str]) -> Json:
    """A copy of `chat` that lacks `features`."""
    asked = {name: value for name, value in chat.items() if name not in features}
    if "tool:custom" in features:
        asked["tools"] = [tool for tool in chat["tools"] if tool["type"] != "custom"]
        if not asked["tools"]:
            del asked["tools"]
            asked.pop("tool_choice", None)
    if "role:function" in features:
        asked["messages"] = [message for message in chat["messages"] if message["role"] != "function"]
    return asked


def _with_effort(chat: Json, dropped: list[Dropped]) -> Json:
    """`reasoning_effort` in its place within `reasoning`, unless the caller spoke OpenRouter's own words there."""
    effort, reasoning = chat.get("reasoning_effort"), chat.get("reasoning")
    asked = {name: value for name, value in chat.items() if name != "reasoning_effort"}
    if effort is None:
        return asked
    own = reasoning if isinstance(reasoning, dict) else {}
    if any(own.get(name) is not None for name in ("effort", "max_tokens", "enabled")):
        dropped.append(Dropped("reasoning_effort", "`reasoning` says otherwise"))
        return asked
    return {**asked, "reasoning": {**own, "effort": effort}}


def _message(message: Json, model: str, remembered: Mapping[str, Any]) -> Json:
    """The message, with the reasoning that stood before it and refusals as the text they are."""
    if message.get("role") != "assistant":
        return message
    made = dict(message)
    content = message.get("content")
    if isinstance(content, list) and any(part.get("type") == "refusal" for part in content):
        made["content"] = [_spoken(part) for part in content]
    if text := made.pop("reasoning_content", None):  # another dialect's word for what is `reasoning` here
        made.setdefault("reasoning", text)
    details = message.get("reasoning_details")
    if isinstance(details, list) and details:
        made["reasoning_details"] = [_mended(entry) for entry in details]
    elif kept := _recalled(message, model, remembered):
        made["reasoning_details"] = kept
    return made


def _spoken(part: Json) -> Json:
    return {"type": "text", "text": part.get("refusal") or ""} if part.get("type") == "refusal" else part


def _mended(entry: Any) -> Any:
    said = entry.get("format") if isinstance(entry, dict) else None
    if not isinstance(said, str) or said in _FORMATS:
        return entry
    known = next((name for name in _FORMATS if said and said == name * (len(said) // len(name))), None)
    return entry if known is None else {**entry, "format": known}


def _recalled(message: Json, model: str, remembered: Mapping[str, Any]) -> list[Json]:
    names = [call["id"] for call in message.get("tool_calls") or ()]
    if not names and (text := text_of(message.get("content"))):
        names = [text_key(text)]
    found = next((remembered[name] for name in names if name in remembered), None)
    kept = found.get(REMEMBERED) if isinstance(found, dict) else None
    if not isinstance(kept, dict) or kept.get("maker") != _maker(model):
        return []
    details: list[Json] = kept["reasoning_details"]
    return details


def _maker(model: str) -> str:
    return model.partition("/")[0]


# ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────────


def response(body: bytes, context: Context, created: int, request_id: str) -> Answer:
    """As openai.response, with the reasoning to remember."""
    answer = openai.response(body, context, created, request_id)
    told = orjson.loads(answer.body)
    first = next((choice for choice in told["choices"] if not choice.get("index")), None)
    if first is None:
        return answer
    message = first["message"]
    calls, text = _ids(message.get("tool_calls")), message.get("content")
    details = _merged(_entries(message.get("reasoning_details")))
    model = _name(told.get("model")) or context.model
    return replace(answer, remember=_remember(model, details, calls, text if isinstance(text, str) else ""))


class Decoder:
    """Relays OpenRouter's frames as openai.Decoder does, and keeps them until the end for the reasoning in them."""

    def __init__(self, context: Context, created: int, request_id: str) -> None:
        self.usage = Usage()
        self.started = False
        self.done = False
        self.output_bytes = 0
        self.remember: Mapping[str, Any] = NONE
        self._relayed = openai.Decoder(context, created, request_id)
        self._model = context.model
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._reasoned = False

    @property
    def finished(self) -> bool:
        return self._relayed.finished

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises as openai.Decoder.feed."""
        try:
            return self._seen(self._relayed.feed(data))
        finally:
            self._counted()

    def close(self) -> list[bytes]:
        """The last frames; from here `remember` is complete. Raises as openai.Decoder.close."""
        try:
            frames = self._seen(self._relayed.close())
        finally:
            self._counted()
        if self._reasoned and self._kept_bytes <= MAX_KEPT_BYTES:
            self.remember = self._remembered()
        return frames

    def _counted(self) -> None:
        self.usage, self.started, self.done = self._relayed.usage, self._relayed.started, self._relayed.done
        self.output_bytes = self._relayed.output_bytes

    def _seen(self, frames: list[bytes]) -> list[bytes]:
        for frame in frames:
            self._reasoned = self._reasoned or b'"reasoning_details"' in frame
            self._kept_bytes += len(frame)
            if self._kept_bytes <= MAX_KEPT_BYTES:
                self._kept.append(frame)
            else:
                self._kept.clear()
        return frames

    def _remembered(self) -> Mapping[str, Any]:
        details: list[Json] = []
        calls: list[str] = []
        text: list[str] = []
        halved = False  # a frame may end within a character: orjson refuses both halves of it
        for frame in self._kept:
            try:
                chunk = _object(orjson.loads(frame[5:]))
            except orjson.JSONDecodeError:
                chunk, halved = _halved(frame[5:]), True
            self._model = _name(chunk.get("model")) or self._model
            for delta in _deltas(chunk):
                details += _entries(delta.get("reasoning_details"))
                calls += _ids(delta.get("tool_calls"))
                if isinstance(content := delta.get("content"), str):
                    text.append(content)
        kept = self._model, _merged(details), calls, "".join(text)
        return _remember(*(_joined(kept) if halved else kept))


def _deltas(chunk: Json) -> Iterator[Json]:
    """Of the first choice; OpenRouter gives no other."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and not choice.get("index") and isinstance(delta := choice.get("delta"), dict):
            yield delta


def _object(told: Any) -> Json:
    return told if isinstance(told, dict) else {}


def _halved(data: bytes) -> Json:
    try:
        return _object(json.loads(data))
    except (ValueError, RecursionError):  # a frame of text is relayed unread
        return {}


_Kept = tuple[str, list[Json], list[str], str]  # the model, its reasoning, the ids of its calls, its text


def _joined(kept: _Kept) -> _Kept:
    """`kept` with its characters whole again; nothing where a half is left over: what was signed must be as it was."""
    try:
        model, details, calls, text = orjson.loads(json.dumps(kept))
    except (ValueError, RecursionError):
        return "", [], [], ""
    return model, details, calls, text


def _name(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _remember(model: str, details: list[Json], calls: list[str], text: str) -> Mapping[str, Any]:
    """What goes back before the next turn: what is signed, and in the middle of tool calls all reasoning.

    Between turns unsigned reasoning is of no use to a model, and would be paid for as input.
    """
    signed = any(entry.get("signature") or entry.get("data") for entry in details)
    if not details or not (signed or calls):
        return NONE
    name = calls[0] if calls else text_key(text) if text else None
    return {name: {REMEMBERED: {"maker": _maker(model), "reasoning_details": details}}} if name else NONE


def _merged(deltas: Iterable[Json]) -> list[Json]:
    """The entries that the deltas build: those of one index and type are one (Grok gives two types one index)."""
    made: dict[tuple[Any, Any], Json] = {}
    for delta in deltas:
        entry = made.setdefault((delta.get("index"), delta.get("type")), {})
        for name, value in delta.items():
            if name in ("text", "summary", "data") and isinstance(value, str) and isinstance(entry.get(name), str):
                entry[name] += value
            elif value is not None or name not in entry:
                entry[name] = value
    return list(made.values())


def _entries(value: Any) -> list[Json]:
    """The entries that can be told apart and written again."""
    return [item for item in value if isinstance(item, dict) and _hashable(item)] if isinstance(value, list) else []


def _hashable(entry: Json) -> bool:
    return all(not isinstance(entry.get(name), dict | list) for name in ("index", "type"))


def _ids(calls: Any) -> list[str]:
    return list(_ids_of(calls)) if isinstance(calls, list) else []


def _ids_of(calls: list[Any]) -> Iterator[str]:
    for call in calls:
        if isinstance(call, dict) and isinstance(id := call.get("id"), str) and id:
            yield id
