"""How a connection is made: the first of a host's addresses to answer, a proxy's tunnel where one leads there, TLS."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from gateway.connection import Connection
from gateway.origin import Connections, Origin
from gateway.proxies import Proxy
from translators.errors import LLMError

LEAD_S = 0.25  # the Connection Attempt Delay that RFC 8305 recommends (section 5): the next address is tried beside
MAX_REFUSAL_BYTES = 16 * 1024  # the head of a proxy's answer

Address = tuple[Any, ...]  # (family, kind, protocol, canonical name, socket address), as getaddrinfo gives it


async def dial(place: Connections, tls: Callable[[], ssl.SSLContext]) -> Connection:
    """A new connection to `place`. Raises OSError, UnicodeError for a name that is none, LLMError from a proxy.

    uvloop's create_connection knows no `happy_eyeballs_delay` (0.23, loop.pyx), hence `reached`.
    """
    loop, origin = asyncio.get_running_loop(), place.origin
    proxy = origin.proxy
    if proxy is not None and origin.tls:
        return await _tunnelled(place, proxy, tls)
    at: Origin | Proxy = proxy or origin
    _, connection = await loop.create_connection(
        lambda: Connection(place),
        sock=await reached(at.host, at.port),
        ssl=tls() if at.tls else None,
        server_hostname=at.host if at.tls else None,
    )
    return connection


async def reached(host: str, port: int) -> socket.socket:
    """A socket, connected to the first address of `host` that answers ("happy eyeballs"). Raises OSError."""
    loop = asyncio.get_running_loop()
    untried = deque(_alternating(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    trying: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException = OSError("it has no address")
    try:
        while untried or trying:
            if untried:
                trying.add(loop.create_task(_connected(untried.popleft())))
            done, trying = await asyncio.wait(
                trying, timeout=LEAD_S if untried else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if (error := task.exception()) is None:
                    trying |= done - {task}
                    return task.result()
                failure = error
        raise failure
    finally:
        for task in trying:
            task.cancel()
            task.add_done_callback(_unwanted)


def _alternating(found: Sequence[Address]) -> list[Address]:
    """By turns of both families, the one that the system prefers first (RFC 8305, section 4)."""
    first = [entry for entry in found if entry[0] == found[0][0]]
    other = [entry for entry in found if entry[0] != found[0][0]]
    return [entry for pair in zip_longest(first, other) for entry in pair if entry is not None]


async def _connected(address: Address) -> socket.socket:
    family, kind, protocol, _, where = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made


def _unwanted(task: "asyncio.Task[socket.socket]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _tunnelled(place: Connections, proxy: Proxy, tls: Callable[[], ssl.SSLContext]) -> Connection:
    """TLS to the origin through a proxy that is asked to CONNECT (RFC 9110, section 9.3.6)."""
    loop, origin = asyncio.get_running_loop(), place.origin
    transport, asking = await loop.create_connection(
        _Asking,
        sock=await reached(proxy.host, proxy.port),
        ssl=tls() if proxy.tls else None,
        server_hostname=proxy.host if proxy.tls else None,
    )
    try:
        transport.write(_connect(origin, proxy))
        said = await asking.answer
        if not said.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
            reason = said.partition(b"\r\n")[0].decode("latin-1")[:100]
            raise LLMError("connect", f"The proxy {proxy.host} does not lead to {origin.host}: {reason}")
        connection = Connection(place)
        secured = await loop.start_tls(transport, connection, tls(), server_hostname=origin.host)
        if secured is None:  # asyncio: it closed meanwhile
            raise ConnectionResetError
    except BaseException:
        transport.abort()
        raise
    connection.connection_made(secured)
    return connection


def _connect(origin: Origin, proxy: Proxy) -> bytes:
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {name}:{origin.port} HTTP/1.1", f"host: {name}:{origin.port}"]
    if proxy.authorization:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Asking(asyncio.Protocol):
    """Waits for the head of a proxy's answer, behind which nothing comes before we speak."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._said = b""

    def data_received(self, data: bytes) -> None:
        self._said += data
        if not self.answer.done() and (b"\r\n\r\n" in self._said or len(self._said) > MAX_REFUSAL_BYTES):
            self.answer.set_result(self._said)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("the proxy closed the connection"))
