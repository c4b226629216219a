"""The connections to one place: those idle, the number open, and who waits for one."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from gateway.connection import Connection, Tick
from gateway.proxies import DEFAULT_PORTS, Proxy


class Origin(NamedTuple):
    """Where a connection leads, and through whom."""

    tls: bool
    host: str
    port: int
    proxy: Proxy | None

    @property
    def authority(self) -> str:
        """As in the `host` header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"


class Connections:
    """At most `most` at once, kept warm, with a fair queue behind them."""

    def __init__(self, origin: Origin, most: int, tick: Tick) -> None:
        self.origin = origin
        self.tick = tick  # one for all origins
        self._free = most
        self._idle: deque[Connection] = deque()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._open: set[Connection] = set()

    def admitted(self) -> bool:
        """Take one of the places, if one is free."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def turn(self) -> None:
        """Wait in turn for one of the places."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place came just as the caller went: pass it on
            else:
                with suppress(ValueError):  # `leave` may have passed it over already
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

    def warmest(self) -> Connection | None:
        """An idle connection, if there is one that can be expected to work."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.abort()
        return None

    def begun(self, connection: Connection) -> None:
        """A new one, for whoever was admitted."""
        self._open.add(connection)

    def ended(self, connection: Connection, *, keep: bool) -> None:
        """A busy connection is done with: keep it warm, or forget it; the place is the next one's."""
        if keep:
            self._idle.append(connection)
        else:
            self._open.discard(connection)  # it may have been lost before it was begun
        self.leave()

    def lost(self, connection: Connection) -> None:
        """It is gone, idle or busy; who is busy with it still has to end."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Cut them all."""
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
