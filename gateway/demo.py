"""The built-in `demo` model: a provider inside the process, so that the first token needs no provider's key.

It reads OpenAI's request and writes OpenAI's bytes, and goes through translation, pricing and the ledger like any
other. Whatever it is asked, it says the same: what it does not heed is left out before, and reported.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from translators import sse
from translators.openai import OUTCOMES

SCHEME = "demo:"  # of a base_url that means: not over the network
_HEEDED = frozenset({"messages", "model", "max_completion_tokens", "max_tokens", "stop", "stream", "stream_options"})
_OURS = frozenset({"safety_identifier", "user"})  # whom the answer is for: that is booked here, whoever answers
# Of OpenAI's parameters; `n` too, which is then as many answers side by side.
DROPPED = frozenset(name for name in OUTCOMES if ":" not in name) - _HEEDED - _OURS
PACE_S = 0.02  # between two streamed tokens
GREETING = (
    "Hello from Headgate! This answer comes from the built-in demo model: it was authenticated with your virtual key, "
    "held against its budget, streamed, metered and billed like any other. Set a provider's key, such as "
    "OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY, and name one of its models instead."
)
_TOKEN = re.compile(r" ?[^ ]+| ")  # a word, with the space before it


class DemoReply:
    """What `gateway.upstream.Reply` is for a real provider: a status, headers, and a body in pieces."""

    def __init__(self, pieces: list[bytes], pace_s: float, content_type: str) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"content-type": content_type}
        self._pieces = deque(pieces)
        self._pace_s = pace_s
        self.received_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to say."""
        return not self._pieces

    async def next(self, timeout_s: float | None = None) -> bytes:
        """The next piece, b"" at the end."""
        if not self._pieces:
            return b""
        if self._pace_s:
            await asyncio.sleep(self._pace_s)
        piece = self._pieces.popleft()
        self.received_bytes += len(piece)
        return piece

    async def flow(self, take: Callable[[bytes], bool], timeout_s: float) -> None:
        """As upstream.Reply.flow does, piece by piece."""
        while take(await self.next(timeout_s)):
            pass

    async def read(self, limit: int) -> bytes:
        """The whole body."""
        body = b"".join(self._pieces)
        self.received_bytes += len(body)
        self._pieces.clear()
        return body

    def close(self) -> tuple[bytes, ...]:
        """Say no more; nothing waits unread, since it is made when it is asked for."""
        self._pieces.clear()
        return ()


def answer(body: bytes, created: int, request_id: str) -> DemoReply:
    """The demo's answer to a chat completion request; one token is one word here."""
    chat = orjson.loads(body)
    words = _TOKEN.findall(_until(GREETING, chat.get("stop")))
    limit = chat.get("max_completion_tokens") or chat.get("max_tokens") or len(words)
    said = words[:limit]
    finish = "length" if limit < len(words) else "stop"
    prompt = max(1, len(orjson.dumps(chat["messages"])) // 8)
    usage = {"prompt_tokens": prompt, "completion_tokens": len(said), "total_tokens": prompt + len(said)}
    head: dict[str, Any] = {"id": f"chatcmpl-{request_id}", "created": created, "model": "demo"}
    if not chat.get("stream"):
        message = {"role": "assistant", "content": "".join(said), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        whole = head | {"object": "chat.completion", "choices": [choice], "usage": usage}
        return DemoReply([orjson.dumps(whole)], 0.0, "application/json")
    head["object"] = "chat.completion.chunk"
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word}, None) for word in said]
    deltas.append(({}, finish))
    frames = [
        head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], "usage": None}
        for delta, finish in deltas
    ]
    frames.append(head | {"choices": [], "usage": usage})
    return DemoReply([*(sse.encode(orjson.dumps(frame)) for frame in frames), sse.DONE], PACE_S, "text/event-stream")


def _until(text: str, stop: str | list[str] | None) -> str:
    """`text` up to the first of the sequences that end it, which is not said."""
    sequences = [stop] if isinstance(stop, str) else stop or []
    return text[: min((at for each in sequences if each and (at := text.find(each)) >= 0), default=len(text))]
