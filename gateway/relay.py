"""A stream on its way through: upstream bytes in, OpenAI's events out, up to but not with [DONE]."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from gateway.attempts import Course, fell_silent
from gateway.choices import Reply
from gateway.client import STREAM_HEADERS, Client
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
    await client.start(200, {**STREAM_HEADERS, **headers})
    behind = _Behind(client) if growing is not None and growing.seen else None
    try:
        ended_by = await _relayed(course, behind or client, keepalive_s, growing)
        if ended_by is not None:
            course.close()  # first of all: what is generated from here on nobody pays for
        return ended_by
    finally:
        if behind is not None:
            behind.close()


async def _relayed(
    course: Course, client: "Client | _Behind", keepalive_s: float, growing: Growing | None
) -> EndedBy | None:
    reply, decoder, target = course.reply, course.decoder, course.target
    assert reply is not None and decoder is not None and target is not None  # noqa: S101 - first_answer has seen to it
    frames: Sequence[bytes] = course.frames
    heard = time.perf_counter()
    await client.more(b"".join(frames) or sse.KEEP_ALIVE)
    while not course.ended:
        if growing is not None and not decoder.done:
            course.last_frame = frames[-1] if frames else course.last_frame
            if isinstance(client, _Behind) and client.bytes > MOST_BEHIND:
                return "slow_client"
            if growing.due(decoder.output_bytes) and not await growing.room(decoder.output_bytes):
                return growing.ended_by
        patience_s = heard + target.timeouts.idle_s - time.perf_counter()
        try:
            data = await (_run_out(reply) if decoder.done else reply.next(max(0.001, min(keepalive_s, patience_s))))
        except TimeoutError:
            if patience_s <= keepalive_s:
                raise fell_silent(target) from None
            await client.more(sse.KEEP_ALIVE)
            continue
        heard = time.perf_counter()
        course.ended = not data
        frames = decoder.feed(data) if data else decoder.close()
        if course.first_byte is None and decoder.started:
            course.first_byte = heard
        if frames:
            await client.more(b"".join(frames))
    return None


class _Behind:
    """Writes to a client who may read more slowly than the provider says: a growing hold cannot wait for it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pending: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self.bytes = 0  # that the client has not taken yet

    async def more(self, data: bytes) -> None:
        """Leave a piece to be written."""
        self._pending.append(data)
        self.bytes += len(data)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())

    def close(self) -> None:
        """Leave the rest to the end of the answer, when its bill is written."""
        if self._writing is not None:
            self._writing.cancel()
        self._client.unsent = b"".join(self._pending)

    async def _write(self) -> None:
        while self._pending:
            data, self._pending = b"".join(self._pending), []
            await self._client.more(data)  # uvicorn takes it at once, and then waits for the client to read
            self.bytes -= len(data)


async def _run_out(reply: Reply) -> bytes:
    """Behind the end marker nothing counts, but a connection whose last bytes are read can be used again."""
    try:
        while await reply.next(RUN_OUT_S):
            pass
    except (TimeoutError, LLMError):
        pass
    return b""
