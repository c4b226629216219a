"""HTTP/1.1 towards the callers: uvicorn's, with its dearest parts written shorter. The application sees plain ASGI.

What stands here instead: an asyncio.Event for each request, regular expressions over each header, a write of its own
for the head. Read against uvicorn 0.54, protocols/http/httptools_impl.py.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import httptools
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

BODILESS = (204, 304)  # RFC 9110, section 6.4.1


class Connection(HttpToolsProtocol):
    """One caller's connection. There are no WebSockets here."""

    _overtaken: tuple[RequestResponseCycle, ...] = ()  # not answered yet, and another request behind them

    def data_received(self, data: bytes) -> None:
        """Requests, cut anywhere. One that asks for an upgrade, as Java's does for HTTP/2, is read without the asking.

        httptools 0.9 skips such a request's body (parser.pyx, cb_on_headers_complete).
        """
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as asked:
                if self.parser.get_method() != b"CONNECT":
                    data = self._without_upgrade() + data[asked.args[0] :]
                    continue
            except httptools.HttpParserError:
                pass
            else:
                return
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
            return

    def _without_upgrade(self) -> bytes:
        parser = self.parser
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        lines += [b"%b: %b" % field for field in self.headers if field[0] not in (b"upgrade", b"connection")]
        if not parser.should_keep_alive():
            lines.append(b"connection: close")
            self.parser = httptools.HttpRequestParser(self)  # the other takes nothing more
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        return b"\r\n".join([*lines, b"", b""])

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells every request that is not answered."""
        super().connection_lost(exc)
        for exchange in self._overtaken:
            if not exchange.response_complete:
                exchange.disconnected = True
                exchange.message_event.set()

    def on_message_complete(self) -> None:
        """A request's body has come."""
        if not self.parser.should_upgrade() and not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_headers_complete(self) -> None:
        """A request's head is there: it begins now, or when the one before it is answered."""
        parser, scope = self.parser, self.scope
        if parser.should_upgrade():
            return
        target, version = self.url.partition(b"#")[0], parser.get_http_version()
        if not target.startswith(b"/"):  # as a client says it to a proxy, or an asterisk
            parts = urlsplit(target)
            target = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
        raw, _, query = target.partition(b"?")
        path = raw.decode("ascii")
        scope["http_version"], scope["method"] = version, parser.get_method().decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"], scope["query_string"] = raw, query
        before, self.cycle = (
            self.cycle,
            Exchange(
                scope=scope,
                transport=self.transport,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=False,
                default_headers=self.server_state.default_headers,
                message_event=Bell(self.loop),  # type: ignore[arg-type]  # as much of an Event as is used
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0" and parser.should_keep_alive(),
                on_response=self.on_response_complete,
            ),
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self._overtaken = (*(each for each in self._overtaken if not each.response_complete), before)
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))


class Bell:
    """An asyncio.Event for one that waits: rung, it stays so until it is cleared."""

    __slots__ = ("_loop", "_rung", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Let the one that waits go on."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """From now on it is waited for again."""
        self._rung = False

    async def wait(self) -> None:
        """Until it is rung."""
        if not self._rung:
            self._waiter = self._loop.create_future()
            await self._waiter


class Exchange(RequestResponseCycle):
    """One request and its answer; the head goes out with what follows it."""

    _head = b""  # written with the first piece of the body

    async def send(self, message: Any) -> None:
        """As ASGI has it. Raises RuntimeError for what is no answer in HTTP."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("the answer was complete")
        if message["type"] == "http.response.start":
            self._begin(message["status"], self.default_headers + list(message.get("headers", ())))
        else:
            self._go_on(message.get("body", b""), message.get("more_body", False))

    def write(self, piece: bytes) -> bool:
        """A piece of the body, at once where the client keeps up; whether that is so."""
        if self.flow.write_paused:
            return False
        if self.disconnected or not piece:  # an empty chunk would be the end
            return True
        if self._head or not self.chunked_encoding:
            self._go_on(piece, True)
        else:
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self.response_started:
            raise RuntimeError("the answer had begun")
        lines, length, closes = [STATUS_LINE[status]], None, False
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
            lines += (name, b": ", value, b"\r\n")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self.chunked_encoding = length is None and self.scope["method"] != "HEAD" and status not in BODILESS
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
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the answer is not as long as its content-length")
        if self._head:
            body, self._head = self._head + body, b""
        if body:
            self.transport.write(body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


def writer(send: Send) -> Callable[[bytes], bool] | None:
    """`Exchange.write` of the exchange that `send` is of; None where another server serves."""
    exchange = getattr(send, "__self__", None)
    return exchange.write if isinstance(exchange, Exchange) else None
