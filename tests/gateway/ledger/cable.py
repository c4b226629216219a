"""A cable to a server that can be cut, can go silent, and can lose one reply."""

import asyncio
from urllib.parse import urlsplit


class Cable:
    """Listens on a port of its own, and passes on what comes to the server at `url`."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._joined: set[asyncio.Future[tuple[None, None]]] = set()
        self.port = 0
        self.joins = 0  # how often somebody has come
        self.silent = False
        self.lose_a_reply = False

    @property
    def url(self) -> str:
        user = self._server.netloc.rpartition("@")[0]
        return self._server._replace(netloc=f"{user}@127.0.0.1:{self.port}".lstrip("@")).geturl()

    def lead_to(self, url: str) -> None:
        """Whoever comes from here on is led there; who is here stays where they are."""
        self._server = urlsplit(url)

    async def plug_in(self) -> None:
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._listener:
            self._listener.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._joined)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.joins += 1
        server = await asyncio.open_connection(self._server.hostname, self._server.port or 6379)
        writers = {writer, server[1]}
        ways = asyncio.gather(self._pass_on(reader, server[1]), self._pass_on(server[0], writer, replies=True))
        self._writers |= writers
        self._joined.add(ways)
        await ways
        self._joined.discard(ways)
        self._writers -= writers

    async def _pass_on(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, replies: bool = False) -> None:
        try:
            while data := await source.read(65536):
                if replies and self.lose_a_reply:
                    self.lose_a_reply = False
                    break
                if not (replies and self.silent):
                    to.write(data)
        except ConnectionError:
            pass  # the other side hung up first
        to.close()
