"""The `openai` dialect: OpenAI itself and every host that speaks its chat completions, relayed rather than rewritten.

What a host does differently is data in its `Endpoint`. `drop` and `rename` take parameters by name (`seed`), fields of
messages (`message:reasoning_content`, which Groq and Mistral refuse and DeepSeek demands) and, for `rename`, roles
(`role:developer` → `system`). Shapes were read from openai 3.52 and from recorded exchanges with 18 hosts (2026-11-20).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson

from translators import plain, sse
from translators.completion import written_bytes
from translators.errors import LLMError, cut_off
from translators.exchange import ENDPOINTS, NONE, Answer, Context, Endpoint, Json, Media, UpstreamRequest
from translators.json_values import encoded, piece_of, told, whole_characters
from translators.openai_error import error, failure, failure_within, told_in
from translators.openai_usage import latest, usage_of
from translators.outcomes import Dropped, Outcome, Table, asks_for_nothing
from translators.usage import Usage

__all__ = ["OUTCOMES", "Decoder", "error", "media_urls", "request", "response"]

_FEATURES = """
    messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
    metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
    role:developer role:system role:user role:assistant role:tool role:function
    part:text part:image_url part:input_audio part:file part:refusal part:assistant_audio
    tool:function tool:custom format:text format:json_schema format:json_object
