"""Gemini's answers in OpenAI's shape: one reader of candidates, for whole answers and streams alike.

A whole answer is read as a stream of one chunk whose deltas are put together again, so both say the same.
Extensions in the message: `reasoning_content`, `reasoning_details` (thoughts, and signatures as `reasoning.encrypted`),
`images`, `server_tool_blocks` (code that Google ran, its results, calls of its own tools, and any part without a place
in OpenAI's shape: Google's part beside `index` and `type`), `grounding_metadata`, `url_context_metadata`,
`citation_metadata`, `safety_ratings`, `avg_logprobs`, `native_finish_message`, `continuation_token`, `prompt_feedback`,
`model_status`; web sources with a place in the text are `annotations`.

A blocked prompt is a choice with finish_reason `content_filter`, no content, and the block reason as
`native_finish_reason`. A malformed call, and any other end without a word of OpenAI's, is `stop` with Google's word.

Sources: google-genai 3.4, types.FinishReason, types.Part, types.GenerateContentResponse; the recorded exchanges.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from translators import completion, json_array, sse
from translators.errors import LLMError, cut_off
from translators.exchange import NONE, Answer, Context, Json
from translators.gemini_candidate import FINISH, PLAIN, Candidate, dict_of, list_of, logprobs_of, searches
from translators.gemini_error import error_object, within
from translators.gemini_usage import service_tier, usage_of
from translators.json_values import piece_of
from translators.usage import Usage, later

_BACKSLASH = 0x5C
_TEXT = re.compile(rb'"text": ?"((?:[^"\\]|\\.)+)"')
_COUNTED = re.compile(rb'"candidatesTokenCount": ?(?=[1-9])')
_COUNTS = re.compile(rb'[1-9][0-9]{0,8}(, ?"totalTokenCount": ?)[1-9][0-9]{0,8}')  # never 0: `later` takes the last
_PROBE = {"candidatesTokenCount": 999_999_999, "totalTokenCount": 999_999_999}


class Decoder:
    """Gemini's stream, as server-sent events or as one JSON array, in OpenAI's frames.

    An event that comes alone and is the one before it over again, save for its text and its counts of tokens, is not
    parsed: the text is put into its frame as it stands, and the last counts are read when they are asked for.
    """

    def __init__(self, context: Context, created: int, request_id: str) -> None:
        self.started = False
        self.done = False  # Google sends no end marker: the stream just ends
        self.output_bytes = 0
        self.remember: dict[str, Any] = {}
        self._context = context
        self._created = created
        self._request_id = request_id
        self._events: sse.Decoder | json_array.Decoder | None = None
        self._chunks: completion.Chunks | None = None
        self._candidates: dict[int, Candidate] = {}
        self._usage: Json = {}
        self._blocked: Json = {}  # promptFeedback
        self._failed: LLMError | None = None
        self._before = b""  # what stood before the text of the last event, if the next may be like it
        self._behind = b""  # what stood behind it
        self._before_counts = self._behind_counts = b""  # and within that, around the counts
        self._frame_before = self._frame_behind = b""  # what stands around a text in its frame
        self._speaker: Candidate | None = None  # the last that was read
        self._texts: list[str] = []  # what it has still to hear of
        self._unread = False  # the counts in `_behind` were not read yet

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises LLMError for an error in the stream or for what is no JSON."""
        rest = data.removeprefix(self._before)
        if rest is not data and (frame := self._more_text(rest)) is not None:
            return [frame]
        self._catch_up()
        self._before = b""
        if self._failed is not None:
            raise self._failed
        if self._events is None:
            data = data.lstrip(b"\xef\xbb\xbf \r\n\t")
            if not data:
                return []
            self._events = json_array.Decoder() if data[:1] in (b"[", b"{") else sse.Decoder()
        frames: list[bytes] = []
        chunk: Json = {}
        try:
            for event in self._events.feed(data):
                payload = event.data if isinstance(event, sse.Event) else event
                if payload.strip() != b"[DONE]":
                    chunk = _parsed(payload)
                    self._read(chunk, frames)
        except (LLMError, RecursionError) as error:
            self._failed = _ours(error)
            if not frames:  # what came before it in the same bytes goes out first
                raise self._failed from None
        self.output_bytes = sum([candidate.bytes for candidate in self._candidates.values()])
        self.started = self.started or bool(frames)
        if len(frames) == 1 and _is_text(chunk):
            self._learn(data, chunk)
        return frames

    def _learn(self, data: bytes, chunk: Json) -> None:
        """Take `data` for the pattern of what comes, if it is `chunk` alone: all but its text and its counts.

        That they stand where they seem to is proved by parsing it with others in their places.
        """
        place = _TEXT.search(data)
        if place is None or not data.startswith(b"data: ") or not data.endswith((b"\n\n", b"\r\n\r\n")):
            return
        before, behind = data[: place.start(1)], data[place.end(1) + 1 :]
        chunk["candidates"][0]["content"]["parts"][0]["text"] = ""
        before_counts = behind_counts = counts = b""
        if (counted := _COUNTED.search(behind)) and (found := _COUNTS.match(behind, counted.end())):
            before_counts, behind_counts = behind[: found.start()], behind[found.end() :]
            counts = b"999999999" + found[1] + b"999999999"
            chunk["usageMetadata"] = dict_of(chunk.get("usageMetadata")) | _PROBE
        try:
            probe = orjson.loads(before[6:] + b'"' + (before_counts + counts + behind_counts if counts else behind))
            proved = probe == chunk
        except (orjson.JSONDecodeError, RecursionError):  # the second, where it is nested too deep to be compared
            return
        if proved and self._chunks is not None and self._speaker is not None:
            self._before, self._behind = before, behind
            self._before_counts, self._behind_counts = before_counts, behind_counts
            frame_before, frame_behind = self._chunks.around_text(self._speaker.index)
            self._frame_before, self._frame_behind = frame_before + b'"', b'"' + frame_behind

    def _more_text(self, rest: bytes) -> bytes | None:
        """The frame of an event like the last, of which `rest` is the JSON from its text on; None if it is not."""
        literal, quote, behind = rest.partition(b'"')
        while quote and literal and literal[-1] == _BACKSLASH:
            more, quote, behind = behind.partition(b'"')
            literal += b'"' + more
        if behind != self._behind:
            counted = behind.removeprefix(self._before_counts)
            counts = counted.removesuffix(self._behind_counts)
            if counted is behind or counts is counted or _COUNTS.fullmatch(counts) is None:
                return None
        try:
            text = literal.decode()
            if not text.isprintable() or _BACKSLASH in literal:
                text, literal = completion.rewritten(literal)
        except ValueError:
            return None
        if not text:
            return None
        self._behind, self._unread = behind, True
        self._texts.append(text)
        self.output_bytes += len(text.encode())
        return self._frame_before + literal + self._frame_behind

    def _catch_up(self) -> None:
        """Read what was told at a glance."""
        if self._unread:
            self._unread = False
            self._usage = later(
                self._usage, dict_of(_parsed(self._before[6:] + b'"' + self._behind).get("usageMetadata"))
            )
        if self._texts and self._speaker is not None:
            self._speaker.carry_on("".join(self._texts))
            self._texts.clear()

    def _read(self, chunk: Json, frames: list[bytes]) -> None:
        if self._chunks is None:
            id, model = _head(chunk, self._context, self._request_id)
            self._chunks = completion.Chunks(id, self._created, model)
        self._usage = later(self._usage, dict_of(chunk.get("usageMetadata")))
        self._blocked |= dict_of(chunk.get("promptFeedback"))
        if tier := service_tier(self._usage):
            self._chunks.extra = {"service_tier": tier}
        for candidate, said in _candidates(chunk, self._candidates, self._context, self._request_id):
            self._speaker = candidate
            logprobs = logprobs_of(dict_of(said["logprobsResult"])) if "logprobsResult" in said else None
            for delta in candidate.read(said):
                frames.append(self._chunks.delta(delta, candidate.index, logprobs))
                logprobs = None
            if logprobs is not None:
                frames.append(self._chunks.delta({}, candidate.index, logprobs))

    @property
    def finished(self) -> bool:
        """The finish comes with the last of the text and mostly with the last counts, but nothing says that it did."""
        return bool(self._candidates) and all(each.finish is not None for each in self._candidates.values())

    @property
    def usage(self) -> Usage:
        """What is known so far."""
        self._catch_up()
        return usage_of(self._usage, *searches(self._candidates.values()))

    def close(self) -> list[bytes]:
        """The end of each choice, and the usage where it was asked for.

        Raises LLMError("bad_upstream") when a choice that was begun has no finish reason, or nothing came at all.
        """
        frames = self.feed(b"\n\n")  # the last event may lack its blank line
        if self._failed is not None:
            raise self._failed
        chunks, blocked = self._chunks, self._blocked.get("blockReason")
        if chunks is None or not (self._candidates or blocked):
            raise cut_off("The provider's stream ended without an answer")
        if any(candidate.finish is None for candidate in self._candidates.values()) and not blocked:
            raise cut_off("The provider's stream ended before its answer did")
        for index in sorted(self._candidates):
            candidate = self._candidates[index]
            frames += [chunks.delta(delta, index) for delta in candidate.end(self._created)]
            cut = candidate.finish is None  # by a block that came late
            reason, native = ("content_filter", _name(blocked)) if cut else (candidate.finish_reason, candidate.finish)
            frames += chunks.finish(reason, native, index)
            self.remember |= candidate.remember
        self.output_bytes = sum([candidate.bytes for candidate in self._candidates.values()])
        if not self._candidates:
            message, native = _block(self._blocked)
            frames += [chunks.delta(message), *chunks.finish("content_filter", native)]
        if self._context.include_usage:
            frames.append(chunks.usage(self.usage))
        return frames


