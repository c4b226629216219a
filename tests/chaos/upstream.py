"""An upstream that counts: `python -m tests.chaos.upstream PORT` speaks OpenAI's and Anthropic's shapes and generates
one token after another, at a stated pace, until the answer is done or it sees that its connection is closed.

What it is to do stands in the model's name (`Order`); what it did, request by request, is at GET /counts.
"""

import asyncio
import json
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import orjson
import uvloop

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}  # Anthropic's words for OpenAI's
Fault = Literal["none", "early", "late", "error", "cut", "reset", "silent"]
WORDS = (" the", " and", " for", " was", " you", " not", " can", " all")  # each one token to any tokenizer, four bytes
MESSAGE_TOKENS = 4  # what this provider wraps around a prompt
LATE_S = 1.2  # "late": the connection is closed unanswered, but not so soon that it may have been stale
_ORDER = re.compile(r"(\w)-(\d+)x(\d+)w(\d+)-([a-z]+)(\d+)-(.*)")


@dataclass(frozen=True)
class Order:
    """What a request asks of the upstream, spelled in the name of its model.

    `host`: o and h speak OpenAI's shape, a Anthropic's; the gateway has little patience with h. `at`: after how many
    tokens the fault comes (cut, reset, silent).
    """

    tag: str
    host: str = "o"
    tokens: int = 20
    pace_ms: int = 10
    wait_ms: int = 0  # before the first token
    fault: Fault = "none"
    at: int = 0

    @property
    def model(self) -> str:
        return f"{self.host}-{self.tokens}x{self.pace_ms}w{self.wait_ms}-{self.fault}{self.at}-{self.tag}"


def order_of(model: str) -> Order:
    """The order that a model's name spells. Raises ValueError."""
    found = _ORDER.fullmatch(model)
    if found is None:
        raise ValueError(f"{model!r} is no order")
    host, tokens, pace_ms, wait_ms, fault, at, tag = found.groups()
    return Order(tag, host, int(tokens), int(pace_ms), int(wait_ms), fault, int(at))  # type: ignore[arg-type]  # as `model` wrote them


@dataclass
class Count:
    """What became of one request here. Times are of the monotonic clock, which all processes of a machine share."""

    number: int
    model: str
    prompt_tokens: int
    began_s: float
    generated: int = 0
    ended_s: float = 0.0  # 0: it still runs
    closed: bool = False  # the other side went away

    @property
    def answer_id(self) -> str:
        return f"answer-{self.number}"


