"""Anthropic's Messages API: the answer, whole and streamed, its usage and its errors.

A whole answer goes the way of a stream, block by block, and its deltas are put together: one reading for both.
Source: anthropic 2.11, types/raw_message_stream_event.py and the types it names; the recorded exchanges.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from translators import deltas, sse
from translators.anthropic_blocks import FINISH, KEPT, Reply
from translators.completion import Chunks, choice, completion, rewritten
from translators.errors import Kind, LLMError, cut_off, of_status, request_id_header, retry_after_s, unexplained
from translators.exchange import NONE, Answer, Context
from translators.json_values import all_digits, answer_of, event_of, object_of, piece_of
from translators.usage import Usage, count, later

Json = dict[str, Any]

TIERS = {"standard": "default", "priority": "priority", "fast": "priority"}  # OpenAI says priority of fast mode too

# types/shared/error_type.py
KINDS: dict[str, Kind] = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "upstream_auth",
    "permission_error": "upstream_auth",
    "billing_error": "upstream_quota",
    "not_found_error": "not_found",
    "request_too_large": "too_large",
    "conflict_error": "upstream_conflict",
    "rate_limit_error": "rate_limit",
    "timeout_error": "timeout",
    "api_error": "bad_upstream",
    "overloaded_error": "overloaded",
}


# Usage.


def usage_of(raw: Json) -> Usage:
    """Anthropic's usage in disjoint buckets. `output_tokens` there includes thinking (types/output_tokens_details.py).

    The tier is "fast" in fast mode, which has prices of its own.
    """
    cached, written = raw.get("cache_read_input_tokens"), raw.get("cache_creation_input_tokens")
    cached, written = count(cached) if cached else 0, count(written) if written else 0
    output, hour, reasoning, searches = count(raw.get("output_tokens")), 0, 0, 0
    created, details, tools = raw.get("cache_creation"), raw.get("output_tokens_details"), raw.get("server_tool_use")
    if isinstance(created, dict) and any(created.values()):
        hour = count(created.get("ephemeral_1h_input_tokens"))
        written = max(count(created.get("ephemeral_5m_input_tokens")), written - hour)
    if isinstance(details, dict):
        reasoning = min(count(details.get("thinking_tokens")), output)
    if isinstance(tools, dict):
        searches = count(tools.get("web_search_requests"))
    tier, region = raw.get("service_tier"), raw.get("inference_geo")
    return Usage(
        count(raw.get("input_tokens")),
        cached,
        written,
        hour,
        output_tokens=output - reasoning,
        reasoning_tokens=reasoning,
        web_searches=searches,
        service_tier="fast" if raw.get("speed") == "fast" else tier if isinstance(tier, str) else "",
        region=region if isinstance(region, str) and region != "not_available" else "",
    )


def _tier(usage: Usage) -> Json:
    return {"service_tier": TIERS[usage.service_tier]} if usage.service_tier in TIERS else {}


# Errors.


def error(status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """Anthropic's refusal by its structured type, with its message, request id and Retry-After."""
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        parsed = piece_of(body)
    except orjson.JSONDecodeError:
        parsed = None
    told = parsed[0] if isinstance(parsed, list) and parsed else parsed  # Vertex may wrap its errors in a list
    told = told if isinstance(told, dict) else {}
    kind, message = _told(told)
    if message is None:
        message = unexplained(status, body)
    return of_status(
        status,
        message,
        kind=kind,
        retry_after_s=retry_after_s(lowered.get("retry-after")),
        headers=request_id_header(told.get("request_id") or lowered.get("request-id")),
    )


def _told(body: Json) -> tuple[Kind | None, str | None]:
    """The kind and the message of an error body or an error event."""
    inner = object_of(body, "error")
    type, message = inner.get("type"), inner.get("message")
    kind = KINDS.get(type) if isinstance(type, str) else None
    if not isinstance(message, str) or not message:
        return kind, None
    if kind == "invalid_request" and _is_too_long(message):
        kind = "context_length"
    return kind, message


def _is_too_long(message: str) -> bool:
    """The one phrase that is read, for it has no code of its own (recorded: "prompt is too long: 3333404 tokens")."""
    lowered = message.lower()
    return "prompt is too long" in lowered or "exceed context limit" in lowered


