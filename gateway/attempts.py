"""The attempt loop: each target in turn until one answers.

A target is passed over when it cannot take the request, cannot be reached, or fails before its first byte of content;
once content has come, no other is tried. Where a provider broke off in the middle of an answer that it will bill,
another is tried only if the hold can be raised by that. A client that hung up blames nobody: it comes through here as
a cancellation.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from gateway import demo
from gateway.ceilings import limited
from gateway.choices import OneReply, Replies, Reply
from gateway.credentials.kinds import Credentials
from gateway.gateway import Gateway
from gateway.routing import Target
from gateway.usual import BYTES_PER_TOKEN
from translators import choices
from translators.errors import LLMError, forgotten
from translators.exchange import NONE, Answer, Decoder, Json, Media, UpstreamRequest
from translators.media import parts
from translators.outcomes import calls
from translators.registry import TRANSLATORS
from translators.usage import Usage

MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
SECRET_NAME = re.compile("key|token|secret|auth|cookie", re.IGNORECASE)  # of a header in routes.yaml
LEAST_SECRET = 8  # characters; a shorter word may stand in a message by chance

log = logging.getLogger("headgate")


class Owed(NamedTuple):
    """What one attempt costs, whatever came of it. `row` is its price's."""

    usage: Usage
    nanousd: int
    estimated: bool
    unpriced: bool
    row: str


class Course:
    """How one request has gone so far. The bill is made from it at any ending, so it is current at all times.

    What is the class's at first is seldom read: Python 3.11 is quick only with what an object has itself, up to 30.
    """

    reported: Usage | None = None  # what it said it used, in an answer that was none
    broke_off = False  # it was at work, and will bill what it did, when it or we went away
    bytes_per_token = BYTES_PER_TOKEN  # of the answer, for estimates
    failure: LLMError | None = None  # the last that was noted
    failed_target = ""  # at which that was
    abandoned = False  # the client is gone, and this is read on for its usage alone
    prompt_guess: int | None = None  # tokens, once somebody has needed to guess
    last_frame = b""  # of a stream that may have to be ended by us: the last with a choice

    def __init__(
        self,
        request_id: str,
        began_s: float,
        chat: Json,
        targets: tuple[Target, ...],
        limits: Mapping[str, int] = NONE,
        *,
        started: float = 0.0,
        remembered: Mapping[str, Any] = NONE,
        end_user: str | None = None,
        tags: tuple[str, ...] = (),
        text_alone: bool = False,
    ) -> None:
        self.request_id, self.chat, self.targets = request_id, chat, targets
        self.began_s, self.created = began_s, int(began_s)  # Unix seconds
        self.limits = limits  # by target: the answer's length, where the hold bounds it
        self.started = started  # time.perf_counter() when the request came
        self.remembered = remembered  # signed reasoning of earlier turns, by name
        self.end_user, self.tags = end_user, tags  # whom the caller says it is for
        self.text_alone = text_alone  # as prices.estimate has it
        self.attempts = 0
        self.target: Target | None = None  # the one that is being tried, or answered
        self.ready: UpstreamRequest | None = None  # for the first target, as `prepare` made it
        self.sent: UpstreamRequest | None = None
        self.on_its_way = False  # the request has been written to the provider
        self.accepted = False  # the provider answered 2xx
        self.upstream_s = 0.0  # spent waiting for providers
        self.reply: Reply | None = None
        self.answer: Answer | None = None
        self.decoder: Decoder | None = None  # of a stream
        self.frames: list[bytes] = []  # what of it has been decoded and not sent
        self.first_byte: float | None = None  # time.perf_counter() at its first content
        self.ended, self.ended_by = False, ""  # whether it came to its end, and to a good one; why it was ended here
        self.lanes: tuple[Course, ...] = ()  # one for each of `n` choices, where each takes a call of its own
        self.past: tuple[Owed, ...] = ()  # of attempts that failed and are billed all the same

    def written(self, it_is: bool = True) -> None:
        """The request is on its way; or, after all, nobody has taken it."""
        self.on_its_way = it_is

    def begin(self) -> None:
        """Forget the attempt before, which came to nothing; what it costs all the same is in `past`."""
        self.sent, self.reply, self.decoder = None, None, None
        self.on_its_way = self.accepted = self.broke_off = self.ended = False
        self.reported, self.lanes = None, ()
        self.frames.clear()

    def failed(self, error: LLMError) -> None:
        """Note whether the provider was at work when `error` ended the attempt: fallen silent, or cut in an answer."""
        if error is self.failure:  # it comes by again on its way out, and another target may stand here by now
            return
        self.failure, self.failed_target = error, self.target.name if self.target is not None else ""
        forgotten(error)
        left = error.kind in ("timeout", "unavailable")  # it fell silent, its time was up, or its hold was lost
        silent = left and self.on_its_way and (self.reply is None or self.accepted)
        cut = error.code == "provider_cut_off" and (self.decoder is None or self.decoder.usage != Usage())
        self.broke_off = self.broke_off or silent or cut
        self.on_its_way = False
        if error.usage is not None:
            self.reported = error.usage
        for lane in self.lanes:  # one of several calls failed, or time is up for all: the others were at work
            if lane.failure is None and lane.answer is None:
                lane.broke_off = lane.broke_off or lane.accepted or (left and lane.at_work)

    def faulted(self) -> None:
        """A fault of ours ended it: whoever had accepted it was at work."""
        for each in (self, *self.lanes):
            each.broke_off = each.broke_off or each.accepted

    @property
    def at_work(self) -> bool:
        """Whether a provider has the request, or that of any lane, and has neither refused it nor failed."""
        if self.on_its_way and (self.accepted or self.reply is None):
            return True
        return any(lane.at_work for lane in self.lanes)

    @property
    def owes(self) -> bool:
        """Whether the attempt is billed although it failed."""
        if self.lanes:
            return any(lane.owes or lane.answered for lane in self.lanes)
        return self.broke_off or self.reported is not None

    @property
    def answered(self) -> bool:
        """Whether any content has come."""
        return self.answer is not None or (self.decoder is not None and self.decoder.started)

    @property
    def remember(self) -> Mapping[str, Any]:
        """The signed reasoning of the answer, by the names to keep it under."""
        source = self.answer or self.decoder
        return {} if source is None else source.remember

    def close(self) -> None:
        """Let go of the provider; cuts what is still being generated. What has come unread counts as generated."""
        if self.reply is not None:
            unread = self.reply.close()  # of all lanes, before each lets go of its own
            if self.decoder is not None and not self.ended:
                self._hear_out(self.decoder, unread, self.reply.complete)
        for at, lane in enumerate(self.lanes):
            lane.ended = lane.ended or (isinstance(self.decoder, choices.Decoder) and at in self.decoder.ended)
            lane.close()

    def _hear_out(self, decoder: Decoder, unread: Sequence[bytes], complete: bool) -> None:
        for piece in unread:
            self._heard(decoder.feed, piece)
        if complete and self._heard(decoder.close):
            self.ended = True

    def _heard(self, tell: Callable[..., object], *piece: bytes) -> bool:
        """Whether the decoder could read it. If not, its other lanes have their say, and its bill is written."""
        try:
            tell(*piece)
        except LLMError:
            return False
        except Exception:  # a fault of ours in what is left over must not keep the bill from being written
            log.exception("request %s: what had come unread of its answer cannot be counted", self.request_id)
            return False
        return True