def response(body: bytes, context: Context, created: int, request_id: str) -> Answer:
    """Gemini's whole answer as OpenAI's. Raises LLMError for an error within it, or when it holds no answer."""
    said = _parsed(body)
    metadata, read = dict_of(said.get("usageMetadata")), dict[int, Candidate]()
    remember: Mapping[str, Any] = NONE
    try:
        text = _text_alone(said)
        if text is not None:
            reason = said["candidates"][0]["finishReason"]
            choices = [completion.choice({"content": text}, FINISH.get(reason, "stop"), reason)]
            usage = usage_of(metadata, 0, 0)
        else:
            choices = _read(said, read, context, created, request_id)
            usage = usage_of(metadata, *searches(read.values()))
            remember = {key: value for each in read.values() for key, value in each.remember.items()}
        id, model = _head(said, context, request_id)
        extra = {"service_tier": usage.service_tier} if usage.service_tier else None
        return Answer(completion.completion(id, created, model, choices, usage, extra), usage, remember)
    except (LLMError, RecursionError) as error:
        failure, used = _ours(error), usage_of(metadata, *searches(read.values()))
        if read or not used.blank():  # what holds a candidate was worked for, counted or not
            failure.usage = used
        raise failure from None


def _ours(error: LLMError | RecursionError) -> LLMError:
    """`error`, save that a value too deep to be looked at is no fault of ours: orjson reads more levels than Python."""
    if isinstance(error, LLMError):
        return error
    return LLMError("bad_upstream", "The provider's answer is nested too deep to be read")


