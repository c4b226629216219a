"""POST /v1/chat/completions: the story of one request, top to bottom.

Raw ASGI, since nothing may stand before a stream.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import orjson
from starlette.types import Receive, Scope, Send

from gateway import ceilings, explain, telemetry
from gateway.attempts import Course, fell_silent, first_answer, masked
from gateway.billing import bill, completion_tokens
from gateway.choices import Reply
from gateway.client import STREAM_HEADERS, Client, feature_list, read_body
from gateway.estimate import unbounded
from gateway.gateway import Gateway
from gateway.hang_up import HungUp, cancelled_by_hang_up
from gateway.ledger.hold import Ceiling, Hold
from gateway.ledger.store import Bill, Holder, StoreDown
from gateway.routing import Target, allowed, targets_for
from gateway.virtual_keys import usd
from translators import chat_request, recall, sse
from translators.errors import LLMError
from translators.exchange import Json
from translators.registry import SIGNING

RUN_OUT_S = 0.05  # for the end of a stream behind its end marker
SETTLE_PAUSES_S = (0.05, 0.2, 1.0)  # between the tries to have a bill taken

log = logging.getLogger("headgate")


async def chat_completions(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; whatever goes wrong comes out as one clear error in OpenAI's shape."""
    request_id = uuid4().hex
    client = Client(send, request_id)
    try:
        await _answer(gateway, scope, receive, client, request_id)
    except HungUp:
        return  # nobody is left to tell
    except LLMError as error:
        await client.error(error)
    except StoreDown:
        await client.error(
            LLMError("unavailable", "The ledger cannot be reached: nothing can be billed, so nothing is sent")
        )
    except Exception:  # the last door: a fault of ours is logged and told in the one shape, and the process goes on
        log.exception("request %s failed by a fault of the gateway", request_id)
        await client.error(LLMError("internal", "The gateway failed; the operator's log has the reason"))


async def _answer(gateway: Gateway, scope: Scope, receive: Receive, client: Client, request_id: str) -> None:
    started = time.perf_counter()
    settings = gateway.config.settings
    holder = await gateway.keys.holder(scope["headers"], fresh=explain.asked(scope))  # else the reserve looks
    body = await read_body(scope, receive, settings.max_body_bytes)
    chat = chat_request.parse(body)
    _check_model(holder, chat["model"])
    choose = random.random()  # noqa: S311 - spreads load, guards nothing
    targets = targets_for(gateway.config, chat["model"], choose, holder.key.unsupported)
    _check_bounds(holder, chat)
    remembered, more_bytes = await _remembered(gateway, holder, chat, targets)
    quotes = ceilings.quotes(chat, len(body) + more_bytes, targets, gateway.config.prices.unpriced)
    if explain.asked(scope):
        await client.whole(200, _explanation(gateway, holder, chat, quotes, remembered), {})
        return
    course = Course(
        *(request_id, int(gateway.clock()), chat, tuple(quote.target for quote in quotes)),
        remembered=remembered,
        started=started,
    )
    hold, ending = None, "failed"

    def ceiling() -> Ceiling:
        return ceilings.highest(chat, quotes, gateway.usual.tokens(holder.key.id, chat["model"]))

    async def reread() -> Holder:
        fresh = await gateway.keys.holder(scope["headers"], fresh=True)
        _check_model(fresh, chat["model"])
        return fresh

    try:
        async with cancelled_by_hang_up(receive):
            hold = await gateway.ledger.reserve(request_id, holder, ceiling, reread)
            course.limits = ceilings.lengths(quotes, hold.nanousd, capped=hold.capped)
            async with _no_longer_than(targets[0].total_s):
                await first_answer(gateway, course)
                if chat.get("stream"):
                    await _relay(course, client, settings.keepalive_s)
        ending = "done"
    except HungUp:
        ending = "hung_up"
        raise
    except asyncio.CancelledError:
        ending = "cancelled"  # the process is told to stop
        raise
    except LLMError as error:
        course.failed(error)
        error.headers = {**_headers(course), **error.headers}
        if course.target is not None:
            masked(error, course.target)
        raise
    finally:
        course.close()
        if hold is not None:
            due = _due(course, hold, ending)
            await _settle(gateway, due)
    gateway.usual.learn(holder.key.id, due.model, completion_tokens(due.usage))
    if kept := course.remember:
        await gateway.memory.remember(_owner(holder), recall.anchor(chat["messages"]), kept)
    if course.answer is not None:  # the bill is in the store: now the client may have its answer
        headers = {**_headers(course), "x-headgate-cost-usd": usd(due.cost_nanousd)}
        await client.whole(200, course.answer.body, headers)
    else:
        await client.end(sse.DONE)


