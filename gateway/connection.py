"""One connection to a provider, HTTP/1.1 on httptools: one exchange at a time, its answer's bytes as they come."""

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol, cast

import httptools

from translators.errors import LLMError, cut_off

HIGH_WATER_BYTES = 256 * 1024  # unread body at which reading from the provider pauses
JOINED_BYTES = 16 * 1024  # of a request's body: up to so much is copied, for one record of TLS instead of two (4 µs)
MAX_HEAD_BYTES = 64 * 1024
MAX_INFLATED_BYTES = 64 * 1024 * 1024  # from one piece of a compressed body
STALE_S = 1.0  # a kept connection that is lost within this time was closed while idle; later, the provider was at work
IDLE_CONNECTION_S = 50.0  # below the 60 s after which load balancers commonly drop a silent connection
FEW, APART = 2, 64  # pieces in a tick that are no company; pieces that are handed on at once then
TURN = 8  # connections whose pieces are handed on before the loop looks for others: a quarter of a millisecond's work
EARLY_S = 0.005  # a timer that is due so little after its time is left as it is
_WRONG = (httptools.HttpParserError, httptools.HttpParserUpgrade)  # neither is a kind of the other


class Stale(Exception):
    """A connection was gone as soon as it was written to: if it had been kept, a fresh one will do."""


class Place(Protocol):
    """Whose connection it is."""

    @property
    def tick(self) -> "Tick": ...

    def ended(self, connection: "Connection", *, keep: bool) -> None:
        """An exchange is over; the connection can serve another, or is cut."""
        ...

    def lost(self, connection: "Connection") -> None:
        """It is gone."""
        ...


class Tick:
    """What comes of streams in one tick of the loop, handed on one behind the other.

    What the kernel needs to read and what we need to decode then stay in the processor's caches: of 64 events that come
    at once, a translated one costs a fifth less. Where they come one by one, only some are looked at so: to hand on
    later is a turn of the loop more.

    Where more comes than there is time for, whoever asks anew goes between: a turn hands on a few and lets the loop
    look at what else there is. What comes of a stream until its turn is one piece then, and one write.
    """

    def __init__(self) -> None:
        self._kept: deque[Connection] = deque()  # each with what waits there, or handed on by now
        self.apart = 0  # so many more are handed on at once, before it is looked again whether others come beside them

    def add(self, connection: "Connection", data: bytes) -> None:
        """Keep `data` until all is read that there is; only where `apart` is 0."""
        if not connection.waiting:
            if not self._kept:
                connection.loop.call_soon(self._hand_on)
            self._kept.append(connection)
        connection.waiting += data
        if len(connection.waiting) > HIGH_WATER_BYTES:
            try:
                self._hand_on_of(connection)
            finally:
                self.apart = 0

    def _hand_on(self, rest: bool = False) -> None:
        kept = self._kept
        few = len(kept) <= FEW and not rest
        try:
            for _ in range(min(len(kept), TURN)):
                self._hand_on_of(kept.popleft())
        finally:
            self.apart = APART if few and not kept else 0
            if kept:  # after a fault of ours with one too
                asyncio.get_running_loop().call_soon(self._hand_on, True)

    def _hand_on_of(self, connection: "Connection") -> None:
        if connection.waiting:
            self.apart = 1  # for this one
            connection.data_received(connection.waited())


