"""HTTP/1.1 towards the callers: uvicorn's, with its dearest parts written shorter. Here is one caller's connection.

What it saves: an asyncio.Event, a timer and four closures for each request, regular expressions over each header, a
write of its own for the head. What it adds: bounds on heads, on requests in line and on the time without any.
Read against uvicorn 0.54, protocols/http/httptools_impl.py.
"""

import asyncio
import re
from collections import deque
from math import inf
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.http1_exchange import Exchange
from translators.errors import LLMError

MAX_HEAD_BYTES = 64 * 1024  # and as much as one read brings
MOST_UNLIKE = 3  # heads of a connection: then it is not worth while to keep the next
MOST_WAITING = 16  # requests behind one that is being answered; hardly any client sends a second
UNREAD_S = 60.0  # that a caller may leave all of what was written unread, as nginx's send_timeout

_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,9})\r\n", re.IGNORECASE)


class Head(NamedTuple):
    """A request's head in which nothing but the body's length differs from that of the next, as from an SDK."""

    before: bytes  # the length
    after: bytes
    scope: dict[str, Any]
    headers: list[tuple[bytes, bytes]]
    fields: dict[bytes, bytes]
    memo: dict[str, str]
    place: int  # of the length among the headers


class Connection(HttpToolsProtocol):
    """One caller's connection. There are no WebSockets here.

    A head that is the last one's, byte for byte but for the length, is not parsed again: a third of the steps, with an
    SDK's twenty headers.
    """

    __slots__ = (  # uvicorn's own names are 28, and Python 3.11 finds 30 at once
        *("_asgi", "_clear", "_dry_bytes", "_head", "_idle_until", "_left", "_moved", "_running", "_timer"),
        *("_unlike", "_unread", "_waiting"),
    )
    cycle: Exchange  # whose body comes, or came last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Its first request has as much time to come as any other."""
        super().connection_made(transport)
        self._running: Exchange | None = None  # that is being answered
        self._waiting: deque[Exchange] = deque()  # for their turn behind it
        self._asgi: Any = {"version": self.asgi_version, "spec_version": "2.3"}
        self._moved = True  # the last bytes were of a body, or ended a head
        self._dry_bytes = 0  # that did not
        self._clear = True  # the parser is between two requests
        self._head: Head | None = None  # of the last one
        self._unlike = 0  # heads that were not like it, one after another
        self._left = 0  # bytes to come of a body whose head the parser did not see
        self._timer: asyncio.TimerHandle | None = None  # seldom moved: it looks at its end whether it is still idle
        self._unread: asyncio.TimerHandle | None = None  # while the caller does not read
        self._rest()

    def data_received(self, data: bytes) -> None:
        """Requests, cut anywhere. One that asks for an upgrade, as Java's does for HTTP/2, is read without the asking.

        httptools 0.9 skips such a request's body (parser.pyx, cb_on_headers_complete).
        """
        if self._left:
            self._go_on(data)
            return
        clear, before = self._clear and self._running is None, self.cycle
        if clear and self._head is not None and self._again(self._head, data):
            return
        self._moved, size, whole = False, len(data), data
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
                break
            self.logger.warning("Invalid HTTP request received.")
            self._refuse(400, "This is no HTTP/1.1 request")
            return
        if not self._moved:
            self._linger(size)
            return
        self._dry_bytes = 0
        seen_one = clear and before is not None and self.cycle is not before and not self._waiting
        if seen_one and self._unlike < MOST_UNLIKE:  # from the second on: many connections ask but once
            self._learn(whole)

    def _learn(self, data: bytes) -> None:
        """Keep the head that `data` begins with, if another may be like it."""
        exchange, end = self.cycle, data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data, 0, end)
        headers = list(exchange.scope["headers"])
        names = [name for name, _ in headers]
        self._head, self._unlike = None, self._unlike + 1
        if (
            length is not None
            and names.count(b"content-length") == 1
            and not {b"transfer-encoding", b"expect", b"upgrade"}.intersection(names)
            and exchange.keep_alive
        ):
            before, after, place = data[: length.start(1)], data[length.end(1) : end], names.index(b"content-length")
            fields, memo = dict(exchange.fields), exchange.memo
            self._head = Head(before, after, dict(exchange.scope), headers, fields, memo, place)

    def _again(self, head: Head, data: bytes) -> bool:
        """Whether `data` is a request with this head, and no more than that: then it begins."""
        before, after, scope, headers, fields, memo, place = head
        if not data.startswith(before):
            return False
        begin = len(before)
        end = data.find(b"\r", begin, begin + 10)
        length = data[begin:end]
        if end < 0 or not length.isdigit() or not data.startswith(after, end):
            return False
        body = data[end + len(after) :]
        if (left := int(length) - len(body)) < 0:
            return False
        headers = headers.copy()
        headers[place] = b"content-length", length
        self.scope = {**scope, "headers": headers, "state": self.app_state.copy()}  # type: ignore[typeddict-item]  # a copy of one
        self._idle_until, self._dry_bytes, self._unlike, self._left = 0.0, 0, 0, left
        self.cycle = exchange = Exchange(self, self.scope, {**fields, b"content-length": length}, memo, True, False)
        self._begin(exchange)  # first: what cannot be taken is asked of the one that runs
        if body:
            exchange.take(body)
        if not left:
            exchange.more_body = False
            exchange.set()
        return True

    def _go_on(self, data: bytes) -> None:
        """More of a body whose head the parser did not see."""
        body, more = data[: self._left], data[self._left :]
        self._left -= len(body)
        self.cycle.take(body)
        if not self._left:
            self._taken()
        if more:
            self.data_received(more)

    def _linger(self, size: int) -> None:
        """A head, a trailer or what a chunk is called goes on: for so long, and no longer."""
        if not self._dry_bytes and self._running is None:
            self._rest()
        self._dry_bytes += size
        if self._dry_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "The head of the request is too large")

    def _refuse(self, status: int, message: str) -> None:
        if self._running is None:
            body = orjson.dumps(LLMError("invalid_request", message).body())
            head = b"content-type: application/json\r\nconnection: close\r\n"
            self.transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (STATUS_LINE[status], head, len(body), body))
        self.close()

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
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        for exchange in (self._running, *self._waiting):
            if exchange is not None and not exchange.response_complete:
                exchange.hung_up()
        self._waiting.clear()

    def close(self) -> None:
        """As soon as what was written is read."""
        self.transport.close()
        if self.transport.get_write_buffer_size() and self._unread is None:
            self._watch_reader()

    def pause_writing(self) -> None:
        """The caller does not keep up: it may be slow, but not stand still."""
        super().pause_writing()
        if self._unread is None:
            self._watch_reader()

    def _watch_reader(self, before: float = inf) -> None:
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._unread = self.loop.call_later(UNREAD_S, self._watch_reader, left)
        else:
            self.transport.abort()

    def resume_writing(self) -> None:
        """It keeps up again."""
        if self._unread is not None and not self.transport.is_closing():
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    # --- httptools' side
    def on_message_begin(self) -> None:
        """Another request."""
        self.url, self.headers, self._clear = b"", [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of its head."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """A request's head is there: it begins now, or when the one before it is answered."""
        parser = self.parser
        if parser.should_upgrade():
            return
        self._moved, self._idle_until = True, 0.0
        headers, self.headers = self.headers, []  # what comes behind the body is not of the head (RFC 9110, 6.5.1)
        fields = dict(headers)
        target, version = self.url.partition(b"#")[0], parser.get_http_version()
        if not target.startswith(b"/"):  # as a client says it to a proxy, or an asterisk
            parts = urlsplit(target)
            target = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
        raw, _, query = target.partition(b"?")
        path = raw.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": self._asgi,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "method": parser.get_method().decode("ascii"),
            "root_path": self.root_path,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "headers": headers,
            "state": self.app_state.copy(),
        }
        modern = version != "1.0"
        keeps = modern and parser.should_keep_alive()
        expects = modern and b"expect" in fields and fields[b"expect"].lower() == b"100-continue"
        exchange = Exchange(self, self.scope, fields, {}, keeps, expects)
        if self._running is None:
            self.cycle = exchange
            self._begin(exchange)
        elif len(self._waiting) < MOST_WAITING:
            self.cycle = exchange
            self._waiting.append(exchange)
        else:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        self._moved = True
        if not self.parser.should_upgrade():
            self.cycle.take(body)

    def on_message_complete(self) -> None:
        """A request's body has come."""
        if self.parser.should_upgrade():
            return
        self._moved = self._clear = True
        self._taken()

    def _taken(self) -> None:
        """A request is all there."""
        if self.cycle.response_complete:
            self._rest()  # it was answered before it was
        else:
            self.cycle.more_body = False
            self.cycle.set()

    # --- what the exchanges tell
    def _begin(self, exchange: Exchange) -> None:
        self._running = exchange
        exchange.task = task = self.loop.create_task(exchange.run_asgi(self.app))
        self.tasks.add(task)  # until its last step

    def cannot_take(self, exchange: Exchange) -> None:
        """Its body is larger than what is kept. Behind another, whose caller must be heard hanging up, that is all."""
        if exchange is self._running:
            self.flow.pause_reading()
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """An answer is out: the next request that waits begins, or the connection is idle."""
        self.server_state.total_requests += 1
        self._running = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            self._rest()

    def _rest(self) -> None:
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self._timer is None:
            self._timer = self.loop.call_at(self._idle_until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._idle_until > self.loop.time():
            self._timer = self.loop.call_at(self._idle_until, self._look)
        elif self._idle_until and not self.transport.is_closing():
            self.close()