async def _remembered(
    gateway: Gateway, holder: Holder, chat: Json, targets: Sequence[Target]
) -> tuple[Mapping[str, Any], int]:
    """The signed reasoning that this conversation is known by, where a target may want it, and how many bytes it is."""
    names = recall.wanted(chat) if any(target.dialect in SIGNING for target in targets) else {}
    return await gateway.memory.recall(_owner(holder), names) if names else ({}, 0)


def _owner(holder: Holder) -> str:
    """Whose reasoning a request may bring back: its team's, or its key's where that has no team."""
    return holder.key.team_id or holder.key.id


def _explanation(
    gateway: Gateway, holder: Holder, chat: Json, quotes: Sequence[ceilings.Quote], remembered: Mapping[str, Any]
) -> bytes:
    told = explain.explained(
        *(chat, quotes, gateway.usual.tokens(holder.key.id, chat["model"]), remembered),
        gateway.credentials.keys(),
        capped=any(not budget.soft for record in holder.records for budget in record.budgets),
    )
    return orjson.dumps(told)


@asynccontextmanager
async def _no_longer_than(total_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(total_s):
            yield
    except TimeoutError:
        raise LLMError("timeout", f"The request took longer than {total_s:g} s") from None


async def _relay(course: Course, client: Client, keepalive_s: float) -> None:
    """Upstream bytes in, OpenAI's events out, up to but not with [DONE]."""
    reply, decoder, target = course.reply, course.decoder, course.target
    assert reply is not None and decoder is not None and target is not None  # noqa: S101 - first_answer has seen to it
    await client.start(200, {**STREAM_HEADERS, **_headers(course)})
    await client.more(b"".join(course.frames) or sse.KEEP_ALIVE)
    heard = time.perf_counter()
    while not course.ended:
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


def _due(course: Course, hold: Hold, ending: str) -> Bill:
    try:
        return bill(course, hold, ending)
    except Exception:  # a fault of ours must neither leave the hold for ever nor make the request free
        log.exception("request %s could not be priced: what was held is billed", course.request_id)
        key = hold.holder.key
        return Bill(
            course.request_id,
            key.id,
            key.team_id,
            hold.counters,
            hold.nanousd if course.accepted else 0,
            model=course.chat["model"],
            ending=ending,
            estimated=True,
            key_alias=key.alias,
        )


async def _settle(gateway: Gateway, due: Bill) -> None:
    """Have the store take the bill before the client has its last byte. Raises LLMError when it will not."""
    for pause_s in (*SETTLE_PAUSES_S, None):
        try:
            outcome = await gateway.ledger.settle(due)
        except StoreDown:
            if pause_s is None:
                telemetry.unsettled(due)
                gateway.ledger.settle_later(due)
                message = "The ledger does not take this answer's bill, and so the answer is withheld"
                raise LLMError("unavailable", message) from None
            await asyncio.sleep(pause_s)
        else:
            telemetry.settled(due, outcome)
            return


def _check_model(holder: Holder, model: str) -> None:
    for record in holder.records:
        if not allowed(record.models, model):
            whose = "API key" if record.kind == "key" else "team"
            raise LLMError("permission", f"This {whose} may not use the model `{model}`", param="model")


def _check_bounds(holder: Holder, chat: Json) -> None:
    """What makes a host spend without a bound, or ask another model, is not for a key that is bound itself."""
    name = unbounded(chat)
    if name and any(record.models or any(not budget.soft for budget in record.budgets) for record in holder.records):
        message = f"`{name}` is not for a key with a budget or a list of models: nothing bounds what it leads to"
        raise LLMError("invalid_request", message, param=name, code="unsupported_parameter")


def _headers(course: Course) -> dict[str, str]:
    """What Headgate says of how a request went."""
    headers = {"x-headgate-attempts": str(course.attempts)}
    if course.target is not None:
        headers["x-headgate-target"] = course.target.name
    dropped = [drop.feature for drop in course.sent.dropped] if course.sent is not None else []
    if course.target is not None and (limit := course.limits.get(course.target.name)) is not None:
        dropped.append(f"max_completion_tokens={limit}")  # lowered to what the budget affords
    if dropped:
        headers["x-headgate-dropped"] = feature_list(dropped)
    own_s = time.perf_counter() - course.started - course.upstream_s
    headers["x-headgate-overhead-ms"] = f"{own_s * 1000:.1f}"
    return headers
