"""Clients of a chaos run, on plain sockets: they ask, count the events, hang up where they are told to, and keep what
they were told.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.chaos.upstream import WORDS, Order

PATIENCE_S = 120.0
PROMPT_WORDS = 16  # each one token


@dataclass(frozen=True)
class Call:
    """One request to be made. `leave_at`: hang up at this event of the stream; `leave_after_s`: so long after the
    request was sent, whatever has come by then; `leave_unsaid`: with half of the request sent."""

    token: str
    order: Order
    stream: bool = True
    max_tokens: int | None = None
    leave_at: int | None = None
    leave_after_s: float | None = None
    leave_unsaid: bool = False

    def request(self) -> bytes:
        content = "".join(WORDS[at % len(WORDS)] for at in range(PROMPT_WORDS))
        body: dict[str, Any] = {"model": self.order.model, "messages": [{"role": "user", "content": content}]}
        if self.stream:
            body["stream"] = True
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        packed = orjson.dumps(body)
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: gateway",
            "connection: close",
            f"authorization: Bearer {self.token}",
            "content-type: application/json",
            f"content-length: {len(packed)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + packed


@dataclass
class Outcome:
    """How a call went, as its client saw it. `status` 0: it was told nothing."""

    call: Call
    status: int = 0
    request_id: str = ""
    answer_id: str = ""
    finish: str = ""
    code: str = ""  # of the error, in the body or in the stream
    ended: bool = False  # the answer came to its proper end
    left_s: float = 0.0  # when it hung up, on the monotonic clock; 0: it did not
    events: int = 0
    took_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def in_full(self) -> bool:
        """The whole answer came, and nothing had cut it short."""
        return self.status == 200 and self.ended and self.finish == "stop"


async def ask(port: int, call: Call) -> Outcome:
    """Make the call; whatever happens to it is an outcome."""
    outcome, begun_s = Outcome(call), time.monotonic()
    received = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
            try:
                await _talk(call, outcome, received, reader, writer)
            finally:
                writer.transport.abort()
    except TimeoutError:
        outcome.code = "no_end"
    except OSError as error:
        outcome.code = type(error).__name__
    outcome.took_s = time.monotonic() - begun_s
    _read(bytes(received), outcome)
    return outcome


async def _talk(
    call: Call, outcome: Outcome, received: bytearray, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    request = call.request()
    writer.write(request[: len(request) - 20] if call.leave_unsaid else request)
    await writer.drain()
    if call.leave_unsaid:
        await asyncio.sleep(0.02)
        outcome.left_s = time.monotonic()
        return
    end = None if call.leave_after_s is None else asyncio.get_running_loop().time() + call.leave_after_s
    try:
        async with asyncio.timeout_at(end):
            while data := await reader.read(1 << 16):
                received += data
                if call.leave_at is not None and received.count(b"\n\n") >= call.leave_at:
                    outcome.left_s = time.monotonic()
                    return
    except TimeoutError:
        outcome.left_s = time.monotonic()


async def ask_all(port: int, calls: Sequence[Call]) -> list[Outcome]:
    """All at once."""
    return await asyncio.gather(*(ask(port, call) for call in calls))


def _read(received: bytes, outcome: Outcome) -> None:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return
    first, *lines = head.decode("latin-1").split("\r\n")
    outcome.status = int(first.split(" ")[1])
    outcome.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    outcome.request_id = outcome.headers.get("x-request-id", "")
    if outcome.headers.get("transfer-encoding") == "chunked":
        body = _dechunked(body)
    if outcome.headers.get("content-type", "").startswith("text/event-stream"):
        _read_events(body, outcome)
    elif len(body) == int(outcome.headers.get("content-length", "0")):
        _note(json.loads(body), outcome)
        outcome.ended = True


def _dechunked(body: bytes) -> bytes:
    pieces: list[bytes] = []
    while body:
        size, end, rest = body.partition(b"\r\n")
        if not end or not (length := int(size, 16)):
            break
        pieces.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(pieces)


def _read_events(body: bytes, outcome: Outcome) -> None:
    *whole, _ = body.split(b"\n\n")
    for event in whole:
        if event == b"data: [DONE]":
            outcome.ended = True
        elif event.startswith(b"data: "):
            _note(json.loads(event[6:]), outcome)
        outcome.events += 1


def _note(content: Any, outcome: Outcome) -> None:
    if error := content.get("error"):
        outcome.code = error.get("code") or error.get("type") or "error"
        return
    outcome.answer_id = content.get("id") or outcome.answer_id
    for choice in content.get("choices") or ():
        outcome.finish = choice.get("finish_reason") or outcome.finish