def _in_answer(body: Json) -> LLMError:
    """An error that came within a 200."""
    kind, message = _told(body)
    headers = request_id_header(body.get("request_id"))
    return LLMError(kind or "bad_upstream", message or "The provider broke off with an error", headers=headers)


# Whole answers.


def response(body: bytes, context: Context, created: int, request_id: str) -> Answer:
    """A Message as a chat completion. Raises LLMError for an error inside a 200 and for what is no Message."""
    message = answer_of(body)
    if isinstance(message, dict) and message.get("type") == "error":
        raise _in_answer(message)
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        raise LLMError("bad_upstream", "The provider's answer is no message")
    native = message.get("stop_reason")
    native = native if isinstance(native, str) else None
    usage = usage_of(object_of(message, "usage"))
    try:
        text = _text_alone(message)
        if text is not None and native != "pause_turn":
            made, reason, remember = {"content": text}, FINISH.get(native or "", "stop"), NONE
        else:
            if b'"tool_use"' in body:
                message["content"] = all_digits(message, body)["content"]
            made, reason, remember = _read(message, native, context)
        id = message.get("id")
        return Answer(
            completion(
                id if isinstance(id, str) and id else f"chatcmpl-{request_id}",
                created,
                model if isinstance(model := message.get("model"), str) and model else context.model,
                [choice(made, reason, native)],
                usage,
                _tier(usage),
            ),
            usage,
            remember,
        )
    except LLMError as too_deep:
        too_deep.usage = usage
        raise


def _text_alone(message: Json) -> str | None:
    """The text of an answer that is nothing else, as most are: what `_read` makes of it is known without it."""
    try:
        [block] = message["content"]
        kind, text = block["type"], block["text"]
    except (KeyError, TypeError, ValueError):  # more blocks than one, or of another kind
        return None
    if kind != "text" or type(text) is not str or not text or block.get("citations"):
        return None
    return None if any(map(message.get, KEPT)) else text


def _read(message: Json, native: str | None, context: Context) -> tuple[Json, str, Mapping[str, Any]]:
    """The message that the blocks add up to, OpenAI's finish reason, and what to remember."""
    reply = Reply(context)
    made: Json = {"content": None}
    for index, block in enumerate(message["content"]):
        if isinstance(block, dict):
            deltas.add(made, reply.start(index, block))
            deltas.add(made, reply.stop(index))
    last, reason = reply.finish(native, message)
    deltas.add(made, last)
    deltas.close(made)
    return made, reason, reply.remember(native)


# Streams.

_BACKSLASH = 0x5C
_BEFORE_TEXT = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":"'
)
_BEHIND_TEXT = frozenset(b"}" + b" " * spaces + b"}\n\n" for spaces in range(32))  # Anthropic pads with up to 15


