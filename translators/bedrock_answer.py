"""Bedrock's Converse and ConverseStream: the answer, whole and streamed, its usage and its errors.

A whole answer goes the way of a stream, block by block, and its deltas are put together: one reading for both.
Source: botocore 1.44, bedrock-runtime 2023-09-30 (ConverseResponse, ConverseStreamOutput); the recorded exchanges.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from translators import deltas, event_stream
from translators.bedrock_blocks import KEPT, Reply
from translators.completion import Chunks, choice, completion
from translators.errors import Kind, LLMError, cut_off, of_status, request_id_header, retry_after_s, unexplained
from translators.exchange import NONE, Answer, Context
from translators.json_values import all_digits, answer_of, event_of, object_of, objects_of, piece_of
from translators.usage import Usage, count, later

Json = dict[str, Any]

TIERS = ("default", "flex", "priority")  # of ServiceTierType, those that OpenAI has too

# The exceptions of the service model, and those that AWS's front door gives for a signature or token it refuses.
KINDS: dict[str, Kind] = {
    "AccessDeniedException": "upstream_auth",
    "ConflictException": "upstream_conflict",
    "ExpiredTokenException": "upstream_auth",
    "IncompleteSignatureException": "upstream_auth",
    "InternalServerException": "bad_upstream",
    "InvalidSignatureException": "upstream_auth",
    "MissingAuthenticationTokenException": "upstream_auth",
    "ModelErrorException": "bad_upstream",
    "ModelNotReadyException": "overloaded",
    "ModelStreamErrorException": "bad_upstream",
    "ModelTimeoutException": "timeout",
    "ResourceNotFoundException": "not_found",
    "ServiceQuotaExceededException": "upstream_quota",
    "ServiceUnavailableException": "overloaded",
    "ThrottlingException": "rate_limit",
    "UnrecognizedClientException": "upstream_auth",
    "ValidationException": "invalid_request",
}

# A prompt that is too long has no code of its own; these are the words of Bedrock and of the models behind it.
_TOO_LONG = (
    "input is too long",
    "prompt is too long",
    "exceed context limit",
    "exceeds the maximum number of tokens",
    "maximum context length",
    "too many input tokens",
    "input tokens exceeded",
    "exceeds the model's context",
)


# Usage.


def usage_of(raw: Json) -> Usage:
    """Converse's usage in disjoint buckets: `inputTokens` is without the cached. Both spellings are recorded."""
    read = count(raw.get("cacheReadInputTokens")) or count(raw.get("cacheReadInputTokenCount"))
    written = count(raw.get("cacheWriteInputTokens")) or count(raw.get("cacheWriteInputTokenCount"))
    lifetimes = objects_of(raw, "cacheDetails")
    hour = sum(count(each.get("inputTokens")) for each in lifetimes if each.get("ttl") == "1h")
    short = sum(count(each.get("inputTokens")) for each in lifetimes if each.get("ttl") != "1h")
    return Usage(
        input_tokens=count(raw.get("inputTokens")),
        cache_read_tokens=read,
        cache_write_tokens=max(short, written - hour),
        cache_write_1h_tokens=hour,
        output_tokens=count(raw.get("outputTokens")),
    )


def _used(told: Json) -> Usage:
    """The usage of an answer or of its metadata event, at the tier that served it."""
    usage, tier = usage_of(object_of(told, "usage")), object_of(told, "serviceTier").get("type")
    if not isinstance(tier, str):
        return usage
    return Usage(**{name: getattr(usage, name) for name in _COUNTED}, service_tier=tier)


_COUNTED = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens")


def _tier(usage: Usage) -> Json:
    return {"service_tier": usage.service_tier} if usage.service_tier in TIERS else {}


# Errors.