class Connection(asyncio.Protocol):
    """One connection; httptools calls the `on_` methods as it parses."""

    __slots__ = (  # more names than the 30 that Python 3.11 finds at once among an object's own
        *("_busy", "_coded", "_deadline", "_dry_at", "_dry_bytes", "_end", "_error", "_feed", "_fields", "_flow"),
        *("_head_done", "_inflater", "_kept", "_lost", "_midst", "_parser", "_paused", "_pieces", "_place"),
        *("_silence_s", "_tick", "_time", "_timer", "_timer_at", "_transport", "_unread", "_waiter"),
        *("complete", "head", "loop", "on_body", "on_header", "received_bytes", "status", "waiting"),
    )

    def __init__(self, place: Place) -> None:
        self._place = place
        self._tick = place.tick
        self.loop = asyncio.get_running_loop()
        self._fields: dict[bytes, bytes] = {}  # as they come; those behind the head are trailers
        self._pieces: list[bytes] = []  # of the body, not taken yet
        self.on_header, self.on_body = self._fields.__setitem__, self._pieces.append  # so that none is a call of ours
        self._parser = httptools.HttpResponseParser(self)  # reads on where a clean answer ended
        self._feed, self._time = self._parser.feed_data, self.loop.time
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._flow: Callable[[bytes], bool] | None = None
        self._silence_s = 0.0  # that is borne in a flow
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline = 0.0  # of who waits; while idle, of the connection
        self._busy = self._lost = self._paused = False
        self.waiting = b""  # in the tick, for its turn
        self.status = 0
        self.head: dict[bytes, bytes] = {}
        self._midst = False  # of a body that is handed on as it comes
        self._kept = False  # once it is complete: whether the provider keeps the connection
        self._error: LLMError | None = None
        self._inflater: zlib._Decompress | None = None  # for hosts that compress although asked not to
        self._reset()

    def _reset(self) -> None:
        """For another exchange. What only one that went wrong can have left behind is as it was: it was cut."""
        self._fields.clear()
        self._unread = self.received_bytes = 0  # of the body
        self._dry_bytes = self._dry_at = 0  # that came one after the other and were of no body, and behind how much
        self._head_done = self.complete = self._coded = False
        self._end = -1  # how many of `_pieces` there were when the body ended

    # --- the pool's side
    def usable(self) -> bool:
        """Whether an idle one can be expected to work."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self.loop.time() < self._deadline

    async def exchange(self, head: bytes, body: bytes, first_byte_s: float, written: Callable[[bool], None]) -> None:
        """Send the request and wait for the answer's head. Raises Stale, TimeoutError, LLMError.

        Whatever becomes of it, the exchange is over only with `release`.
        """
        self._reset()
        self._busy = True
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Stale
        if len(body) < JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        written(True)
        begun = self._time()
        while not self._head_done:
            if self._error is not None:
                raise self._error
            if self._lost:
                if not self._dry_bytes and self._time() - begun < STALE_S:
                    raise Stale
                raise _cut_off()
            await self._until(begun + first_byte_s)
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
        piece = self._joined()
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def something(self, timeout_s: float) -> "asyncio.Future[bool]":
        """Done once something happens; fails with TimeoutError after so many seconds of nothing."""
        return self._until(self._time() + timeout_s)

    def _until(self, deadline: float) -> "asyncio.Future[bool]":
        self._waiter = waiter = self.loop.create_future()
        self._due(deadline)
        return waiter

    def flowing(self, take: Callable[[bytes], bool], silence_s: float) -> "asyncio.Future[bool]":
        """Hand `take` the pieces as they are read. True: there is something else; False: it wants no more."""
        self._flow, self._silence_s = take, silence_s
        return self.something(silence_s)

    def dammed(self) -> None:
        """Keep the pieces from now on."""
        self._flow = None

    def release(self) -> tuple[bytes, ...]:
        """Back to the pool when the exchange is clean and complete and the provider keeps the connection; else cut.

        Answers what has come and was not read.
        """
        if self.waiting:
            self.read(self.waited())
        unread = tuple(self._pieces)
        self._pieces.clear()
        self._busy = False
        keep = (
            self.complete
            and self._kept
            and self._error is None
            and not self._lost
            and not self._paused
            and self._transport is not None
            and not self._transport.get_write_buffer_size()  # an early answer, and the request still on its way
        )
        if keep:
            self._due(self._time() + IDLE_CONNECTION_S)
        else:
            self.abort()
        self._place.ended(self, keep=keep)
        return unread

    def abort(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.abort()

    def tls(self) -> ssl.SSLObject | None:
        """What its TLS was agreed in; None without."""
        found = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return found if isinstance(found, ssl.SSLObject) else None

    # --- time: one timer, which is seldom moved; it looks at its end whether there is still a reason to wait
    def _due(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is not None:
            if self._timer_at <= deadline + EARLY_S:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self.loop.call_at(deadline, self._expired), deadline

    def _expired(self) -> None:
        self._timer = None
        if self._deadline - self._time() > EARLY_S:
            self._due(self._deadline)
        elif not self._busy:
            self.abort()
        elif self._waiter is not None and not self._waiter.done():
            self._flow = None  # what comes before its task is resumed is kept
            self._waiter.set_exception(TimeoutError())

    # --- asyncio's side
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the provider, cut anywhere. In a flow, a short way for what mostly comes: more of the body."""
        take, tick, pieces = self._flow, self._tick, self._pieces
        if take is None or not tick.apart:
            if take is None and not self.waiting:
                self.read(data)
            else:
                tick.add(self, data)
            return
        tick.apart -= 1
        if pieces or not self._midst:
            self.read(data)
            return
        try:
            self._feed(data)
        except _WRONG as error:
            self._fed(0, error)
            return
        if not self._midst:
            self._fed(0, None)
        elif pieces:
            piece = pieces.pop() if len(pieces) == 1 else self._joined()
            self.received_bytes += len(piece)
            self._deadline = self._time() + self._silence_s
            try:
                if not take(piece):
                    self._flow = None
                    self._wake(False)
            except BaseException as error:  # noqa: BLE001 - it is raised where the pieces are waited for
                self._flow = None
                if self._waiter is not None and not self._waiter.done():
                    self._waiter.set_exception(error)
        else:
            self._dry(len(data))

    def read(self, data: bytes) -> None:
        """The long way."""
        if not self._busy:
            self.abort()  # nothing was asked: whatever this is, it is no answer to the next request
            return
        pieces, wrong = self._pieces, None
        before, had = len(pieces), self.received_bytes
        try:
            self._feed(data)
        except _WRONG as error:
            wrong = error
        if self._end == 1 == len(pieces) and not (before or self._coded or wrong):  # as mostly: all of it came at once
            self.received_bytes, self.complete = len(pieces[0]), True
            self._wake()
        else:
            self._fed(before, wrong)
            if had == self.received_bytes:
                self._dry(len(data))

    def _dry(self, size: int) -> None:
        """So much was of a head or a trailer, or what a chunk is called."""
        if self._dry_at != self.received_bytes:
            self._dry_at, self._dry_bytes = self.received_bytes, 0
        self._dry_bytes += size
        if self._dry_bytes > MAX_HEAD_BYTES and not self.complete:
            self._fail("The head of the provider's answer, or what stands around its body, is too large")
            self._wake()

    def waited(self) -> bytes:
        """What has waited in the tick, for whoever sees to it now."""
        data, self.waiting = self.waiting, b""
        return data

    def _fed(self, before: int, wrong: Exception | None) -> None:
        """See to what the parser has found; of the body, to what is behind so many pieces."""
        if len(self._pieces) > before:
            self._came(before)
        if self._end >= 0 and not self.complete:
            self._completed()
        if wrong is not None:
            switched = isinstance(wrong, httptools.HttpParserUpgrade)
            self._fail("The provider tried to switch protocols" if switched else "The provider's answer is not HTTP")
        self._wake()

    def _came(self, before: int) -> None:
        pieces = self._pieces
        if self.complete or self._error is not None:
            del pieces[before:]
            return
        if self._end >= 0:
            del pieces[self._end :]  # of a second answer, for which nobody asked
        if self._coded:
            self._inflate(before)
        size = len(pieces[-1]) if len(pieces) == before + 1 else sum(map(len, pieces[before:]))
        self.received_bytes += size
        self._unread += size
        if self._unread > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _joined(self) -> bytes:
        pieces = self._pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return piece

    def eof_received(self) -> None:
        return None  # closes the transport; connection_lost tells the reader

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self.read(self.waited())
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
        headers = decoded(self.head)
        delimited = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        if self._head_done and not delimited and exc is None:
            self._completed()  # a body that ends with the connection (RFC 9112, section 6.3)
        self._place.lost(self)
        self._wake()
        # it leads back here: thousands would wait for the garbage collector, between them holes that malloc searches
        del self._parser, self._feed

    def _wake(self, happened: bool = True) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(happened)

    def _fail(self, message: str) -> None:
        self._midst = False
        if not self.complete and self._error is None:
            self._error = LLMError("bad_upstream", message)
        self.abort()

    # --- httptools' side
    def on_message_begin(self) -> None:
        if self._end >= 0:
            self._kept = False  # a second answer behind the first: nobody asked for it

    def on_headers_complete(self) -> None:
        if self._head_done:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._fields.clear()  # 100 Continue, 103 Early Hints: the real head follows
            return
        self._head_done = self._midst = True
        self.head = self._fields.copy()
        if (name := _coding_among(tuple(self.head))) is None:
            return
        coding = self.head[name].decode("latin-1").strip().lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            self._coded, self._midst, self._inflater = True, False, None
        elif coding not in ("identity", ""):
            self._fail(f"The provider compressed its answer as {coding[:40]!r} although it was asked not to")

    def _inflate(self, before: int) -> None:
        """What is behind so many pieces, as it was before it was compressed."""
        coded = self._pieces[before:]
        del self._pieces[before:]
        for piece in coded:
            if self._error is None and (body := self._inflated(piece)):  # b"" is the end
                self._pieces.append(body)

    def _inflated(self, body: bytes) -> bytes:
        if self._inflater is None:
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by the first bytes
        try:
            body = self._inflater.decompress(body, MAX_INFLATED_BYTES)
        except zlib.error:
            self._fail("The provider's compressed answer cannot be read")
            return b""
        if self._inflater.unconsumed_tail:
            self._fail("The provider's compressed answer is too large")
        elif self._inflater.unused_data:
            self._fail("The provider's compressed answer goes on behind its end")
        return body

    def on_message_complete(self) -> None:
        if self._head_done and self._end < 0 and self._error is None:
            self._end, self._midst = len(self._pieces), False
            self._kept = self._parser.should_keep_alive()  # the parser knows it only while the message ends

    def _completed(self) -> None:
        if self._inflater is not None and not self._inflater.eof:
            self._fail("The provider's compressed answer is cut short")
        else:
            self.complete = True


@lru_cache(maxsize=256)
def _coding_among(names: tuple[bytes, ...]) -> bytes | None:
    """How `content-encoding` is written among a provider's headers, which are the same each time; None: not there."""
    return next((name for name in reversed(names) if name.lower() == b"content-encoding"), None)


def decoded(head: Mapping[bytes, bytes]) -> dict[str, str]:
    """Headers by their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.items()}


def _cut_off() -> LLMError:
    return cut_off("The provider broke off in the middle of its answer")
