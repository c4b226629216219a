"""The connection pool to providers: HTTP/1.1 on httptools, because relaying is what this project exists for.

One `send` gives one `Reply` as soon as its headers are there; the body is then read piece by piece, and a reader that
is slow stops the reading from the provider. Everything that goes wrong on the way comes out as an LLMError, at this one
door.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.connection import Connection, Stale, Tick, decoded
from gateway.dial import dial
from gateway.origin import Connections, Origin
from gateway.proxies import DEFAULT_PORTS, Proxies
from gateway.trust import tls_context
from translators.errors import LLMError


class Timeouts(NamedTuple):
    """Seconds.

    `first_byte_s`: from the request's last byte to the answer's head; `idle_s`: longest silence after it.
    """

    connect_s: float
    first_byte_s: float
    idle_s: float


class Reply:
    """A provider's answer, its head read and its body still to come. Whoever holds it must `close` it."""

    def __init__(self, connection: Connection, idle_s: float) -> None:
        self._connection = connection
        self._idle_s = idle_s
        self.status = connection.status
        self._headers = connection.head
        self._received_bytes = 0  # when it was closed
        self._closed = self._complete = False

    @property
    def received_bytes(self) -> int:
        """Of the body so far."""
        return self._received_bytes if self._closed else self._connection.received_bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """By their names in lower case; made when they are asked for, which is where something went wrong."""
        return decoded(self._headers)

    @property
    def complete(self) -> bool:
        """Whether the provider has sent all of it."""
        return self._complete if self._closed else self._connection.complete

    async def next(self, timeout_s: float | None = None) -> bytes:
        """The next piece of the body as it came; b"" at its end.

        Raises TimeoutError after `timeout_s` of silence when that is given, else LLMError("timeout") after the idle
        time; LLMError("bad_upstream", code "provider_cut_off") when the provider breaks off.
        """
        connection = self._connection
        if self._closed:
            return b""
        while (piece := connection.take()) is None:  # no coroutine below this one: each is resumed at every event
            try:
                await connection.something(self._idle_s if timeout_s is None else timeout_s)
            except TimeoutError:
                if timeout_s is not None:
                    raise
                raise LLMError("timeout", f"The provider fell silent for {self._idle_s:g} s") from None
        return piece

    async def flow(self, take: Callable[[bytes], bool], timeout_s: float) -> None:
        """Hand `take` each piece as it comes, b"" at the end, until it answers False.

        It is called where the piece is read: no coroutine is resumed in between. Raises TimeoutError after `timeout_s`
        of silence, LLMError as `next` does, and what `take` raises.
        """
        connection, going = self._connection, True
        while going:
            piece = b"" if self._closed else connection.take()
            if piece is not None:
                going = take(piece)
                continue
            try:
                going = await connection.flowing(take, timeout_s)
            finally:
                connection.dammed()

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises as `next` does, and LLMError("bad_upstream") past `limit` bytes."""
        connection = self._connection
        if connection.complete and connection.received_bytes <= limit and not self._closed:  # most whole answers are
            return connection.take() or b""
        pieces: list[bytes] = []
        while True:
            if (piece := connection.take()) is None:
                piece = await self.next()
            if not piece:
                break
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
        unread = self._connection.release()  # which reads what waited for its turn: only then it is known what came
        self._complete, self._received_bytes = self._connection.complete, self._connection.received_bytes
        return unread


class Upstream:
    """Connections by origin, kept warm; at most `max_connections` to each, and a fair queue behind them."""

    def __init__(self, max_connections: int, proxies: Proxies) -> None:
        self._max = max_connections
        self._proxies = proxies
        self._origins: dict[Origin, Connections] = {}
        self._tick = Tick()
        self._tls = lru_cache(maxsize=1)(tls_context)  # made when it is needed, and its sessions kept
        self._located = lru_cache(maxsize=4096)(self._locate)
        self._begun = lru_cache(maxsize=1024)(self._begin)

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, timeouts: Timeouts, written: Callable[[bool], None]
    ) -> Reply:
        """POST `body`; the reply as soon as its head is there. `written` is told once the request is on its way, and
        with False where that connection turns out to have been gone.

        Raises LLMError: "connect" when nobody could be reached, "timeout", "bad_upstream" when the answer is not HTTP.
        """
        place, head = self._begun(url, tuple(headers.items()))
        head = b"".join((head, str(len(body)).encode(), b"\r\n\r\n"))
        kept = True
        while True:
            if not place.admitted():
                await place.turn()
            connection = place.warmest() if kept else None
            if connection is None:
                kept, connection = False, await self._dialled(place, timeouts.connect_s)
            try:
                await connection.exchange(head, body, timeouts.first_byte_s, written)
            except Stale:
                written(False)
                connection.release()
                if not kept:
                    message = f"{place.origin.host} closed the connection without an answer"
                    raise LLMError("connect", message) from None
                kept = False
            except TimeoutError:
                connection.release()
                message = f"The provider did not answer within {timeouts.first_byte_s:g} s"
                raise LLMError("timeout", message) from None
            except BaseException:
                connection.release()
                raise
            else:
                if not kept and place.origin.tls and (tls := connection.tls()):  # not that of a proxy
                    self._tls().remember(place.origin.host, tls)
                return Reply(connection, timeouts.idle_s)

    async def close(self) -> None:
        """Cut every connection."""
        for place in self._origins.values():
            place.close()

    async def _dialled(self, place: Connections, connect_s: float) -> Connection:
        """A new connection, for whoever was admitted; where there is none, the place is given back."""
        host, proxy = place.origin.host, place.origin.proxy
        if proxy is not None:
            host += f", through the proxy {proxy.host},"
        try:
            async with asyncio.timeout(connect_s):
                connection = await dial(place, self._tls)
        except TimeoutError:
            place.leave()
            raise LLMError("timeout", f"{host} could not be reached within {connect_s:g} s") from None
        except (OSError, UnicodeError) as error:  # refused, unreachable, no such name, a certificate that does not hold
            place.leave()
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise LLMError("connect", f"{host} could not be reached: {reason}") from None
        except BaseException:
            place.leave()
            raise
        place.begun(connection)
        return connection

    def _locate(self, url: str) -> tuple[Connections, str]:
        """The connections that lead there, and the request's target (RFC 9112, section 3.2)."""
        parts = urlsplit(url)
        tls, host = parts.scheme == "https", parts.hostname or ""
        port = parts.port or DEFAULT_PORTS["https" if tls else "http"]
        origin = Origin(tls, host, port, self._proxies.to(tls, host, port))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if origin.proxy is not None and not tls:  # it reads the request itself, and wants the absolute form
            target = f"http://{origin.authority}{target}"
        return self._origins.setdefault(origin, Connections(origin, self._max, self._tick)), target

    def _begin(self, url: str, headers: Sequence[tuple[str, str]]) -> tuple[Connections, bytes]:
        """The request's head, up to the value of its last header, `content-length`."""
        place, target = self._located(url)
        origin = place.origin
        lines = [f"POST {target} HTTP/1.1\r\nhost: {origin.authority}\r\naccept-encoding: identity\r\n"]
        if origin.proxy is not None and not origin.tls and origin.proxy.authorization:
            lines.append(f"proxy-authorization: {origin.proxy.authorization}\r\n")
        for name, value in headers:
            if "\r" in value or "\n" in value:
                raise LLMError("internal", f"The header `{name}` for the provider holds a line break")
            lines.append(f"{name}: {value}\r\n")
        lines.append("content-length: ")
        return place, "".join(lines).encode("latin-1", errors="replace")
