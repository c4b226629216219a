"""A stream on its way through: upstream bytes in, OpenAI's events out, up to but not with [DONE]."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from math import inf

from gateway.attempts import Course, fell_silent
from gateway.choices import Reply
from gateway.client import Client
from gateway.growth import EndedBy, Growing
from translators import sse
from translators.errors import LLMError

RUN_OUT_S = 0.05  # for the end of a stream behind its end marker
MOST_BEHIND = 1024 * 1024  # bytes that a client may leave unread while its hold has to keep up with the provider


async def relay(
    course: Course, client: Client, headers: Mapping[str, str], keepalive_s: float, growing: Growing | None
) -> EndedBy | None:
    """Relay the stream of `course` to its end; or why it was ended here, where its hold could not grow any more.

    Raises LLMError when the provider breaks off or falls silent.
    """
    await client.stream(headers)
    passage = _Passage(course, client, keepalive_s, growing)
    try:
        ended_by = await passage.through()
        if ended_by is not None:
            course.close()  # first of all: what is generated from here on nobody pays for
        return ended_by
    finally:
        passage.close()


class _Passage:
    """One stream from its provider to its client: pieces are taken where they are read, and the task seldom wakes."""

    def __init__(self, course: Course, client: Client, keepalive_s: float, growing: Growing | None) -> None:
        assert course.decoder is not None  # noqa: S101 - first_answer has seen to it
        self._course = course
        self._decoder = course.decoder
        self._client = client
        self._write = None if client.exchange is None else client.exchange.write  # the shortest way to the client
        self._keepalive_s = keepalive_s
        self._growing = growing
        self._frames: Sequence[bytes] = course.frames  # the last that were written
        self._look_bytes = 0.0  # of output, at which the task has something to see to
        self._finished_bytes: int | None = None  # of output, when a finish was first believed
        self._silent_s = 0.0  # since the provider was heard, as far as it was waited for
        self._murmurs_at: float | None = None  # when the provider spoke first since it last had words for the client
        self._catching_up: asyncio.Task[None] | None = None

    async def through(self) -> EndedBy | None:
        """To the end of the stream, or why it ended before."""
        course, decoder, client = self._course, self._decoder, self._client
        reply, target = course.reply, course.target
        assert reply is not None and target is not None  # noqa: S101 - first_answer has seen to it
        client.write(b"".join(self._frames) or sse.KEEP_ALIVE)
        while not course.ended:
            if client.behind_bytes:
                await self._wait_for_client()
            if not decoder.done and (ended_by := await self._looked_up()) is not None:
                return ended_by
            wait_s = min(self._keepalive_s, target.timeouts.idle_s - self._silent_s)
            try:
                if decoder.done:
                    await _run_out(reply)
                    self.take(b"")
                else:
                    await reply.flow(self.take, wait_s)
            except TimeoutError:
                self._silent_s += wait_s
                if self._silent_s >= target.timeouts.idle_s:
                    raise fell_silent(target) from None
                client.write(sse.KEEP_ALIVE)
        return None

    def take(self, data: bytes) -> bool:
        """A piece of the provider's, b"" at its end, decoded and written; whether the next may come at once."""
        decoder, client, write = self._decoder, self._client, self._write
        if data:
            frames = decoder.feed(data)
        else:
            frames = decoder.close()
            self._course.ended = True
        self._silent_s, self._frames = 0.0, frames
        if frames:
            said = frames[0] if len(frames) == 1 else b"".join(frames)
            self._murmurs_at = None
        else:
            said = self._murmured()
        if said and (write is None or client.behind_bytes or not write(said)) and not client.write(said):
            return False
        return decoder.output_bytes < self._look_bytes and not decoder.done and data != b""

    def _murmured(self) -> bytes:
        """Comments, pings and parts of events say nothing to the client, who wants a sign of life all the same."""
        now = time.perf_counter()
        if self._murmurs_at is not None and now - self._murmurs_at < self._keepalive_s:
            return b""
        begun, self._murmurs_at = self._murmurs_at is None, now
        return b"" if begun else sse.KEEP_ALIVE

    async def _looked_up(self) -> EndedBy | None:
        """See to what waits for a look, and say when the next is due; or why the stream must end here."""
        course, output_bytes, growing = self._course, self._decoder.output_bytes, self._growing
        if self._frames:
            course.last_frame = self._frames[-1]
        if course.first_byte is None and self._decoder.started:
            course.first_byte = time.perf_counter()
        if growing is not None and growing.seen and self._client.behind_bytes > MOST_BEHIND:
            return "slow_client"
        if (
            growing is not None
            and output_bytes >= growing.due_bytes
            and not self._said_all()
            and not await growing.room(output_bytes)
        ):
            return growing.ended_by
        self._look_bytes = 0 if course.first_byte is None else inf if growing is None else growing.due_bytes
        return None

    def _said_all(self) -> bool:
        """Whether only the usage is to come, which the bill is made from and for which no hold need grow.

        Where more is said behind a finish it is not believed again: OpenRouter's Gemini gives one with each of many
        tool calls (recorded, 8df6d74dc406).
        """
        if not self._decoder.finished:
            return False
        if self._finished_bytes is None:
            self._finished_bytes = self._decoder.output_bytes
        return self._decoder.output_bytes == self._finished_bytes

    def close(self) -> None:
        """Leave the rest to the end of the answer, when its bill is written."""
        if self._catching_up is not None:
            self._catching_up.cancel()

    async def _wait_for_client(self) -> None:
        """A growing hold cannot wait for a client who reads more slowly than the provider says."""
        if self._growing is None or not self._growing.seen:
            await self._client.caught_up()
        elif self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.ensure_future(self._client.caught_up())


async def _run_out(reply: Reply) -> None:
    """Behind the end marker nothing counts, but a connection whose last bytes are read can be used again."""
    until = time.perf_counter() + RUN_OUT_S
    try:
        while (left_s := until - time.perf_counter()) > 0 and await reply.next(left_s):
            pass
    except (TimeoutError, LLMError):
        pass