"""
OUTCOMES: Table = {feature: Outcome("translated", "sent as it is") for feature in _FEATURES.split()} | {
    "stream_options": Outcome("translated", "sent, and usage always asked for; left out where a host has none"),
}


# ── the request ──────────────────────────────────────────────────────────────────────────────────────────────────────


def media_urls(chat: Json, endpoint: Endpoint) -> tuple[str, ...]:
    """None: these hosts fetch what a URL names themselves."""
    return ()


def request(
    chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    """POST {base_url}/chat/completions with the client's own JSON, in its own order, and another `model`.

    With `endpoint.api_version`, Azure's older form: the deployment in the path, the key as `api-key` (openai 3.52,
    lib/azure.py). Extension parameters pass: only a host knows what it has no word for. `endpoint.drop` is reported.
    """
    body, dropped = _body(chat, endpoint)
    url, headers, contexts = _way(endpoint)
    options = chat.get("stream_options")
    asked = options is not None and options.get("include_usage") is True
    return UpstreamRequest(url, headers, encoded(body), contexts[asked], dropped)


@lru_cache(maxsize=ENDPOINTS)
def _way(endpoint: Endpoint) -> tuple[str, Mapping[str, str], tuple[Context, Context]]:
    """URL and headers of every request there, and their contexts: usage not asked for, and asked for."""
    url, headers = f"{endpoint.base_url}/chat/completions", {"content-type": "application/json"}
    if endpoint.api_version:
        deployment, version = quote(endpoint.model, safe=""), quote(endpoint.api_version, safe="")
        host = endpoint.base_url.removesuffix("/openai")
        url = f"{host}/openai/deployments/{deployment}/chat/completions?api-version={version}"
    if endpoint.api_key is not None and endpoint.api_version:
        headers["api-key"] = endpoint.api_key
    elif endpoint.api_key is not None:
        headers["authorization"] = f"Bearer {endpoint.api_key}"
    headers |= {name.lower(): value for name, value in endpoint.headers.items()}
    return url, headers, plain.contexts(endpoint)


def _body(chat: Json, endpoint: Endpoint) -> tuple[Json, tuple[Dropped, ...]]:
    if not (endpoint.drop or endpoint.rename or chat.get("stream")):
        return {**chat, "model": endpoint.model}, ()
    dropped: dict[str, Dropped] = {}
    body = _in_its_words(chat, endpoint, dropped) if endpoint.drop or endpoint.rename else chat.copy()
    body["model"] = endpoint.model
    if chat.get("stream") and "stream_options" not in endpoint.drop:
        if endpoint.stream_usage:
            body["stream_options"] = {**(chat.get("stream_options") or {}), "include_usage": True}
        elif body.pop("stream_options", None):
            dropped["stream_options"] = Dropped("stream_options", _NO_WORD)
    return body, tuple(dropped.values())


_NO_WORD = "this provider does not take it"


def _in_its_words(chat: Json, endpoint: Endpoint, dropped: dict[str, Dropped]) -> Json:
    """`chat` as a host has it that names or lacks something; what it lacks and was asked for goes to `dropped`."""
    body: Json = {}
    for name, value in chat.items():
        renamed = endpoint.rename.get(name)
        if name in endpoint.drop:
            if not asks_for_nothing(name, value):
                dropped[name] = Dropped(name, _NO_WORD)
        elif renamed is None:
            body.setdefault(name, value)  # under its newer name it may stand there already
        elif value is not None:
            body[renamed] = value
    body["messages"] = _messages(chat["messages"], endpoint, dropped)
    return body


def _messages(messages: list[Json], endpoint: Endpoint, dropped: dict[str, Dropped]) -> list[Json]:
    """The messages themselves, unless the host names fields or roles otherwise."""
    roles = {key[5:]: to for key, to in endpoint.rename.items() if key.startswith("role:")}
    names = {key[8:]: to for key, to in endpoint.rename.items() if key.startswith("message:")}
    unwanted = {key for key in endpoint.drop if key.startswith("message:")}
    if not (roles or names or unwanted):
        return messages
    kept = []
    for message in messages:
        made: Json = {}
        for name, value in message.items():
            if (feature := f"message:{name}") in unwanted:
                if value:
                    dropped[feature] = Dropped(feature, _NO_WORD)
            elif name == "role":
                made[name] = roles.get(value, value)
            else:
                made[names.get(name, name)] = value
        kept.append(made)
    return kept


# ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────────


def response(body: bytes, context: Context, created: int, request_id: str) -> Answer:
    """The host's own bytes, and the usage beside them. Comment lines before the JSON are left out.

    Raises LLMError for an error inside the 200, and "bad_upstream" for what is no chat completion.
    """
    if not body.startswith(b"{") and not body.lstrip().startswith(b"{"):
        body = _PREAMBLE.sub(b"", body)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if _is_whole(answer):
        return Answer(body, usage_of(answer) or Usage(), NONE)
    if answer is None:
        body = whole_characters(body)
    answer = _chunk_of(body)
    if answer is None:
        raise LLMError("bad_upstream", "The provider's answer is not a JSON object")
    failure = failure_within(answer)
    choices = answer.get("choices")
    if failure is None and (not choices or not all(_said(choice) for choice in choices)):
        failure = LLMError("bad_upstream", "The provider's answer holds no choices")
    if failure is not None:
        failure.usage = usage_of(answer)
        raise failure
    choices, usage = choices or [], usage_of(answer) or Usage()
    if not all("message" in choice for choice in choices):
        try:
            body = told({**answer, "choices": [_SILENCE | choice for choice in choices]})
        except LLMError as too_deep:
            too_deep.usage = usage
            raise
    return Answer(body, usage)


def _is_whole(answer: Any) -> bool:
    """Whether `answer` holds a message in each choice and no error, as most do: told in one go."""
    if type(answer) is not dict or answer.get("error") or answer.get("object") == "error":
        return False
    choices = answer.get("choices")
    if type(choices) is not list or not choices:
        return False
    for choice in choices:
        if type(choice) is not dict or type(choice.get("message")) is not dict:
            return False
        if choice.get("error") or choice.get("finish_reason") == "error":
            return False
    return "x_groq" not in answer or failure_within(answer) is None


def _said(choice: Json) -> bool:
    return isinstance(choice.get("message"), dict) or ("message" not in choice and bool(choice.get("finish_reason")))


# Azure leaves the message out when its filter blocked the whole of it; every SDK reads one
_SILENCE = {"message": {"role": "assistant", "content": None, "refusal": None}}

_PREAMBLE = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:[ \t]*(?::[^\n]*)?\r?\n)*")


def _chunk_of(data: bytes) -> Json | None:
    """`data` as a JSON object whose `choices`, if any, are objects; else None."""
    try:
        chunk = piece_of(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(chunk, dict):
        return None
    choices = chunk.get("choices")
    if choices is None:
        return chunk
    if not isinstance(choices, list):
        return None
    for choice in choices:
        if not isinstance(choice, dict):
            return None
    return chunk


_CONTENT = b'"content":"'
_STRING = re.compile(rb'((?:[^"\\]++|\\.)*+)"', re.DOTALL)  # of JSON, behind its first quote
_PADDING = b',"obfuscation":"'
_LF, _CR, _BACKSLASH = b"\n\r\\"  # as numbers, which are looked for faster than bytes


class Decoder:
    """Relays a host's frames, bytes unchanged; CRLF, comments and `event:` lines are framed anew.

    Taken out: `[DONE]`, which is the relay's to write, a frame that is no chunk (no `choices`), and one with usage and
    no choices that the client did not ask for; OpenRouter's last frame has usage *and* a choice and stays. After an
    error, the usage that OpenRouter still sends is waited for, at most to the end: behind content, which is billed, or
    where the error came in a choice. Nothing else behind it counts, and it is raised only once the frames before it are
    out: how the bytes were cut never shows.
    """

    def __init__(self, context: Context, created: int, request_id: str) -> None:
        self.usage = Usage()
        self.started = False
        self.output_bytes = 0
        self.remember: Mapping[str, Any] = NONE
        self._include_usage = context.include_usage
        self._rest = bytearray()  # what came after the last blank line
        self._lines: sse.Decoder | None = None  # takes over at the first CR
        self._open: set[int] = set()  # choices that were begun
        self._finished: set[int] = set()
        self._form = b""  # what stood before the text of a frame that said nothing else: most are like it
        self._behind = self._padded = b""  # what stood behind it: all, and up to the padding
        self._before = b""  # `_form`, where nothing was left of the last piece
        self.done = False
        self._error: LLMError | None = None
        self._usage_to_come = False

    @property
    def finished(self) -> bool:
        """Of the choices that have begun: where they come one after another, more may begin."""
        return bool(self._open) and self._open <= self._finished

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises LLMError for the host's own error and for what cannot be read."""
        rest = data.removeprefix(self._before)
        if rest is not data:  # one more frame of text, if all but that and the padding is as it was
            # (a raw tab within it would pass: to look for what no host sends costs every frame)
            text, _, behind = rest.partition(b'"')
            if _BACKSLASH in text:
                if self._is_text(data):
                    return [data]
            elif (behind == self._behind or self._is_padded(behind)) and text and _LF not in text and _CR not in text:
                self.output_bytes += len(text)
                return [data]
        self._before = b""
        frames: list[bytes] = []
        if self._lines is None and b"\r" in data:
            self._lines = sse.Decoder()
            data = bytes(self._rest) + data
        if self._lines is not None:
            for event in self._lines.feed(data):
                self._event(event, frames)
        else:
            for block in self._blocks(data):
                if self._form and self._is_text(frame := block + b"\n\n"):
                    frames.append(frame)
                elif block:
                    self._block(block, frames)
            if not self._rest:
                self._before = self._form
        if self._error is not None and not frames and not self._usage_to_come:
            raise self._error
        return frames

    def close(self) -> list[bytes]:
        """What a missing last blank line held back. Raises unless `[DONE]` or every choice's finish was seen."""
        frames: list[bytes] = []
        if self._lines is not None:
            for event in self._lines.feed(b"\n\n"):
                self._event(event, frames)
        elif self._rest.strip():
            self._block(bytes(self._rest), frames)
        if self._error is not None:
            raise self._error
        if not self._open:
            raise cut_off("The provider's stream held no answer")
        if not self.done and not self._open <= self._finished:
            raise cut_off("The provider's stream broke off before its end")
        return frames

    def _blocks(self, data: bytes) -> list[bytes]:
        """The texts between blank lines; what follows the last of them is kept."""
        rest = self._rest
        if rest:
            scanned = max(0, len(rest) - 1)
            rest += data
            end = rest.rfind(b"\n\n", scanned)
            if end < 0:
                self._bounded()
                return []
            data = bytes(rest)
            rest.clear()
        else:
            end = data.rfind(b"\n\n")
        if end < 0:
            rest += data
            return []
        rest += data[end + 2 :]
        self._bounded()
        return data[:end].split(b"\n\n")

    def _bounded(self) -> None:
        if len(self._rest) > sse.MAX_EVENT_BYTES:
            raise LLMError("bad_upstream", "The provider sent one event larger than 64 MiB")

    def _is_padded(self, behind: bytes) -> bool:
        """Whether `behind` differs from what stood behind the last text in nothing but what OpenAI pads it with.

        Source: openai 3.52, types/chat/chat_completion_stream_options_param.py, include_obfuscation.
        """
        padded = behind.removeprefix(self._padded)
        padding, _, end = padded.partition(b'"')
        return padded is not behind and end == b"}\n\n" and padding.isalnum()

    def _is_text(self, frame: bytes) -> bool:
        """Whether `frame` is one more piece of text in the known form, told without parsing more of it than escapes."""
        rest = frame.removeprefix(self._form)
        if rest is frame or (string := _STRING.match(rest)) is None:
            return False
        text, behind = string[1], rest[string.end() :]
        if not text or _LF in text or _CR in text or (behind != self._behind and not self._is_padded(behind)):
            return False
        if _BACKSLASH in text:
            try:
                text = piece_of(b'"' + text + b'"').encode()
            except orjson.JSONDecodeError:
                return False
        self.output_bytes += len(text)
        return True

    def _learn(self, choice: Json, said_bytes: int, frame: bytes) -> None:
        """Takes `frame` for the form of those to come, if its `said_bytes` are all text of the first choice."""
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        if not isinstance(text, str) or not text or len(text.encode()) != said_bytes:
            return
        if choice.get("index") or choice.get("finish_reason"):
            return
        start = frame.find(_CONTENT) + len(_CONTENT)
        if start < len(_CONTENT) or frame.count(b'"content"') > 1 or (string := _STRING.match(frame, start)) is None:
            return
        self._form, self._behind = frame[:start], frame[string.end() :]
        padding = self._behind.rfind(_PADDING)
        self._padded = self._behind[: padding + len(_PADDING)] if padding >= 0 else b""

    def _block(self, block: bytes, frames: list[bytes]) -> None:
        if block.startswith(b"data:") and b"\n" not in block:
            self._data(block[5:], block + b"\n\n", frames)
        elif block.lstrip().startswith(b"{"):  # no event stream at all
            self._fail(failure_within(_chunk_of(block) or {}), "The provider did not answer with a stream")
        else:
            for event in sse.Decoder().feed(block + b"\n\n"):
                self._event(event, frames)

    def _event(self, event: sse.Event, frames: list[bytes]) -> None:
        data = event.data.replace(b"\n", b" ")  # between JSON's tokens: within a string it would be escaped
        if event.type == b"error":
            chunk = _chunk_of(data)
            if chunk is None or failure_within(chunk) is None:  # it is the error itself, in no envelope
                self._fail(failure(told_in(chunk if chunk is not None else data.decode(errors="replace")), None))
                return
        self._data(data, sse.encode(data), frames)

    def _data(self, data: bytes, frame: bytes, frames: list[bytes]) -> None:
        data = data.strip()
        if self.done or not data or (self._error is not None and not self._usage_to_come):
            return
        if data == b"[DONE]":
            self.done, self._usage_to_come, self._form = True, False, b""
            return
        chunk = _chunk_of(data)
        if chunk is None:
            self._fail(None, "The provider sent an event that cannot be read")
            return
        choices = chunk.get("choices") or []
        failure = failure_within(chunk)
        if failure is not None:
            self._usage_to_come = self.started or bool(choices)
            self._fail(failure)
        usage = usage_of(chunk)
        if usage is not None:
            self.usage = latest(self.usage, usage)
            if self._error is not None and self._usage_to_come:
                self._error.usage, self._usage_to_come = self.usage, False
        if self._error is not None:
            return
        before_bytes = self.output_bytes
        for choice in choices:
            self._choice(choice)
        if usage is None and len(choices) == 1:
            self._learn(choices[0], self.output_bytes - before_bytes, frame)
        if choices or ("choices" in chunk and usage is None) or (usage is not None and self._include_usage):
            frames.append(frame)

    def _choice(self, choice: Json) -> None:
        index = choice.get("index")
        self._open.add(index if isinstance(index, int) else 0)
        if choice.get("finish_reason"):
            self._finished.add(index if isinstance(index, int) else 0)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self.started = self.started or any(value for name, value in delta.items() if name != "role")
            self.output_bytes += written_bytes(delta)

    def _fail(self, error: LLMError | None, otherwise: str = "") -> None:
        if not self.done:  # behind the end marker nothing counts
            self._error = self._error or error or LLMError("bad_upstream", otherwise)
            self._form = b""
