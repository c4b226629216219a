"""A stream on its way through: upstream bytes in, OpenAI's events out, up to but not with [DONE]."""

import time
from collections.abc import Mapping, Sequence

from gateway.attempts import Course, fell_silent
from gateway.choices import Reply
from gateway.client import STREAM_HEADERS, Client
from gateway.growth import Growing
from translators import sse
from translators.errors import LLMError

RUN_OUT_S = 0.05  # for the end of a stream behind its end marker


async def relay(
    course: Course, client: Client, headers: Mapping[str, str], keepalive_s: float, growing: Growing | None
) -> bool:
    """Relay the stream of `course` to its end. False where it was ended because its hold could not grow any more.

    Raises LLMError when the provider breaks off or falls silent.
    """
    reply, decoder, target = course.reply, course.decoder, course.target
    assert reply is not None and decoder is not None and target is not None  # noqa: S101 - first_answer has seen to it
    await client.start(200, {**STREAM_HEADERS, **headers})
    frames: Sequence[bytes] = course.frames
    heard = time.perf_counter()
    await client.more(b"".join(frames) or sse.KEEP_ALIVE)
    while True:
        if growing is not None and growing.due(decoder.output_bytes) and not (course.ended or decoder.done):
            course.last_frame = frames[-1] if frames else course.last_frame
            if not await growing.room(decoder.output_bytes):
                course.close()
                return False
        if course.ended:
            return True
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


async def _run_out(reply: Reply) -> bytes:
    """Behind the end marker nothing counts, but a connection whose last bytes are read can be used again."""
    try:
        while await reply.next(RUN_OUT_S):
            pass
    except (TimeoutError, LLMError):
        pass
    return b""