def _text_alone(said: Json) -> str | None:
    """The text of an answer that is nothing else, as most are: what `_read` makes of it is known without it."""
    try:
        [candidate] = said["candidates"]
        [part] = candidate["content"]["parts"]
        text, reason = part["text"], candidate["finishReason"]
    except (KeyError, TypeError, ValueError):  # more than one, or something else
        return None
    if len(part) != 1 or type(text) is not str or not text or type(reason) is not str or not reason:
        return None
    if not PLAIN.issuperset(candidate) or candidate.get("index") or "promptFeedback" in said or "modelStatus" in said:
        return None
    return text


def _read(said: Json, read: dict[int, Candidate], context: Context, created: int, request_id: str) -> list[Json]:
    """The choices of a whole answer; its candidates go into `read`. Raises LLMError where it holds neither."""
    messages: dict[int, Json] = {}
    logprobs: dict[int, Json | None] = {}
    for candidate, each in _candidates(said, read, context, request_id):
        message = messages.setdefault(candidate.index, {})
        for delta in [*candidate.read(each), *candidate.end(created)]:
            _join(message, delta)
        logprobs[candidate.index] = logprobs_of(dict_of(each.get("logprobsResult")))
    choices = []
    for index in sorted(messages):  # one without a finish reason is whole all the same, its JSON being so (recorded)
        made = completion.choice(_whole(messages[index]), read[index].finish_reason, read[index].finish, index)
        choices.append({**made, "logprobs": logprobs[index]})
    if not choices:
        feedback = dict_of(said.get("promptFeedback"))
        if not feedback.get("blockReason"):
            raise LLMError("bad_upstream", "The provider's answer holds neither a candidate nor a reason")
        message, reason = _block(feedback)
        choices = [completion.choice(message, "content_filter", reason)]
    return choices


