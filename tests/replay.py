"""The replaying upstream: a real HTTP/1.1 server on a loopback port that answers with recorded exchanges.

    with Upstream() as upstream:
        upstream.answer(recorded(recording("openai.chat", "d6c4bb30c4a5")))     # the next call gets this
        upstream.answer(json_reply(200, {...}).dripped(7), SILENCE)             # then these, in this order
        upstream.handler = lambda request: ...                                  # and every further one what it returns
        client(base_url=upstream.url)
        assert upstream.requests[0].json()["model"] == "gpt-5.4"
        upstream.wait_until(lambda: upstream.hung_up == 1)                      # the client cancelled its call

It runs in a thread of its own, so that both sync and async tests may use it.
"""

import asyncio
import base64
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import httptools

FIXTURES = Path(__file__).parent / "fixtures" / "recordings"
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
_OURS = {"content-length", "transfer-encoding", "content-encoding", "connection", "date", "keep-alive"}


class Request(NamedTuple):
    """What a client sent; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the upstream does with one request."""

    status: int = 200
    headers: Mapping[str, str] | None = None
    pieces: tuple[bytes, ...] = ()  # the body, one write each
    pause_s: float = 0.0  # before each piece
    first_byte_s: float = 0.0  # before the status line
    head: bool = True  # False: not even a status line
    ending: Literal["done", "cut", "stall"] = "done"  # after the last piece: all is said, close, or say nothing more

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def dripped(self, size: int, pause_s: float = 0.0) -> "Reply":
        """The same, `size` bytes a write."""
        body = self.body
        return replace(self, pieces=tuple(body[at : at + size] for at in range(0, len(body), size)), pause_s=pause_s)

    def cut(self, at: int) -> "Reply":
        """The same up to byte `at` of its body, where the connection closes."""
        return replace(self, pieces=(self.body[:at],), ending="cut")

    def stalled(self, at: int) -> "Reply":
        """The same up to byte `at` of its body, and then nothing, for ever."""
        return replace(self, pieces=(self.body[:at],), ending="stall")


NOTHING = Reply(head=False, ending="cut")  # the connection closes without an answer
SILENCE = Reply(head=False, ending="stall")  # no answer comes, and the connection stays
HTML = Reply(502, {"content-type": "text/html"}, (b"<html><body><h1>502 Bad Gateway</h1></body></html>",))


def json_reply(status: int, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON body."""
    return Reply(status, {**JSON, **(headers or {})}, (json.dumps(value).encode(),))


def event_reply(*events: object, done: bool = True) -> Reply:
    """A stream of `data:` events, and `[DONE]`."""
    frames = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    return Reply(200, EVENTS, (*frames, *([b"data: [DONE]\n\n"] if done else [])))


def body_of(row: Mapping[str, Any]) -> bytes:
    """The recorded response body of a row."""
    response = row["response"]
    if response.get("body_base64") is not None:
        return base64.b64decode(response["body_base64"])
    text: str = response["body_text"] or ""
    return text.encode()


def recorded(row: Mapping[str, Any]) -> Reply:
    """A recorded exchange's answer, cut where the network cut it if that is known."""
    body, sizes = body_of(row), row["response"].get("chunk_sizes") or ()
    pieces: list[bytes] = []
    at = 0
    for size in sizes:
        pieces.append(body[at : at + size])
        at += size
    pieces.append(body[at:])
    headers = {name: value for name, value in row["response"]["headers"].items() if name.lower() not in _OURS}
    kind = EVENTS if row["stream"] and row["response"]["status"] < 400 else JSON
    return Reply(row["response"]["status"], {**kind, **headers}, tuple(piece for piece in pieces if piece))


@cache
def recordings(api: str) -> dict[str, dict[str, Any]]:
    """The fixture rows of one API by id, in the order of the file."""
    with (FIXTURES / f"{api}.jsonl").open(encoding="utf-8") as lines:
        return {row["id"]: row for row in map(json.loads, lines)}


def recording(api: str, id: str) -> dict[str, Any]:
    """One fixture row, such as `recording("openai.chat", "d6c4bb30c4a5")`."""
    return recordings(api)[id]


def refused_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class Upstream:
    """The server; see the module's docstring. Without a scripted answer and a handler it says 500."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.handler: Callable[[Request], Reply] | None = None
        self.open_connections = 0
        self.connections = 0  # ever accepted
        self.hung_up = 0  # clients that left before their answer was complete
        self.port = 0
        self._script: deque[Reply] = deque()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, *replies: Reply) -> None:
        """The next calls get these, in this order."""
        self._script.extend(replies)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Returns once `condition` holds. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the upstream never saw what the test waits for")
            time.sleep(0.005)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def next_reply(self, request: Request) -> Reply:
        self.requests.append(request)
        if self._script:
            return self._script.popleft()
        if self.handler is not None:
            return self.handler(request)
        return json_reply(500, {"error": {"message": "the test scripted no answer for this call"}})

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        connections: set[_Connection] = set()
        server = await self._loop.create_server(lambda: _Connection(self, connections), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for connection in tuple(connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the aborts take effect on the loop's next turn
        await server.wait_closed()


class _Connection(asyncio.Protocol):
    """One client's connection; httptools calls the `on_…` methods."""

    def __init__(self, upstream: Upstream, connections: "set[_Connection]") -> None:
        self._upstream, self._connections = upstream, connections
        self._parser = httptools.HttpRequestParser(self)
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.add(self)
        self._upstream.connections += 1
        self._upstream.open_connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._upstream.open_connections -= 1
        if self._answering is not None and not self._answering.done():
            self._upstream.hung_up += 1
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._path, self._headers, self._body = b"", dict[str, str](), bytearray()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        request = Request(method, self._path.decode("latin-1"), self._headers, bytes(self._body))
        self._answering = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        reply = self._upstream.next_reply(request)
        await asyncio.sleep(reply.first_byte_s)
        events = (reply.headers or {}).get("content-type", "").startswith("text/event-stream")
        if reply.head:
            self.transport.write(_head(reply, chunked=events))
        for piece in reply.pieces:
            if reply.pause_s:
                await asyncio.sleep(reply.pause_s)
            elif len(reply.pieces) > 1:
                await asyncio.sleep(0)  # lets each piece be a write of its own
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if events else piece)
        if reply.ending == "stall":
            await asyncio.Event().wait()
        if reply.ending == "cut":
            self._answering = None  # it is we who hang up
            self.transport.close()
        elif events:
            self.transport.write(b"0\r\n\r\n")


def _head(reply: Reply, *, chunked: bool) -> bytes:
    length = len(reply.body) + (reply.ending != "done")  # a body that is cut off had promised more
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {length}"
    lines = [f"HTTP/1.1 {reply.status} Replayed", *(f"{k}: {v}" for k, v in (reply.headers or {}).items()), framing]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")