def prepare(course: Course) -> None:
    """Translate for the first target, while its hold is asked for: mostly it affords what was asked for."""
    target = course.targets[0]
    if course.ready is None and not TRANSLATORS[target.dialect].media_urls(course.chat, target.endpoint):
        try:
            course.ready = translated(course, target, NONE)
        except LLMError:
            return  # told when its turn comes


async def first_answer(gateway: Gateway, course: Course, carry_on: Callable[[], Awaitable[bool]]) -> None:
    """Fill `course.answer`, or for a stream `course.decoder` with its first content.

    `carry_on` is asked where a failed attempt is billed: whether the hold was raised by that, so that another may be
    made. Raises the last target's LLMError.
    """
    error: LLMError | None = None
    tried: Target | None = None
    for target in course.targets:
        if course.target is not None:
            course.begin()
        course.target = target
        try:
            course.sent = _prepared(course, target)
            if course.sent is None:
                urls = TRANSLATORS[target.dialect].media_urls(course.chat, target.endpoint)
                media = await _media(gateway, course.chat, urls) if urls else NONE
                course.sent = translated(course, target, media)
        except LLMError as refusal:  # this one cannot take it; another may
            error = error or refusal
            continue
        course.attempts += 1
        tried = target
        try:
            if (count := _calls(course.chat, target)) > 1:
                await _attempts_at_once(gateway, course, target, course.sent, count)
            else:
                await _attempt(gateway, course, target, course.sent)
            return
        except LLMError as failure:
            course.close()
            course.failed(failure)
            error = masked(failure, target)
            last = course.abandoned or not failure.fall_back or target is course.targets[-1]
            if last or (course.owes and not await carry_on()):
                raise
    assert error is not None  # noqa: S101 - for the type checker: a route has at least one target
    course.target = tried or course.target
    raise error


def _prepared(course: Course, target: Target) -> UpstreamRequest | None:
    ready, course.ready = course.ready, None
    return ready if target is course.targets[0] and target.name not in course.limits else None


async def _media(gateway: Gateway, chat: Json, urls: Sequence[str]) -> Mapping[str, Media]:
    media = await gateway.fetcher.media(urls)
    for part, path in parts(chat) if media else ():
        found = media.get(part["image_url"]["url"]) if part["type"] == "image_url" else None
        if found is not None and not found.mime.startswith("image/"):
            raise LLMError(
                "invalid_request", f"`{path}.image_url.url` leads to no image", param=f"{path}.image_url.url"
            )
    return media