def error(status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """Bedrock's refusal by its exception's name, with its message and request id."""
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    told = parsed if isinstance(parsed, dict) else {}
    name = lowered.get("x-amzn-errortype") or told.get("__type") or told.get("code")
    message = _message(told)
    if message is None:
        message = unexplained(status, body)
    return of_status(
        status,
        message,
        kind=_kind(name, message, status),
        retry_after_s=retry_after_s(lowered.get("retry-after")),
        headers=request_id_header(lowered.get("x-amzn-requestid")),
    )


def _message(told: Json) -> str | None:
    inner = told.get("error")
    for holder in (told, inner if isinstance(inner, dict) else {}):
        for name in ("message", "Message"):
            if isinstance(holder.get(name), str) and holder[name]:
                return str(holder[name])
    return None


def _kind(name: object, message: str, status: int) -> Kind | None:
    """By the exception's name, which may have a namespace before it and an address behind it, else by status."""
    known = KINDS.get(name.partition(":")[0].rpartition("#")[2]) if isinstance(name, str) else None
    if (known == "invalid_request" or (known is None and status == 400)) and _is_too_long(message):
        return "context_length"
    return known


def _is_too_long(message: str) -> bool:
    lowered = message.lower()
    return any(words in lowered for words in _TOO_LONG)


def _in_stream(message: event_stream.Message) -> LLMError:
    """An exception frame (`throttlingException`), or a frame of type error, which says all of it in its headers.

    Source: botocore 1.44, parsers.py, EventStreamJSONParser.
    """
    headers = message.headers
    name = headers.get(":exception-type") or headers.get(":error-code") or ""
    text = headers.get(":error-message") or _said(message.payload) or "The provider broke off with an error"
    return LLMError(_kind(name[:1].upper() + name[1:], text, 0) or "bad_upstream", text)


def _said(payload: bytes) -> str | None:
    """The message of an exception; a payload that is no JSON is one itself."""
    try:
        told = piece_of(payload)
    except orjson.JSONDecodeError:
        return payload[:_MAX_TEXT].decode(errors="replace").strip()
    return _message(told) if isinstance(told, dict) else None


_MAX_TEXT = 500  # bytes of a payload that may be anything


# Whole answers.


def response(body: bytes, context: Context, created: int, request_id: str) -> Answer:
    """A ConverseResponse as a chat completion. Raises LLMError("bad_upstream") for what is none."""
    read = answer_of(body)
    told = read if isinstance(read, dict) else {}
    if "output" in told and b'"toolUse"' in body:
        told["output"] = all_digits(told, body)["output"]
    try:
        return _answer(told, context, created, request_id)
    except LLMError as failure:
        _charge(failure, _used(told))
        raise


def _charge(failure: LLMError, usage: Usage) -> None:
    """What was counted is billed, though the answer cannot be told."""
    if usage.tokens():
        failure.usage = usage


def _answer(told: Json, context: Context, created: int, request_id: str) -> Answer:
    message = object_of(object_of(told, "output"), "message")
    if not isinstance(message.get("content"), list):
        raise LLMError("bad_upstream", _message(told) or "The provider's answer is no message")
    reply = Reply(context)
    made: Json = {"content": None}
    for index, block in enumerate(objects_of(message, "content")):
        deltas.add(made, reply.whole(index, block))
    native = _word(told.get("stopReason"))
    last, reason = reply.finish(native, told)
    deltas.add(made, last)
    deltas.close(made)
    usage = _used(told)
    return Answer(
        completion(
            f"chatcmpl-{request_id}", created, context.model, [choice(made, reason, native)], usage, _tier(usage)
        ),
        usage,
        reply.remember,
    )


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


# Streams.


class Decoder:
    """Converse's events in, OpenAI's frames out.

    The finish waits for the metadata that follows messageStop, since what they say belongs to the message. Recorded
    once, they come before it: then, or where there are none, the finish waits for the stream's end, and once both have
    come nothing but further metadata counts. An error that comes behind content in the same bytes is raised by the
    next call, so that the content is not lost.
    """

    def __init__(self, context: Context, created: int, request_id: str) -> None:
        self.usage = Usage()
        self.started = False
        self.output_bytes = 0
        self.remember: Mapping[str, Any] = NONE
        self._context = context
        self._events = event_stream.Decoder()
        self._reply = Reply(context)
        self._chunks = Chunks(f"chatcmpl-{request_id}", created, context.model)
        self._stop: Json | None = None  # what messageStop said
        self._metadata: Json | None = None
        self._failed: LLMError | None = None
        self.done = False

    @property
    def finished(self) -> bool:
        """messageStop has come: the metadata are all that belongs behind it."""
        return self._stop is not None

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises LLMError for an exception frame or for what cannot be read."""
        if self._failed is not None:
            raise self._failed
        frames: list[bytes] = []
        if self.done:
            return frames
        try:
            for message in self._events.feed(data):
                self._read(message, frames)
                if self.done:
                    break
        except LLMError as failure:
            self._failed = failure
            if not frames:
                raise
        return frames

    def close(self) -> list[bytes]:
        """The last frames. Raises LLMError("bad_upstream") where messageStop never came, or within a frame."""
        if self._failed is None and (self._stop is None or (self._metadata is None and self._events.pending)):
            self._failed = cut_off("The provider's stream ended before its message did")
        if self._failed is not None:
            raise self._failed
        frames: list[bytes] = []
        if not self.done:
            self._finish(frames)
        return frames

    def _read(self, message: event_stream.Message, frames: list[bytes]) -> None:
        kind = message.headers.get(":event-type")
        if self._stop is not None and self._metadata is not None and kind != "metadata":
            return
        if message.headers.get(":message-type") in ("exception", "error"):
            raise _in_stream(message)
        if kind not in _KNOWN:
            return
        match kind, (event := event_of(message.payload)):
            case "contentBlockStart", {"contentBlockIndex": int(index), "start": dict(start)}:
                self._hand_out(self._reply.start(index, start), frames)
            case "contentBlockDelta", {"contentBlockIndex": int(index), "delta": dict(delta)}:
                self._hand_out(self._reply.delta(index, delta), frames)
            case "contentBlockStop", {"contentBlockIndex": int(index)}:
                self._hand_out(self._reply.stop(index), frames)
            case "messageStop", _:
                self._stop = event
            case "metadata", _:
                before = self._metadata or {}
                usage = later(object_of(before, "usage"), object_of(event, "usage"))
                self._metadata = {**before, **event, "usage": usage}
                self.usage = _used(self._metadata)
                if self._stop is not None:
                    self._finish(frames)

    def _hand_out(self, told: Iterable[Json], frames: list[bytes]) -> None:
        for delta in told:
            self.output_bytes += deltas.spoken_bytes(delta)
            if not self.started and "content" not in delta:
                delta = {"content": None, **delta}
            self.started = True
            frames.append(self._chunks.delta(delta))

    def _finish(self, frames: list[bytes]) -> None:
        self.done = True
        told = {**(self._metadata or {}), **(self._stop or {})}
        native = _word(told.get("stopReason"))
        last, reason = self._reply.finish(native, {name: told[name] for name in KEPT if name in told})
        try:
            self._hand_out(last, frames)
        except LLMError as failure:
            _charge(failure, self.usage)
            self._failed = failure
            raise
        self.started = True
        self._chunks.extra = _tier(self.usage)
        frames += self._chunks.finish(reason, native)
        self.remember = self._reply.remember
        if self._context.include_usage:
            frames.append(self._chunks.usage(self.usage))


_KNOWN = {"contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}  # others say nothing
