"""The attempt loop: each target in turn until one answers.

A target is passed over when it cannot take the request, cannot be reached, or fails before its first byte of content;
once content has come, or a provider has broken off in the middle of an answer that it will bill, no other is tried. A
client that hung up blames nobody: it comes through here as a cancellation.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway import demo
from gateway.ceilings import limited
from gateway.gateway import Gateway
from gateway.routing import Target
from translators import recall
from translators.errors import LLMError
from translators.exchange import Answer, Decoder, Json, Media, UpstreamRequest
from translators.registry import TRANSLATORS

MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024


class Reply(Protocol):
    """What a provider's reply is to us: gateway.upstream.Reply, or the demo's."""

    status: int
    headers: Mapping[str, str]
    received_bytes: int  # of the body so far

    @property
    def complete(self) -> bool: ...
    async def next(self, timeout_s: float | None = None) -> bytes: ...
    async def read(self, limit: int) -> bytes: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Course:
    """How one request has gone so far. The bill is made from it at any ending, so it is current at all times."""

    request_id: str
    created: int  # Unix seconds
    chat: Json
    targets: tuple[Target, ...]
    limits: Mapping[str, int] = field(
        default_factory=dict
    )  # per target name: the answer's length, where the hold bounds it
    attempts: int = 0
    target: Target | None = None  # the one that is being tried, or answered
    sent: UpstreamRequest | None = None
    accepted: bool = False  # the provider answered 2xx: from here on it may bill us
    reply: Reply | None = None
    decoder: Decoder | None = None
    answer: Answer | None = None
    frames: list[bytes] = field(default_factory=list)  # what of a stream has been decoded and not sent
    ended: bool = False  # the stream is at its end
    upstream_s: float = 0.0  # spent waiting for providers
    started: float = 0.0  # time.perf_counter() when the request came
    first_byte: float | None = None  # the same clock, at the first content

    @property
    def cut_off(self) -> bool:
        """Whether a provider broke off in the middle of a whole answer, which it may bill."""
        whole = self.accepted and not self.chat.get("stream") and self.answer is None
        return whole and self.reply is not None and not self.reply.complete and self.reply.received_bytes > 0

    @property
    def remember(self) -> Mapping[str, Any]:
        """The signed reasoning of the answer, by the names to keep it under."""
        source = self.answer or self.decoder
        return {} if source is None else source.remember

    def close(self) -> None:
        """Let go of the provider; cuts what is still being generated."""
        if self.reply is not None:
            self.reply.close()


async def first_answer(gateway: Gateway, course: Course) -> None:
    """Fill `course.answer`, or for a stream `course.decoder` with its first content.

    Raises the last target's LLMError.
    """
    wanted = recall.wanted(course.chat)
    remembered = await gateway.memory.recall(wanted) if wanted else {}
    error: LLMError | None = None
    for target in course.targets:
        course.target, course.sent, course.decoder, course.accepted = target, None, None, False
        try:
            media = await _media(gateway, course.chat, target)
            course.sent = _translated(course, target, media, remembered)
        except LLMError as refusal:  # this one cannot take it; another may
            error = error or refusal
            continue
        course.attempts += 1
        try:
            await _attempt(gateway, course, target, course.sent)
            return
        except LLMError as failure:
            course.close()
            error = failure
            if not failure.fall_back or course.cut_off:
                raise
    assert error is not None  # noqa: S101 - for the type checker: a route has at least one target
    raise error


async def _media(gateway: Gateway, chat: Json, target: Target) -> Mapping[str, Media]:
    urls = TRANSLATORS[target.dialect].media_urls(chat, target.endpoint)
    return await gateway.fetcher.media(urls) if urls else {}


def _translated(
    course: Course, target: Target, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    chat = limited(course.chat, course.limits.get(target.name))
    return TRANSLATORS[target.dialect].request(chat, target.endpoint, media, remembered)


async def _attempt(gateway: Gateway, course: Course, target: Target, sent: UpstreamRequest) -> None:
    translator = TRANSLATORS[target.dialect]
    begun = time.perf_counter()
    try:
        reply: Reply
        if sent.url.startswith(demo.SCHEME):
            reply = demo.answer(sent.body, course.created, course.request_id)
        else:
            reply = await gateway.upstream.send(sent.url, sent.headers, sent.body, target.timeouts)
        course.reply = reply
        if reply.status >= 300:
            raise translator.error(reply.status, reply.headers, await reply.read(MAX_ERROR_BYTES))
        course.accepted = True
        if course.chat.get("stream"):
            course.decoder = translator.Decoder(sent.context, course.created, course.request_id)
            await _until_content(course, reply, course.decoder, gateway.config.settings.keepalive_s)
        else:
            body = await reply.read(MAX_ANSWER_BYTES)
            course.answer = translator.response(body, sent.context, course.created, course.request_id)
            reply.close()
    finally:
        course.upstream_s += time.perf_counter() - begun


async def _until_content(course: Course, reply: Reply, decoder: Decoder, patience_s: float) -> None:
    """Decode up to the first content, or as long as a client may be left without a sign of life."""
    deadline = time.perf_counter() + patience_s
    while not decoder.started and not course.ended:
        try:
            piece = await reply.next(max(0.001, deadline - time.perf_counter()))
        except TimeoutError:
            return
        if piece:
            course.frames += decoder.feed(piece)
        else:
            course.frames += decoder.close()
            course.ended = True
    course.first_byte = time.perf_counter()