def translated(course: Course, target: Target, media: Mapping[str, Media]) -> UpstreamRequest:
    """What is sent to `target`, each time where one call is one choice. Raises LLMError where it cannot take it."""
    chat = limited(course.chat, course.limits.get(target.name))
    if _calls(chat, target) > 1:
        chat = {name: value for name, value in chat.items() if name != "n"}
    try:
        return TRANSLATORS[target.dialect].request(chat, target.endpoint, media, course.remembered)
    except (orjson.JSONEncodeError, RecursionError):
        raise LLMError("invalid_request", "The request is nested too deeply to be sent on") from None


async def _signed(credentials: Credentials, sent: UpstreamRequest, target: Target) -> Mapping[str, str]:
    """The headers with those that authenticate the request. Raises LLMError where they do not come in time."""
    try:
        async with asyncio.timeout(target.timeouts.connect_s):  # the fetch goes on, for those who come later
            return await credentials.signed(sent)
    except TimeoutError:
        message = f"{target.provider}'s credentials could not be had within {target.timeouts.connect_s:g} s"
        raise LLMError("connect", message) from None


def masked(error: LLMError, target: Target, sent: Mapping[str, str] = NONE) -> LLMError:
    """`error` without the provider's key, which some providers repeat in their messages; `sent` are signed headers."""
    headers = (*target.endpoint.headers.items(), *sent.items())
    own = [value.removeprefix("Bearer ") for name, value in headers if SECRET_NAME.search(name)]
    for secret in (target.endpoint.api_key, *own):
        if secret and len(secret) >= LEAST_SECRET and secret in error.message:
            error.message = error.message.replace(secret, "…")
    return error


def _calls(chat: Json, target: Target) -> int:
    return 1 if "n" not in chat else calls(chat, TRANSLATORS[target.dialect].OUTCOMES, target.endpoint)


async def _attempts_at_once(
    gateway: Gateway, course: Course, target: Target, sent: UpstreamRequest, count: int
) -> None:
    """One attempt for each of `count` choices. A failure of one is the failure of all, once each is known to have
    answered or failed: a call that was cut off at work would have to be guessed at.
    """
    apart = replace(sent, context=replace(sent.context, include_usage=False))
    ids = choices.request_ids(course.request_id, count)
    same = course.began_s, course.chat, (target,)
    course.lanes = tuple(Course(id, *same, text_alone=course.text_alone) for id in ids)
    for lane in course.lanes:
        lane.bytes_per_token = course.bytes_per_token
    begun = time.perf_counter()
    try:
        ended = await asyncio.gather(
            *(_in_lane(gateway, lane, target, apart) for lane in course.lanes), return_exceptions=True
        )
        for failure in ended:
            if failure is not None:
                raise failure
    finally:
        course.accepted = any(lane.accepted for lane in course.lanes)
        course.upstream_s += time.perf_counter() - begun
    if course.chat.get("stream"):
        _interleaved(course, sent)
    else:
        course.answer = choices.merged([lane.answer for lane in course.lanes if lane.answer is not None])


async def _in_lane(gateway: Gateway, lane: Course, target: Target, sent: UpstreamRequest) -> None:
    lane.sent = sent
    try:
        await _attempt(gateway, lane, target, sent)
    except LLMError as failure:
        lane.failed(failure)
        raise


def _interleaved(course: Course, sent: UpstreamRequest) -> None:
    """The lanes' streams as the one of `course`, with what they have said so far."""
    ended = {index for index, lane in enumerate(course.lanes) if lane.ended}
    decoders = [lane.decoder for lane in course.lanes if lane.decoder is not None]
    course.decoder = decoder = choices.Decoder(decoders, sent.context, course.created, course.request_id, ended)
    course.reply = Replies(
        {at: lane.reply for at, lane in enumerate(course.lanes) if lane.reply is not None and at not in ended}
    )
    for index, lane in enumerate(course.lanes):
        course.frames += decoder.framed(index, lane.frames)
    course.first_byte = min((lane.first_byte for lane in course.lanes if lane.first_byte is not None), default=None)


async def _attempt(gateway: Gateway, course: Course, target: Target, sent: UpstreamRequest) -> None:
    translator = TRANSLATORS[target.dialect]
    begun = time.perf_counter()
    try:
        reply: OneReply
        if sent.url.startswith(demo.SCHEME):
            course.written()
            reply = demo.answer(sent.body, course.created, course.request_id)
        else:
            credentials = gateway.credentials.get(target.provider)
            headers = sent.headers
            if credentials is not None:
                headers = await _signed(credentials, sent, target)
            reply = await gateway.upstream.send(sent.url, headers, sent.body, target.timeouts, course.written)
        course.reply = reply
        if reply.status >= 300:
            refusal = translator.error(reply.status, reply.headers, await reply.read(MAX_ERROR_BYTES))
            raise masked(refusal, target, headers)
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
        if left <= 0:  # it may say nothing for so long with many words
            return
        try:
            piece = await reply.next(min(left, target.timeouts.idle_s))
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
