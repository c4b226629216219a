"""One request of a caller's and its answer, on a connection of http1. The application sees plain ASGI.

What one that knows of it may use beside that is `exchange_of`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Send
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from translators.errors import LLMError

if TYPE_CHECKING:
    from gateway.http1 import Connection

BODILESS = (204, 304)  # RFC 9110, section 6.4.1
SIZES = tuple(b"%x\r\n" % size for size in range(1024))  # how chunks begin: most events are no larger
STALLED_S = 60.0  # between two pieces of a request's body, as nginx's client_body_timeout
GONE: Message = {"type": "http.disconnect"}


class Exchange(RequestResponseCycle):
    """One request and its answer; the head goes out with what follows it."""

    chunked_encoding: bool | None = None
    expected_content_length = 0
    _head = b""  # written with the first piece of the body
    _in_chunks = False  # the head is out, and what follows is a chunk each
    _unmeasured = False  # the answer has a body of any length
    task: "asyncio.Task[None] | None" = None

    def __init__(
        self,
        connection: "Connection",
        scope: HTTPScope,
        fields: Mapping[bytes, bytes],
        memo: dict[str, str],
        keep_alive: bool,
        expect_100_continue: bool,
    ) -> None:
        self.scope = scope
        self.fields = fields  # the headers by name; of several of one name the last
        self.memo = memo  # of whoever answers, for all requests with the same head
        self.transport, self.flow = connection.transport, connection.flow
        self.keep_alive, self.waiting_for_100_continue = keep_alive, expect_100_continue
        self._connection: Connection | None = connection  # until it ends: no cycle of references is left behind
        self._pieces: list[bytes] = []  # of the request's body, not read yet
        self._size = 0  # of these, in bytes
        self.more_body = True
        self.response_started = self.response_complete = self.disconnected = False
        self._rung = False  # `receive` has something to look at
        self._waiter: asyncio.Future[None] | None = None
        self._gone: Callable[[], None] | None = None

    async def run_asgi(self, app: ASGIApp) -> None:  # type: ignore[override]  # Starlette's name for it
        """The application over this request; whatever it does, the caller gets an answer or the end of one."""
        try:
            await app(self.scope, self.receive, self.send)  # type: ignore[arg-type]  # Starlette's name for it
        except BaseException as error:
            assert self._connection is not None  # noqa: S101 - for the type checker: it goes here
            self._connection.logger.error("Exception in ASGI application\n", exc_info=error)
            await self._broken()
        else:
            if not self.response_complete and not self.disconnected:
                assert self._connection is not None  # noqa: S101 - likewise
                self._connection.logger.error("The application returned before its answer was complete")
                await self._broken()
        finally:
            if self._connection is not None and self.task is not None:
                self._connection.tasks.discard(self.task)
            self._connection = self._gone = self.task = None

    async def _broken(self) -> None:
        if self.response_started:
            assert self._connection is not None  # noqa: S101 - for the type checker: it goes behind this
            self._connection.close()  # which sees to it that the rest is read, or not for ever
        else:
            await self.send_500_response()

    # --- the request
    def take(self, body: bytes) -> None:
        """A piece of the body."""
        if self.response_complete:
            return
        self._pieces.append(body)
        self._size += len(body)
        if self._size > HIGH_WATER_LIMIT and self._connection is not None:
            self._connection.cannot_take(self)
        self._rung = True
        if self._waiter is not None:
            self.set()

    def set(self) -> None:
        """Let `receive` go on."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def message_event(self) -> "Exchange":  # type: ignore[override]  # an attribute there
        """As much of an asyncio.Event as uvicorn uses."""
        return self

    def hung_up(self) -> None:
        """The caller is gone."""
        self.disconnected, self._in_chunks = True, False
        if self.task is None:  # it was still in line
            self._connection = None
        self.set()
        if self._gone is not None:
            self._gone()

    def when_gone(self, gone: Callable[[], None]) -> None:
        """Have `gone` called when the caller goes away before the answer is complete; at once if that has happened."""
        self._gone = gone
        if self.disconnected:
            gone()
        else:
            self.flow.resume_reading()  # else nothing is heard of it

    def nobody_asks(self) -> None:
        """Whoever asked `when_gone` has ended."""
        self._gone = None

    async def receive(self) -> Message:  # type: ignore[override]  # Starlette's name for it
        """As ASGI has it. Raises LLMError where the rest of the body does not come."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self._rung:
                self._waiter = asyncio.get_running_loop().create_future()
                await (self._piece(self._waiter) if self.more_body and not self.response_started else self._waiter)
            self._rung = False
        if self.disconnected or self.response_complete:
            return GONE
        body, self._pieces, self._size = b"".join(self._pieces), [], 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _piece(self, waiter: "asyncio.Future[None]") -> None:
        """Until more of the body is there."""
        try:
            async with asyncio.timeout(STALLED_S):
                await waiter
        except TimeoutError:
            self.keep_alive = False
            message = f"The rest of the request's body did not come within {STALLED_S:g} s"
            raise LLMError("invalid_request", message, code="request_timeout", status=408) from None

    def whole_body(self) -> bytes | None:
        """The request's body where all of it is there and none was read, without a question; else None."""
        if self.more_body or self.disconnected:
            return None
        pieces, self._pieces, self._size, self._rung = self._pieces, [], 0, False
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # --- the answer
    async def send(self, message: Any) -> None:
        """As ASGI has it. Raises RuntimeError for what is no answer in HTTP."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("the answer was complete")
        if message["type"] == "http.response.start":
            self._begin(message["status"], list(message.get("headers", ())))
        else:
            self._go_on(message.get("body", b""), message.get("more_body", False))

    def answer(self, status: int, head: bytes, body: bytes | None) -> bool:
        """A whole answer in one write; or, with None for `body`, the head of one of any length, ahead of `write`.

        False where the caller does not keep up, or the answer is not so simple: then nothing has begun. `head`: lines
        of headers, each with its CR and LF, but without `content-length`, `transfer-encoding` and `connection`.
        """
        connection = self._connection
        if connection is None or self.flow.write_paused or self.response_started:
            return False
        if self.disconnected:
            return True  # nobody is left to read it
        if connection.server_state.default_headers or self.scope["method"] == "HEAD" or status in BODILESS:
            return False
        if body is None and self.scope["http_version"] == "1.0":  # where there are no chunks
            return False
        self.response_started = True
        if self.waiting_for_100_continue and self.more_body:
            self.keep_alive = False  # whether its body still comes nobody knows (RFC 9110, section 10.1.1)
        if not self.keep_alive:
            head += b"connection: close\r\n"
        if body is None:
            self._head = b"%b%btransfer-encoding: chunked\r\n\r\n" % (STATUS_LINE[status], head)
            self.chunked_encoding, self.waiting_for_100_continue = True, False
            return True
        self.response_complete = True
        length = str(len(body)).encode()  # a format would take five times as long as the join
        self.transport.write(b"".join((STATUS_LINE[status], head, b"content-length: ", length, b"\r\n\r\n", body)))
        if self._waiter is not None:
            self.set()
        if not self.keep_alive:
            connection.close()
        connection.on_response_complete()
        return True

    def write(self, piece: bytes) -> bool:
        """A piece of the body, at once where the client keeps up; whether that is so."""
        if self.flow.write_paused:
            return False
        if not piece:  # an empty chunk would be the end
            return True
        if self._in_chunks:
            size = len(piece)
            begin = SIZES[size] if size < len(SIZES) else b"%x\r\n" % size
            self.transport.write(b"".join((begin, piece, b"\r\n")))
        elif not self.disconnected:
            self._go_on(piece, True)
        return True

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self.response_started:
            raise RuntimeError("the answer had begun")
        if self._connection is not None:
            headers = self._connection.server_state.default_headers + headers
        lines, length, closes = [STATUS_LINE[status]], None, False
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
            lines += (name, b": ", value, b"\r\n")
        if self.waiting_for_100_continue and self.more_body:
            self.keep_alive = False
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self._unmeasured = length is None and self.scope["method"] != "HEAD" and status not in BODILESS
        self.chunked_encoding = self._unmeasured and self.scope["http_version"] != "1.0"  # else its end is all
        if self.chunked_encoding:
            lines.append(b"transfer-encoding: chunked\r\n")
        self.expected_content_length = length or 0
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        breaks = len(headers) + 2 + (not closes and not self.keep_alive) + self.chunked_encoding
        if self._head.count(b"\n") != breaks or self._head.count(b"\r") != breaks or b"\0" in self._head:
            raise RuntimeError("a header of the answer holds what no header may")
        self.response_started, self.waiting_for_100_continue = True, False

    def _go_on(self, body: bytes, more: bool) -> None:
        if not self.response_started:
            raise RuntimeError("the answer had not begun")
        if self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif not self._unmeasured:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the answer is not as long as its content-length")
        if self._head:
            body, self._head = self._head + body, b""
            self._in_chunks = bool(self.chunked_encoding)
        if body:
            self.transport.write(body)
        if not more:
            self.response_complete = True
            self.set()
            if self._connection is not None:
                if not self.keep_alive:
                    self._connection.close()
                self._connection.on_response_complete()


def exchange_of(way: Receive | Send) -> Exchange | None:
    """The exchange that ASGI's `receive` or `send` is of; None where another server serves."""
    exchange = getattr(way, "__self__", None)
    return exchange if isinstance(exchange, Exchange) else None
