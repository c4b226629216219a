"""The attempt loop: each target in turn until one answers.

A target is passed over when it cannot take the request, cannot be reached, or fails before its first byte of content;
once content has come, or a provider has broken off in the middle of an answer that it will bill, no other is tried. A
client that hung up blames nobody: it comes through here as a cancellation.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from gateway import demo
from gateway.ceilings import limited
from gateway.gateway import Gateway
from gateway.routing import Target
from translators import recall
from translators.errors import LLMError
from translators.exchange import Answer, Decoder, Json, Media, UpstreamRequest
from translators.media import parts
from translators.registry import TRANSLATORS
from translators.usage import Usage

MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
LEAST_SECRET = 8  # characters; a shorter word may stand in a message by chance


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
    on_its_way: bool = False  # the request has been written to the provider
    accepted: bool = False  # the provider answered 2xx
    reported: Usage | None = None  # what it said it used, in an answer that was none
    broke_off: bool = False  # it was at work, and will bill what it did, when it or we went away
    reply: Reply | None = None
    decoder: Decoder | None = None
    answer: Answer | None = None
    frames: list[bytes] = field(default_factory=list)  # what of a stream has been decoded and not sent
    ended: bool = False  # the stream is at its end
    upstream_s: float = 0.0  # spent waiting for providers
    started: float = 0.0  # time.perf_counter() when the request came
    first_byte: float | None = None  # the same clock, at the first content

    def written(self) -> None:
        """The request is on its way."""
        self.on_its_way = True

    def begin(self, target: Target) -> None:
        """Forget the attempt before, which came to nothing and costs nothing."""
        self.target, self.sent, self.reply, self.decoder = target, None, None, None
        self.on_its_way = self.accepted = self.broke_off = self.ended = False
        self.reported = None
        self.frames.clear()

    def failed(self, error: LLMError) -> None:
        """Note whether the provider was at work when `error` ended the attempt: fallen silent, or cut in an answer."""
        silent = error.kind == "timeout" and self.on_its_way and (self.reply is None or self.accepted)
        cut = error.code == "provider_cut_off" and (self.decoder is None or self.decoder.usage != Usage())
        self.broke_off = self.broke_off or silent or cut
        self.reported = error.usage

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
        course.begin(target)
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
            course.failed(failure)
            error = _masked(failure, target)
            if not failure.fall_back or course.broke_off or course.reported is not None:
                raise
    assert error is not None  # noqa: S101 - for the type checker: a route has at least one target
    raise error


async def _media(gateway: Gateway, chat: Json, target: Target) -> Mapping[str, Media]:
    urls = TRANSLATORS[target.dialect].media_urls(chat, target.endpoint)
    media = await gateway.fetcher.media(urls) if urls else {}
    for part, path in parts(chat) if media else ():
        found = media.get(part["image_url"]["url"]) if part["type"] == "image_url" else None
        if found is not None and not found.mime.startswith("image/"):
            raise LLMError(
                "invalid_request", f"`{path}.image_url.url` leads to no image", param=f"{path}.image_url.url"
            )
    return media


def _translated(
    course: Course, target: Target, media: Mapping[str, Media], remembered: Mapping[str, Any]
) -> UpstreamRequest:
    chat = limited(course.chat, course.limits.get(target.name))
    try:
        return TRANSLATORS[target.dialect].request(chat, target.endpoint, media, remembered)
    except (orjson.JSONEncodeError, RecursionError):
        raise LLMError("invalid_request", "The request is nested too deeply to be sent on") from None


def _masked(error: LLMError, target: Target) -> LLMError:
    """`error` without the provider's key, which some providers repeat in their messages."""
    for secret in (target.endpoint.api_key, *target.endpoint.headers.values()):
        if secret and len(secret) >= LEAST_SECRET and secret in error.message:
            error.message = error.message.replace(secret, "…")
    return error


async def _attempt(gateway: Gateway, course: Course, target: Target, sent: UpstreamRequest) -> None:
    translator = TRANSLATORS[target.dialect]
    begun = time.perf_counter()
    try:
        reply: Reply
        if sent.url.startswith(demo.SCHEME):
            course.written()
            reply = demo.answer(sent.body, course.created, course.request_id)
        else:
            reply = await gateway.upstream.send(sent.url, sent.headers, sent.body, target.timeouts, course.written)
        course.reply = reply
        if reply.status >= 300:
            raise translator.error(reply.status, reply.headers, await reply.read(MAX_ERROR_BYTES))
        course.accepted = True
        if course.chat.get("stream"):
            course.decoder = translator.Decoder(sent.context, course.created, course.request_id)
            await _until_content(course, target, reply, course.decoder, gateway.config.settings.keepalive_s)
        else:
            body = await reply.read(MAX_ANSWER_BYTES)
            course.answer = translator.response(body, sent.context, course.created, course.request_id)
            reply.close()
    finally:
        course.upstream_s += time.perf_counter() - begun


async def _until_content(course: Course, target: Target, reply: Reply, decoder: Decoder, patience_s: float) -> None:
    """Decode up to the first content, or as long as a client may be left without a sign of life."""
    deadline = time.perf_counter() + patience_s
    while not decoder.started and not course.ended:
        left = deadline - time.perf_counter()
        try:
            piece = await reply.next(max(0.001, min(left, target.timeouts.idle_s)))
        except TimeoutError:
            if left > target.timeouts.idle_s:
                raise fell_silent(target) from None
            return
        if piece:
            course.frames += decoder.feed(piece)
        else:
            course.frames += decoder.close()
            course.ended = True
    course.first_byte = time.perf_counter()


def fell_silent(target: Target) -> LLMError:
    """The error for a stream in which nothing came for too long."""
    return LLMError("timeout", f"The provider fell silent for {target.timeouts.idle_s:g} s")
