"""The connection pool to providers: HTTP/1.1 on httptools, because relaying is what this project exists for.

One `send` gives one `Reply` as soon as its headers are there; the body is then read piece by piece, and a reader that
is slow stops the reading from the provider. Everything that goes wrong on the way comes out as an LLMError, at this one
door.
"""

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from gateway.trust import tls_context
from translators.errors import LLMError

HIGH_WATER_BYTES = 256 * 1024  # unread body at which reading from the provider pauses
MAX_HEAD_BYTES = 64 * 1024
MAX_INFLATED_BYTES = 64 * 1024 * 1024  # from one piece of a compressed body
STALE_S = 1.0  # a kept connection that is lost within this time was closed while idle; later, the provider was at work
IDLE_CONNECTION_S = 50.0  # below the 60 s after which load balancers commonly drop a silent connection


class Timeouts(NamedTuple):
    """Seconds.

    `first_byte_s`: from the request's last byte to the answer's head; `idle_s`: longest silence after it.
    """

    connect_s: float = 5.0
    first_byte_s: float = 300.0
    idle_s: float = 120.0


class Origin(NamedTuple):
    """Where a connection leads."""

    tls: bool
    host: str
    port: int


class _Stale(Exception):
    """A connection was gone as soon as it was written to: if it had been kept, a fresh one will do."""