def _parsed(payload: bytes) -> Json:
    """One response object. Raises LLMError for an error in its place, or for what is none."""
    try:
        parsed = piece_of(payload)
    except orjson.JSONDecodeError:
        raise LLMError("bad_upstream", "The provider sent what is not JSON") from None
    if type(parsed) is dict and "error" not in parsed:
        return parsed
    if (found := error_object(parsed)) is not None:
        raise within(found)
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        raise LLMError("bad_upstream", "The provider sent JSON that is no answer")
    return parsed


def _head(said: Json, context: Context, request_id: str) -> tuple[str, str]:
    return str(said.get("responseId") or f"chatcmpl-{request_id}"), str(said.get("modelVersion") or context.model)


def _candidates(
    said: Json, read: dict[int, Candidate], context: Context, request_id: str
) -> Iterator[tuple[Candidate, Json]]:
    for place, each in enumerate(list_of(said.get("candidates"))):
        if not isinstance(each, dict):
            continue
        given = each.get("index")
        index = given if isinstance(given, int) and 0 <= given < MAX_CANDIDATES else place
        if index not in read:
            # made-up ids are unique in an answer, and the same however often it is decoded
            prefix = f"call_{request_id}_" + (f"{index}_" if index else "")
            read[index] = Candidate(index, context, prefix)
        if place == 0 and ("promptFeedback" in said or "modelStatus" in said):
            each = each | {key: said[key] for key in ("promptFeedback", "modelStatus") if key in said}
        yield read[index], each


MAX_CANDIDATES = 128


def _is_text(chunk: Json) -> bool:
    """Whether `chunk` says a piece of one candidate's text and nothing else, save for what may be said twice."""
    match chunk.get("candidates"):
        case [{"content": {"parts": [{"text": str(), **more}]}, **beside}] if not more:
            return all(name == "index" or value in (None, [], {}) for name, value in beside.items())
    return False


def _block(feedback: Json) -> tuple[Json, str | None]:
    """The message and the reason of a blocked prompt."""
    told = feedback.get("blockReasonMessage")
    message: Json = {"content": "", "prompt_feedback": feedback, **({"refusal": told} if told else {})}
    return message, _name(feedback.get("blockReason"))


def _name(value: object) -> str | None:
    """A word of Google's, or the number that a proxy writes in its place."""
    return str(value) if isinstance(value, str | int) else None


def _join(message: Json, delta: Json) -> None:
    """What the SDKs' accumulators do: strings joined, list entries by `index`."""
    for key, value in delta.items():
        old = message.get(key)
        if isinstance(old, str) and isinstance(value, str) and key != "type":
            message[key] = old + value
        elif isinstance(old, dict) and isinstance(value, dict):
            _join(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            for entry in [*value]:  # it may be the same list, where a candidate comes twice
                place = dict_of(entry).get("index")
                same = next((each for each in old if place is not None and dict_of(each).get("index") == place), None)
                if same is None:
                    old.append(entry)
                else:
                    _join(same, entry)
        else:
            message[key] = value


def _whole(message: Json) -> Json:
    """A joined message as it stands in a whole answer."""
    for call in message.get("tool_calls") or ():
        del call["index"]
    if not any(message.get(said) for said in ("content", "tool_calls", "function_call", "audio")):
        message["content"] = ""
    return message