class Decoder:
    """Anthropic's events in, OpenAI's frames out.

    An error that comes behind content in the same bytes is raised by the next call, so that the content is not lost.
    A piece of text that comes alone, behind another, is put into its frame as it stands: nothing is parsed.
    """

    def __init__(self, context: Context, created: int, request_id: str) -> None:
        self.usage = Usage()
        self.started = False
        self.output_bytes = 0
        self.remember: Mapping[str, Any] = NONE
        self._context = context
        self._events = sse.Decoder()
        self._reply = Reply(context)
        self._chunks = Chunks(f"chatcmpl-{request_id}", created, context.model)
        self._raw_usage: Json = {}
        self._stop: Json = {}  # what message_delta said last
        self._failed: LLMError | None = None
        self.done = False
        self._texting: int | None = None  # the block that the last event was a piece of text of
        self._before = b""  # what stands before another such piece, if the next may be one
        self._frame_before = self._frame_behind = b""  # what stands around it in its frame
        self._texts: list[str] = []  # pieces that the message has still to hear of

    @property
    def finished(self) -> bool:
        """message_delta comes behind the last block, and message_stop alone behind the one that says why it ended."""
        return "stop_reason" in self._stop

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises LLMError for an error event or for what cannot be read."""
        rest = data.removeprefix(self._before)
        if rest is not data and (frame := self._more_text(rest)) is not None:
            return [frame]
        if self._failed is not None:
            raise self._failed
        if self._texting is not None and self._texts:
            self._reply.delta(self._texting, {"type": "text_delta", "text": "".join(self._texts)})
            self._texts.clear()
        self._before, self._texting = b"", None
        frames: list[bytes] = []
        try:
            for event in self._events.feed(data):
                if not self.done:
                    self._read(event_of(event.data), frames)
        except LLMError as failure:
            self._failed = failure
            if not frames:
                raise
        if self._texting is not None and self.started and self._failed is None and data.endswith(b"\n\n"):
            self._before = _BEFORE_TEXT % self._texting
            before, behind = self._chunks.around_text()
            self._frame_before, self._frame_behind = before + b'"', b'"' + behind
        return frames

    def _more_text(self, rest: bytes) -> bytes | None:
        """The frame of a piece of text, of which `rest` is the JSON from its first character on; None if it is not."""
        literal, _, behind = rest.partition(b'"')
        try:
            text = literal.decode()
            if not text.isprintable() or _BACKSLASH in literal:
                literal, _, behind = rest.rpartition(b'"')
                text, literal = rewritten(literal)
        except ValueError:
            return None
        if not text or behind not in _BEHIND_TEXT:
            return None
        self._texts.append(text)
        self.output_bytes += len(text.encode())
        return self._frame_before + literal + self._frame_behind

    def close(self) -> list[bytes]:
        """The last frames, if the stream ended without the blank line that its last event wants (recorded).

        Raises LLMError("bad_upstream") where message_stop never came.
        """
        frames = self.feed(b"\n\n")
        if self._failed is None and not self.done:
            self._failed = cut_off("The provider's stream ended before its message did")
        if self._failed is not None:
            raise self._failed
        return frames

    def _read(self, event: Json, frames: list[bytes]) -> None:
        self._texting = None
        if event.get("type") == "content_block_delta":  # most are, and a match costs a microsecond
            index, delta = event.get("index"), event.get("delta")
            if isinstance(index, int) and isinstance(delta, dict):
                before = len(frames)
                self._hand_out(self._reply.delta(index, delta), frames)
                if delta.get("type") == "text_delta" and len(frames) > before:
                    self._texting = index
            return
        match event:
            case {"type": "message_start", "message": dict(message)}:
                self._begin(message)
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                self._hand_out(self._reply.start(index, block), frames)
            case {"type": "content_block_stop", "index": int(index)}:
                self._hand_out(self._reply.stop(index), frames)
            case {"type": "message_delta"}:
                self._stop |= {name: event[name] for name in KEPT if event.get(name) is not None}
                self._stop |= {name: value for name, value in object_of(event, "delta").items() if value is not None}
                self._use(object_of(event, "usage"))
            case {"type": "message_stop"}:
                self._finish(frames)
            case {"type": "error"}:
                raise _in_answer(event)

    def _begin(self, message: Json) -> None:
        self._use(object_of(message, "usage"))
        if self.started:  # id and model are stable once they are said
            return
        if isinstance(id := message.get("id"), str) and id:
            self._chunks.id = id
        if isinstance(model := message.get("model"), str) and model:
            self._chunks.model = model
        self._chunks.extra = _tier(self.usage)

    def _use(self, usage: Json) -> None:
        """Usage is cumulative, and a later one may leave things out: merged over what came before, never added."""
        self._raw_usage = later(self._raw_usage, usage)
        self.usage = usage_of(self._raw_usage)

    def _hand_out(self, told: Iterable[Json], frames: list[bytes]) -> None:
        for delta in told:
            self.output_bytes += deltas.spoken_bytes(delta)
            if not self.started and "content" not in delta:
                delta = {"content": None, **delta}
            frames.append(self._chunks.delta(delta))
            self.started = True

    def _finish(self, frames: list[bytes]) -> None:
        self.done = True
        native = self._stop.get("stop_reason")
        native = native if isinstance(native, str) else None
        last, reason = self._reply.finish(native, self._stop)
        self._hand_out(last, frames)
        self.started = True
        frames += self._chunks.finish(reason, native)
        self.remember = self._reply.remember(native)
        if self._context.include_usage:
            frames.append(self._chunks.usage(self.usage))