class Upstream:
    """All connections' counts."""

    def __init__(self) -> None:
        self.counts: list[Count] = []

    def begin(self, model: str, prompt: str) -> Count:
        count = Count(len(self.counts), model, MESSAGE_TOKENS + len(prompt) // 4, time.monotonic())
        self.counts.append(count)
        return count


class Connection(asyncio.Protocol):
    """One connection, one request after another."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._unread = b""
        self._running: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, end, rest = self._unread.partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        if len(rest) >= size:
            body, self._unread = rest[:size], rest[size:]
            self._running = asyncio.ensure_future(self._answer(head.split(b" ", 2)[1], body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/counts":
            self._whole(200, {"counts": [asdict(count) for count in self._upstream.counts]})
            return
        asked = json.loads(body)
        shape: Shape = Anthropic() if path == b"/v1/messages" else OpenAI()
        order = order_of(asked["model"])
        count = self._upstream.begin(asked["model"], _text(asked["messages"][-1]["content"]))
        most = min((asked[name] for name in ("max_tokens", "max_completion_tokens") if asked.get(name)), default=None)
        length = order.tokens if most is None else min(order.tokens, most)
        finish = "stop" if length == order.tokens else "length"
        try:
            if order.fault == "error":
                count.prompt_tokens = 0  # nobody bills a failure of its own
                self._whole(500, {"error": {"message": "out of order", "type": "server_error"}})
            elif asked.get("stream"):
                await self._stream(order, count, shape, length, finish)
            else:
                await self._in_one_piece(order, count, shape, length, finish)
        except asyncio.CancelledError:
            count.closed = True
            raise
        finally:
            count.ended_s = time.monotonic()

    async def _stream(self, order: Order, count: Count, shape: "Shape", length: int, finish: str) -> None:
        if await self._unanswered(order):
            return
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for event in shape.beginning(count):
            self._chunk(event)
        async for at in _paced(order, length):
            if order.fault != "none" and at == order.at:
                await self._break_off(order.fault)
                return
            count.generated += 1
            self._chunk(shape.token(count, WORDS[at % len(WORDS)]))
        for event in shape.ending(count, finish):
            self._chunk(event)
        self._transport.write(b"0\r\n\r\n")

    async def _in_one_piece(self, order: Order, count: Count, shape: "Shape", length: int, finish: str) -> None:
        if await self._unanswered(order):
            return
        async for at in _paced(order, length):
            if order.fault in ("reset", "silent") and at == order.at:
                await self._break_off(order.fault)
                return
            count.generated += 1
        text = "".join(WORDS[at % len(WORDS)] for at in range(length))
        self._whole(200, shape.whole(count, text, finish), cut=order.fault == "cut")

    async def _unanswered(self, order: Order) -> bool:
        if order.fault == "late":
            await asyncio.sleep(LATE_S)
        if order.fault in ("early", "late"):
            self._transport.close()
        return order.fault in ("early", "late")

    async def _break_off(self, fault: Fault) -> None:
        if fault == "silent":
            await asyncio.get_running_loop().create_future()  # until the other side goes away
        if fault == "reset":
            reset = struct.pack("ii", 1, 0)  # linger for no time: RST in place of FIN
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            self._transport.abort()
        else:
            self._transport.close()

    def _chunk(self, event: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    def _whole(self, status: int, content: object, *, cut: bool = False) -> None:
        body = orjson.dumps(content)
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + (body[: len(body) // 2] if cut else body))
        if cut:
            self._transport.close()


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def _paced(order: Order, length: int) -> Any:
    """0, 1, 2 …, each when it is due; those that are late come without a pause."""
    loop = asyncio.get_running_loop()
    begin = loop.time() + order.wait_ms / 1000
    for at in range(length):
        await asyncio.sleep(max(0.0, begin + (at + 1) * order.pace_ms / 1000 - loop.time()))
        yield at


def _event(content: object, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + orjson.dumps(content) + b"\n\n"


class OpenAI:
    """Chat completions' events and answers."""

    def _chunk(self, count: Count, choices: list[object], usage: object = None) -> bytes:
        head = {"id": count.answer_id, "object": "chat.completion.chunk", "created": 1, "model": count.model}
        return _event({**head, "choices": choices, "usage": usage})

    def _usage(self, count: Count) -> dict[str, int]:
        prompt, completion = count.prompt_tokens, count.generated
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def beginning(self, count: Count) -> Iterator[bytes]:
        yield self._chunk(count, [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def token(self, count: Count, text: str) -> bytes:
        return self._chunk(count, [{"index": 0, "delta": {"content": text}, "finish_reason": None}])

    def ending(self, count: Count, finish: str) -> Iterator[bytes]:
        yield self._chunk(count, [{"index": 0, "delta": {}, "finish_reason": finish}])
        yield self._chunk(count, [], self._usage(count))
        yield b"data: [DONE]\n\n"

    def whole(self, count: Count, text: str, finish: str) -> object:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        head = {"id": count.answer_id, "object": "chat.completion", "created": 1, "model": count.model}
        return {**head, "choices": [choice], "usage": self._usage(count)}


class Anthropic:
    """Messages' events and answers."""

    def _message(self, count: Count, content: list[object], stop: str | None) -> dict[str, object]:
        usage = {"input_tokens": count.prompt_tokens, "output_tokens": count.generated}
        head = {"id": count.answer_id, "type": "message", "role": "assistant", "model": count.model}
        return {**head, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def beginning(self, count: Count) -> Iterator[bytes]:
        yield _event({"type": "message_start", "message": self._message(count, [], None)}, "message_start")
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        yield _event(block, "content_block_start")

    def token(self, count: Count, text: str) -> bytes:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        return _event(delta, "content_block_delta")

    def ending(self, count: Count, finish: str) -> Iterator[bytes]:
        yield _event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        delta = {"stop_reason": STOP_REASONS[finish], "stop_sequence": None}
        usage = {"output_tokens": count.generated}
        yield _event({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta")
        yield _event({"type": "message_stop"}, "message_stop")

    def whole(self, count: Count, text: str, finish: str) -> object:
        return self._message(count, [{"type": "text", "text": text}], STOP_REASONS[finish])


Shape = OpenAI | Anthropic


async def serve(port: int) -> None:
    """Until the process is ended."""
    upstream = Upstream()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(upstream), "127.0.0.1", port, backlog=2048
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
