"""The streams of several upstream calls as one, each piece in the order in which it came (translators/choices.py)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from translators import choices
from translators.errors import LLMError


class Reply(Protocol):
    """What is still to come of a provider's reply, or of several in one."""

    @property
    def received_bytes(self) -> int:
        """Of the body so far."""
        ...

    @property
    def complete(self) -> bool: ...
    async def next(self, timeout_s: float | None = None) -> bytes: ...
    async def flow(self, take: Callable[[bytes], bool], timeout_s: float) -> None: ...
    def close(self) -> Sequence[bytes]: ...


class OneReply(Reply, Protocol):
    """One provider's reply, as gateway.upstream and the demo give it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    async def read(self, limit: int) -> bytes: ...


class Replies:
    """A stream of `choices.piece`s, out of the replies that are not at their end; b"" once all are.

    Each is read no further ahead than one piece. What one of them raises is raised by `next`.
    """

    def __init__(self, replies: Mapping[int, Reply]) -> None:
        self._replies = replies
        self._pieces: asyncio.Queue[bytes | LLMError] = asyncio.Queue()
        self._room = {index: asyncio.Semaphore() for index in replies}  # for a piece of each
        self._open = len(replies)
        self._readers: Sequence[asyncio.Task[None]] = [
            asyncio.ensure_future(self._read(index, reply)) for index, reply in replies.items()
        ]

    async def _read(self, index: int, reply: Reply) -> None:
        try:
            more = True
            while more:
                await self._room[index].acquire()
                more = bool(data := await reply.next())
                self._pieces.put_nowait(choices.piece(index, data))
        except LLMError as error:
            self._pieces.put_nowait(error)

    @property
    def received_bytes(self) -> int:
        return sum(reply.received_bytes for reply in self._replies.values())

    @property
    def complete(self) -> bool:
        return all(reply.complete for reply in self._replies.values())

    async def next(self, timeout_s: float | None = None) -> bytes:
        """The next piece. Raises TimeoutError after `timeout_s` of silence, and LLMError as each reply does."""
        if not self._open:
            return b""
        async with asyncio.timeout(timeout_s):
            found = await self._pieces.get()
        if isinstance(found, LLMError):
            raise found
        self._room[found[0]].release()
        self._open -= len(found) == 1
        return found

    async def flow(self, take: Callable[[bytes], bool], timeout_s: float) -> None:
        """As upstream.Reply.flow does, piece by piece."""
        while take(await self.next(timeout_s)):
            pass

    def close(self) -> Sequence[bytes]:
        """Cut what is not at its end; what has come unread, piece by piece, the ends that were told included."""
        for reader in self._readers:
            reader.cancel()
        unread: list[bytes] = []
        while not self._pieces.empty():
            if isinstance(found := self._pieces.get_nowait(), bytes):
                unread.append(found)
        for index, reply in self._replies.items():
            unread += [choices.piece(index, data) for data in reply.close()]
            if reply.complete:
                unread.append(choices.piece(index, b""))
        return unread