class Reply:
    """A provider's answer, its head read and its body still to come. Whoever holds it must `close` it."""

    def __init__(self, connection: "_Connection", idle_s: float) -> None:
        self._connection = connection
        self._idle_s = idle_s
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self.received_bytes = 0  # of the body so far
        self._closed = False

    @property
    def complete(self) -> bool:
        """Whether the provider has sent all of it."""
        return self._connection.complete

    async def next(self, timeout_s: float | None = None) -> bytes:
        """The next piece of the body as it came; b"" at its end.

        Raises TimeoutError after `timeout_s` of silence when that is given, else LLMError("timeout") after the idle
        time; LLMError("bad_upstream", code "provider_cut_off") when the provider breaks off.
        """
        connection = self._connection
        while (piece := connection.take()) is None:  # no coroutine below this one: each is resumed at every event
            waiter, timer = connection.waiting(self._idle_s if timeout_s is None else timeout_s)
            try:
                await waiter
            except TimeoutError:
                if timeout_s is not None:
                    raise
                raise LLMError("timeout", f"The provider fell silent for {self._idle_s:g} s") from None
            finally:
                timer.cancel()
        self.received_bytes += len(piece)
        return piece

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises as `next` does, and LLMError("bad_upstream") past `limit` bytes."""
        pieces: list[bytes] = []
        while piece := await self.next():
            pieces.append(piece)
            if self.received_bytes > limit:
                raise LLMError("bad_upstream", f"The provider's answer is larger than {limit} bytes")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> tuple[bytes, ...]:
        """Give the connection back, or cut it at once when the answer is not at its end; what has come unread.

        May be called twice; the connection is somebody else's after the first.
        """
        if self._closed:
            return ()
        self._closed = True
        unread = self._connection.release()
        self.received_bytes += sum(map(len, unread))
        return unread


class Upstream:
    """Connections by origin, kept warm; at most `max_connections` to each, and a fair queue behind them."""

    def __init__(self, max_connections: int = 1000) -> None:
        self._max = max_connections
        self._origins: dict[Origin, _Origin] = {}
        self._tls: ssl.SSLContext | None = None

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, timeouts: Timeouts, written: Callable[[], None]
    ) -> Reply:
        """POST `body`; the reply as soon as its head is there. `written` is called once the request is on its way.

        Raises LLMError: "connect" when nobody could be reached, "timeout", "bad_upstream" when the answer is not HTTP.
        """
        origin, path = _locate(url)
        head = _head(origin, path, headers, len(body))
        place = self._origins.get(origin) or self._origins.setdefault(origin, _Origin(origin, self._max))
        connection, kept = await self._connection(place, timeouts.connect_s, fresh=False)
        try:
            await self._exchange(connection, head, body, timeouts, written)
        except _Stale:
            if kept:
                connection, _ = await self._connection(place, timeouts.connect_s, fresh=True)
                try:
                    await self._exchange(connection, head, body, timeouts, written)
                except _Stale:
                    kept = False
            if not kept:
                raise LLMError("connect", f"{origin.host} closed the connection without an answer") from None
        return Reply(connection, timeouts.idle_s)

    @staticmethod
    async def _exchange(
        connection: "_Connection", head: bytes, body: bytes, timeouts: Timeouts, written: Callable[[], None]
    ) -> None:
        try:
            await connection.exchange(head, body, timeouts.first_byte_s, written)
        except TimeoutError:
            connection.release()
            message = f"The provider did not answer within {timeouts.first_byte_s:g} s"
            raise LLMError("timeout", message) from None
        except BaseException:
            connection.release()
            raise

    async def close(self) -> None:
        """Cut every connection."""
        for place in self._origins.values():
            place.close()

    async def _connection(self, place: "_Origin", connect_s: float, *, fresh: bool) -> "tuple[_Connection, bool]":
        await place.admit()
        if not fresh and (kept := place.pop_idle()):
            return kept, True
        origin = place.origin
        if origin.tls and self._tls is None:
            self._tls = tls_context()
        try:
            async with asyncio.timeout(connect_s):
                _, protocol = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(place),
                    origin.host,
                    origin.port,
                    ssl=self._tls if origin.tls else None,
                    server_hostname=origin.host if origin.tls else None,
                )
        except TimeoutError:
            place.leave()
            raise LLMError("timeout", f"{origin.host} could not be reached within {connect_s:g} s") from None
        except OSError as error:  # refused, unreachable, no such name, a certificate that does not hold
            place.leave()
            reason = error.strerror or type(error).__name__
            raise LLMError("connect", f"{origin.host} could not be reached: {reason}") from None
        except BaseException:
            place.leave()
            raise
        place.begun(protocol)
        return protocol, False


@lru_cache(maxsize=1024)
def _header_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


@lru_cache(maxsize=4096)
def _locate(url: str) -> tuple[Origin, str]:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(tls, parts.hostname or "", parts.port or (443 if tls else 80)), path


def _head(origin: Origin, path: str, headers: Mapping[str, str], length: int) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    if origin.port != (443 if origin.tls else 80):
        host = f"{host}:{origin.port}"
    lines = [f"POST {path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\ncontent-length: {length}\r\n"]
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise LLMError("internal", f"The header `{name}` for the provider holds a line break")
        lines.append(f"{name}: {value}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1", errors="replace")


class _Origin:
    """The connections to one origin: those idle, the number open, and who waits for one."""

    def __init__(self, origin: Origin, most: int) -> None:
        self.origin = origin
        self._free = most
        self._idle: deque[_Connection] = deque()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._busy: set[_Connection] = set()

    async def admit(self) -> None:
        """Take one of the places, in turn."""
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place came just as the caller went: pass it on
            else:
                self._queue.remove(turn)
            raise

    def leave(self) -> None:
        """Give the place to the next in turn."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def pop_idle(self) -> "_Connection | None":
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()  # the warmest
            if connection.usable(now):
                self._busy.add(connection)
                return connection
            connection.abort()
        return None

    def begun(self, connection: "_Connection") -> None:
        self._busy.add(connection)

    def ended(self, connection: "_Connection", *, keep: bool) -> None:
        """A busy connection is done with: keep it warm, or forget it."""
        if connection in self._busy:
            self._busy.remove(connection)
            if keep:
                self._idle.append(connection)
            self.leave()

    def lost(self, connection: "_Connection") -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        for connection in [*self._idle, *self._busy]:
            connection.abort()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time: httptools calls the `on_` methods as it parses."""

    def __init__(self, place: _Origin) -> None:
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._idle_since = 0.0
        self._busy = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._paused = False
        self._head_done = self.complete = self._kept = self._heard = self._lost = False
        self._head_bytes = 0
        self._error: LLMError | None = None
        self._inflater: zlib._Decompress | None = None  # for hosts that compress although asked not to

    # --- the pool's side
    def usable(self, now: float) -> bool:
        transport = self._transport
        return transport is not None and not transport.is_closing() and now - self._idle_since < IDLE_CONNECTION_S

    async def exchange(self, head: bytes, body: bytes, first_byte_s: float, written: Callable[[], None]) -> None:
        """Send the request and wait for the answer's head. Raises _Stale, TimeoutError, LLMError."""
        self._reset()
        self._busy = True
        transport = self._transport
        if transport is None or transport.is_closing():
            self._place.ended(self, keep=False)
            raise _Stale
        transport.writelines((head, body))
        written()
        begun = self._loop.time()
        while not self._head_done:
            if self._error is not None:
                raise self._error
            if self._lost:
                if not self._heard and self._loop.time() - begun < STALE_S:
                    self._place.ended(self, keep=False)
                    raise _Stale
                raise _cut_off()
            waiter, timer = self.waiting(begun + first_byte_s - self._loop.time())
            try:
                await waiter
            finally:
                timer.cancel()
        if self._error is not None:
            raise self._error

    def take(self) -> bytes | None:
        """What has come of the body; b"" at its end, None when nothing is there yet. Raises LLMError."""
        pieces = self._pieces
        if not pieces:
            if self._error is not None:
                raise self._error
            if self.complete:
                return b""
            if self._lost:
                raise _cut_off()
            return None
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def waiting(self, timeout_s: float) -> "tuple[asyncio.Future[None], asyncio.TimerHandle]":
        """What is done once something happens, or fails after so many seconds; the timer is the caller's to end."""
        waiter = self._waiter = self._loop.create_future()
        return waiter, self._loop.call_later(timeout_s, _expire, waiter)

    def release(self) -> tuple[bytes, ...]:
        """Back to the pool when the exchange is complete and the provider keeps the connection; else cut.

        Answers what has come and was not read.
        """
        unread = tuple(self._pieces)
        self._pieces.clear()
        keep = self._kept and not self._lost and self._error is None
        self._busy = False
        if keep:
            self._idle_since = self._loop.time()
        else:
            self.abort()
        self._place.ended(self, keep=keep)
        return unread

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's side
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.abort()  # nothing was asked: whatever this is, it is no answer to the next request
            return
        self._heard = True
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("The provider tried to switch protocols")
        except httptools.HttpParserError:
            self._fail("The provider's answer is not HTTP")
        if not self._head_done and self._head_bytes > MAX_HEAD_BYTES:
            self._fail("The head of the provider's answer is too large")
        self._wake()

    def eof_received(self) -> None:
        return None  # closes the transport; connection_lost tells the reader

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        delimited = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")
        if self._head_done and not delimited and exc is None:
            self.complete = True  # a body that ends with the connection (RFC 9112, section 6.3)
        self._place.lost(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, message: str) -> None:
        if not self.complete:
            self._error = LLMError("bad_upstream", message)
        self.abort()

    # --- httptools' side
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer
        self.headers[_header_name(name)] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._head_done:  # a second answer behind the first: nobody asked for it
            self._kept = False
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers = {}  # 100 Continue, 103 Early Hints: the real head follows
            return
        self._head_done = True
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif coding not in ("identity", ""):
            self._fail(f"The provider compressed its answer as {coding[:40]!r} although it was asked not to")

    def on_body(self, body: bytes) -> None:
        if self.complete:
            return
        if self._inflater is not None:
            try:
                body = self._inflater.decompress(body, MAX_INFLATED_BYTES)
            except zlib.error:
                self._fail("The provider's compressed answer cannot be read")
                return
            if self._inflater.unconsumed_tail:
                self._fail("The provider's compressed answer is too large")
                return
        self._pieces.append(body)
        self._unread += len(body)
        if self._unread > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._head_done and not self.complete and self._error is None:
            self.complete = True
            self._kept = self._parser.should_keep_alive()  # the parser knows it only while the message ends


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _cut_off() -> LLMError:
    return LLMError("bad_upstream", "The provider broke off in the middle of its answer", code="provider_cut_off")
