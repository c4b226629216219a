"""OpenAI's two answers, written the way its own API writes them: the chat completion and its chunks.

Extension fields are those that the field already uses: `reasoning_content` (DeepSeek, vLLM and others: the text of the
reasoning), `reasoning_details` (OpenRouter: a list of `{"type", "format", "index", …}` that carries signatures),
`native_finish_reason` (OpenRouter: the provider's own word). Lists in a delta carry `index`, as the SDKs' accumulators
demand.
"""

from typing import Any

import orjson

from translators import sse
from translators.json_values import piece_of, told
from translators.usage import Usage

Json = dict[str, Any]


class Chunks:
    """Writes the frames of one stream: stable id and created, the role once, one finish a choice. Raises as `told`."""

    def __init__(self, id: str, created: int, model: str) -> None:
        self.id = id
        self.created = created
        self.model = model
        self.extra: Json = {}  # further top-level fields of every chunk (service_tier)
        self._begun: set[int] = set()
        self._around: dict[int, tuple[bytes, bytes]] = {}  # a further piece of each choice's text
        self._around_of: tuple[str, str, Json] = ("", "", {})

    def delta(self, delta: Json, index: int = 0, logprobs: Json | None = None) -> bytes:
        """A frame for one choice; its first also says the role."""
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", "content": "", **delta}
        elif logprobs is None and len(delta) == 1 and "content" in delta:
            before, behind = self.around_text(index)
            return before + orjson.dumps(delta["content"]) + behind
        return self._frame([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}])

    def around_text(self, index: int = 0) -> tuple[bytes, bytes]:
        """What stands around a further piece of text, as JSON, in its frame: most frames differ in nothing else."""
        of = (self.id, self.model, self.extra)
        if of != self._around_of:
            self._around, self._around_of = {}, (self.id, self.model, self.extra.copy())
        if index not in self._around:
            frame = self._frame([{"index": index, "delta": {"content": 0}, "logprobs": None, "finish_reason": None}])
            before, name, behind = frame.rpartition(b'"delta":{"content":')
            self._around[index] = before + name, behind[1:]
        return self._around[index]

    def finish(self, reason: str, native: str | None = None, index: int = 0) -> list[bytes]:
        """The last frame of one choice, behind its first where nothing was said."""
        frames = [] if index in self._begun else [self.delta({}, index)]
        choice: Json = {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}
        if native is not None:
            choice["native_finish_reason"] = native
        return [*frames, self._frame([choice])]

    def usage(self, usage: Usage) -> bytes:
        """The frame with usage and no choices, which is only for a client that asked."""
        return self._frame([], {"usage": usage.to_openai()})

    def _frame(self, choices: list[Json], more: Json | None = None) -> bytes:
        chunk = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **self.extra,
            **(more or {}),
        }
        return sse.encode(told(chunk))


def rewritten(literal: bytes) -> tuple[str, bytes]:
    """The text of a JSON string and the string as it stands in our frames, both of them without quotes around.

    Raises ValueError for what is no JSON string.
    """
    text: str = orjson.loads(b'"' + literal + b'"')
    return text, orjson.dumps(text)[1:-1]


def tool_call_start(index: int, id: str, name: str, arguments: str = "") -> Json:
    """The delta that begins a tool call: id and name come exactly once."""
    call = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [call]}


def tool_call_arguments(index: int, arguments: str) -> Json:
    """The delta that carries on a tool call's arguments."""
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def choice(message: Json, finish_reason: str, native: str | None = None, index: int = 0) -> Json:
    """One choice of a whole answer. `message` has its `role` filled in here."""
    made: Json = {
        "index": index,
        "message": {"role": "assistant", "content": None, "refusal": None, **message},
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    if native is not None:
        made["native_finish_reason"] = native
    return made


def completion(
    id: str, created: int, model: str, choices: list[Json], usage: Usage, extra: Json | None = None
) -> bytes:
    """The whole answer as JSON bytes. Raises as `told`."""
    return told(
        {
            "id": id,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": choices,
            "usage": usage.to_openai(),
            **(extra or {}),
        }
    )


def written_bytes(said: object) -> int:
    """UTF-8 bytes of the text, reasoning and arguments in a message or a delta, whatever else is in it.

    Reasoning that is told twice, as text and as details, counts once. Sound and pictures count as text of as many
    tokens.
    """
    if not isinstance(said, dict):
        return 0
    reasoning = said.get("reasoning_content") or said.get("reasoning") or said.get("reasoning_details")
    if not (reasoning or said.get("refusal") or said.get("function_call") or said.get("tool_calls")):
        content = said.get("content")
        if type(content) is str and "audio" not in said and "images" not in said:  # as mostly: a fifth of the time
            return len(content.encode(errors="surrogatepass"))
    size = _seen_or_heard_bytes(said)
    left: list[tuple[object, int]] = [(said.get("content"), 0), (reasoning, 0), (said.get("refusal"), 0)]
    left += [(said.get("function_call"), 0), (said.get("tool_calls"), 0)]
    while left:
        value, depth = left.pop()
        if isinstance(value, str):
            size += len(value.encode(errors="surrogatepass"))
        elif isinstance(value, list) and depth < DEEPEST:
            left += [(item, depth + 1) for item in value]
        elif isinstance(value, dict) and depth < DEEPEST:
            left += [(value.get(name), depth + 1) for name in _WRITTEN]
    return size


def _seen_or_heard_bytes(said: Json) -> int:
    audio, images = said.get("audio"), said.get("images")
    size = PICTURE_BYTES * len(images) if isinstance(images, list) else 0
    if isinstance(audio, dict):
        data, transcript = audio.get("data"), audio.get("transcript")
        size += -(-len(data) // SOUND_PER_BYTE) if isinstance(data, str) else 0
        size += len(transcript.encode(errors="surrogatepass")) if isinstance(transcript, str) else 0
    return size


# Guesses. Sound of 20 tokens a second, as 24,000 samples of two bytes in base64, which is the only form in a stream
# (openai 3.52, ChatCompletionAudioParam; developers.openai.com, realtime costs), and four bytes of text to a token; a
# picture of 1,290 tokens (ai.google.dev, pricing).
SOUND_PER_BYTE = 800
PICTURE_BYTES = 4 * 1290
DEEPEST = 6  # a part of a call of a message; deeper is not text
_WRITTEN = ("text", "thinking", "summary", "name", "arguments", "input", "function", "custom")


def cut_short(frame: bytes, usage: Usage | None, why: Json) -> list[bytes]:
    """The frames that end a stream whose last frame with a choice was `frame` (b"": none was), as at a limit of length.

    `why` goes into the last choice's chunk as `headgate`. `usage` where the client asked for it.
    """
    try:
        last = piece_of(frame.removeprefix(b"data:")) if frame else {}
    except orjson.JSONDecodeError:  # a host's text frame is relayed unread until here
        last = {}
    chunk = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": ""}
    chunk |= {name: last[name] for name in (*chunk, "service_tier") if isinstance(last.get(name), str | int | float)}
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
    frames = [sse.encode(orjson.dumps({**chunk, "choices": [choice], "headgate": why}))]
    if usage is not None:
        frames.append(sse.encode(orjson.dumps({**chunk, "choices": [], "usage": usage.to_openai()})))
    return frames
