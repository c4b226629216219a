"""Several replies as one stream of pieces."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from gateway.choices import Replies
from translators.choices import piece
from translators.errors import LLMError


class Scripted:
    """A reply that gives these pieces, then its end, or raises."""

    status = 200

    def __init__(self, *pieces: bytes, error: LLMError | None = None, stalls: bool = False) -> None:
        self.headers: Mapping[str, str] = {}
        self.received_bytes = 0
        self.complete = self.closed = False
        self._pieces, self._error, self._stalls = list(pieces), error, stalls

    async def next(self, timeout_s: float | None = None) -> bytes:
        await asyncio.sleep(0)
        if self._pieces:
            self.received_bytes += len(self._pieces[0])
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        if self._stalls:
            await asyncio.Event().wait()
        self.complete = True
        return b""

    async def flow(self, take: Callable[[bytes], bool], timeout_s: float) -> None:
        raise NotImplementedError

    async def read(self, limit: int) -> bytes:
        return b""

    def close(self) -> tuple[bytes, ...]:
        self.closed = True
        return tuple(self._pieces)


async def drained(replies: Replies) -> list[bytes]:
    found = []
    while data := await replies.next():
        found.append(data)
    return found


def test_every_piece_comes_with_its_number_and_every_end() -> None:
    async def run() -> None:
        replies = Replies({0: Scripted(b"a", b"b"), 2: Scripted(b"c")})
        found = await drained(replies)
        assert sorted(found) == sorted([piece(0, b"a"), piece(0, b"b"), piece(0, b""), piece(2, b"c"), piece(2, b"")])
        assert replies.complete and replies.received_bytes == 3

    asyncio.run(run())


def test_what_one_raises_is_raised_and_the_others_are_cut() -> None:
    async def run() -> None:
        others = Scripted(b"a", stalls=True)
        replies = Replies({0: others, 1: Scripted(error=LLMError("bad_upstream", "broken"))})
        with pytest.raises(LLMError, match="broken"):
            await drained(replies)
        replies.close()
        assert others.closed

    asyncio.run(run())


def test_silence_raises_and_loses_nothing() -> None:
    async def run() -> None:
        replies = Replies({0: Scripted(b"a", stalls=True)})
        assert await replies.next() == piece(0, b"a")
        with pytest.raises(TimeoutError):
            await replies.next(0.01)
        replies.close()
        assert await Replies({}).next() == b""

    asyncio.run(run())


def test_what_nobody_asked_for_is_told_when_they_are_closed() -> None:
    """One of each was read ahead; what is behind it lies where it came."""

    async def run() -> None:
        replies = Replies({0: Scripted(b"a", b"b", b"c"), 1: Scripted(b"x", b"y")})
        assert await replies.next() == piece(0, b"a")
        await asyncio.sleep(0.01)
        unread = replies.close()
        assert [each for each in unread if each[0] == 0] == [piece(0, b"b"), piece(0, b"c")]
        assert [each for each in unread if each[0] == 1] == [piece(1, b"x"), piece(1, b"y")]

    asyncio.run(run())


def test_an_end_that_nobody_asked_for_is_told_too() -> None:
    async def run() -> None:
        replies = Replies({0: Scripted()})
        await asyncio.sleep(0.01)
        assert piece(0, b"") in replies.close()

    asyncio.run(run())
