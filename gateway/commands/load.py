"""A bounded number of requests to an OpenAI-compatible URL, and what their callers saw."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

import orjson

from gateway.upstream import Reply, Timeouts, Upstream
from translators import sse
from translators.errors import LLMError

PATIENCE_S = 120.0  # for one answer, to its last byte
TIMEOUTS = Timeouts(5.0, PATIENCE_S, PATIENCE_S)
MOST_BYTES = 16 * 1024 * 1024  # of one answer
ASKED = "Name the farms along a canal that draws from one headgate, each with its share of the water."


class Address(NamedTuple):
    """Whom to ask, and for how much: `url` is the base URL that an SDK would be given, `key` may be ""."""

    url: str
    key: str
    model: str
    tokens: int  # `max_completion_tokens`


class Refused(LLMError):
    """An answer with a status that is not 200, which is `status`."""


@dataclass
class Seen:
    """Milliseconds that the callers of one part waited, of good answers; how many of the others there were, and why."""

    seconds: float = 0.0  # that all of it took
    whole_ms: list[float] = field(default_factory=list)  # to the last byte
    first_ms: list[float] = field(default_factory=list)  # to the first token of a stream
    between_ms: list[float] = field(default_factory=list)  # two tokens of it
    overhead_ms: list[float] = field(default_factory=list)  # as Headgate itself says
    errors: Counter[str] = field(default_factory=Counter)  # by status, or by the kind of LLMError

    @property
    def asked(self) -> int:
        """Requests, good and not."""
        return len(self.whole_ms) + self.errors.total()


def point(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of times in their order, of which there is one at least."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


class Caller:
    """Asks one address for whole answers or for streams."""

    def __init__(self, pool: Upstream, address: Address, *, streamed: bool) -> None:
        self._pool = pool
        self._streamed = streamed
        self.url = f"{address.url.rstrip('/')}/chat/completions"
        self._headers = {"content-type": "application/json"}
        if address.key:
            self._headers["authorization"] = f"Bearer {address.key}"
        asked: dict[str, Any] = {
            "model": address.model,
            "messages": [{"role": "user", "content": ASKED}],
            "max_completion_tokens": address.tokens,
        }
        self._body = orjson.dumps(asked | ({"stream": True} if streamed else {}))

    async def ask(self, seen: Seen) -> None:
        """One request, whose times are added to `seen`. Raises LLMError for an answer that is not good."""
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                own = await self._answered(begun, seen)
        except TimeoutError:
            raise LLMError("timeout", f"there was no whole answer within {PATIENCE_S:g} s") from None
        seen.whole_ms.append((time.perf_counter() - begun) * 1000)
        if own is not None:
            seen.overhead_ms.append(float(own))

    async def _answered(self, begun: float, seen: Seen) -> str | None:
        """Reads one answer to its end; what Headgate says of its own time."""
        reply = await self._pool.send(self.url, self._headers, self._body, TIMEOUTS, _written)
        try:
            if reply.status != 200:
                raise Refused("invalid_request", _reason(await reply.read(MOST_BYTES)), status=reply.status)
            if self._streamed:
                await _stream(reply, begun, seen)
            else:
                _check(await reply.read(MOST_BYTES))
        finally:
            reply.close()
        return reply.headers.get("x-headgate-overhead-ms")

    async def load(self, concurrency: int, requests: int, seconds: float) -> Seen:
        """So many callers, each of whom asks again as soon as it has its answer.

        No request begins once `requests` have begun or `seconds` have passed; those that have begun are waited for.
        """
        seen, begun = Seen(), time.perf_counter()
        left = iter(range(requests))

        async def caller() -> None:
            while time.perf_counter() - begun < seconds and next(left, None) is not None:
                try:
                    await self.ask(seen)
                except LLMError as error:
                    seen.errors[str(error.status) if isinstance(error, Refused) else error.kind] += 1

        async with asyncio.TaskGroup() as callers:
            for _ in range(concurrency):
                callers.create_task(caller())
        seen.seconds = time.perf_counter() - begun
        return seen


async def _stream(reply: Reply, begun: float, seen: Seen) -> None:
    decoder, last, ended = sse.Decoder(), 0.0, False
    while piece := await reply.next():
        now = time.perf_counter()
        for event in decoder.feed(piece):
            if event.data == b"[DONE]":
                ended = True
            elif _has_content(event.data):
                if last:
                    seen.between_ms.append((now - last) * 1000)
                else:
                    seen.first_ms.append((now - begun) * 1000)
                last = now
    if not ended:
        raise LLMError("bad_upstream", "its stream has no [DONE]: that is not as OpenAI streams")


def _has_content(data: bytes) -> bool:
    """Whether a chunk brings something for whoever asked: text, reasoning, a call."""
    match _parsed(data):
        case {"error": error}:
            raise LLMError("bad_upstream", f"its stream broke off: {_message(error)}")
        case {"choices": [{"delta": dict(delta)}, *_]}:
            return any(value for name, value in delta.items() if name != "role")
        case {"choices": list()}:
            return False
    raise LLMError("bad_upstream", f"it does not stream as OpenAI does: {_shown(data)}")


def _check(body: bytes) -> None:
    match _parsed(body):
        case {"choices": [{"message": dict()}, *_]}:
            return
    raise LLMError("bad_upstream", f"it does not answer as OpenAI does: {_shown(body)}")


def _reason(body: bytes) -> str:
    match _parsed(body):
        case {"error": error}:
            return _message(error)
    return _shown(body)


def _message(error: Any) -> str:
    return str(error["message"]) if isinstance(error, dict) and "message" in error else _shown(orjson.dumps(error))


def _shown(body: bytes) -> str:
    text = re.sub(r"\s+", " ", body[:200].decode(errors="replace")).strip()
    return "".join(char for char in text if char.isprintable()) or "nothing"


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _written(_: bool) -> None:
    """The pool says when a request is on its way; nothing here depends on it."""
