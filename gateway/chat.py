"""POST /v1/chat/completions: the story of one request, top to bottom.

Raw ASGI, since nothing may stand before a stream.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from gateway import ceilings, explain, telemetry
from gateway.attempts import Course, first_answer, masked
from gateway.billing import bill, completion_tokens, observed
from gateway.client import CODING, Client, check_coding, feature_list, read_body, too_large
from gateway.funds import Funds
from gateway.gateway import Gateway
from gateway.hang_up import HungUp, interruptible
from gateway.ledger.hold import Hold
from gateway.ledger.parties import Parties, allowed
from gateway.ledger.refusals import rate_headers
from gateway.ledger.store import Bill, Holder, StoreDown
from gateway.payers import TAGS, end_user_of, tags_of
from gateway.prices.estimate import text_alone, unbounded
from gateway.relay import relay
from gateway.routing import Target, targets_for
from gateway.settings import DEMO
from gateway.virtual_keys import usd
from translators import chat_request, recall, sse
from translators.completion import cut_short
from translators.errors import LLMError, forgotten
from translators.exchange import Json
from translators.registry import SIGNING

LOST = "The ledger could not be reached for too long: the hold of this request ran out under it"

LAST_WORD_S = 1.0  # for a client to take the last word of a process that ends

log = logging.getLogger("headgate")


async def chat_completions(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; whatever goes wrong comes out as one clear error in OpenAI's shape."""
    request_id = next(gateway.ids)
    client = Client(send, request_id)
    task = asyncio.current_task(gateway.loop) if client.exchange is None else client.exchange.task
    assert task is not None  # noqa: S101 - for the type checker: a coroutine always runs in a task
    gateway.running.add(task)
    try:
        await _answer(gateway, scope, receive, client, request_id)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the last door: nothing ends the process
        await _tell(client, error)
        forgotten(error)
    finally:
        gateway.running.discard(task)


async def _tell(client: Client, error: BaseException) -> None:
    """What went wrong, to whoever is left to hear it."""
    if isinstance(error, StoreDown):
        error = LLMError("unavailable", "The ledger cannot be reached: nothing can be billed, so nothing is sent")
    match error:
        case HungUp():
            return
        case LLMError():
            if not client.billed:
                telemetry.refused(client.request_id, client.key_id, error)
            await client.error(error)
        case asyncio.CancelledError():  # its grace is over, and its bill written; nobody awaits this task
            await _stopped(client)
        case _:  # a fault of ours is logged and told in the one shape, and the process goes on
            log.error("request %s failed by a fault of the gateway", client.request_id, exc_info=error)
            await client.error(LLMError("internal", "The gateway failed; the operator's log has the reason"))


async def _stopped(client: Client) -> None:
    """Say that the process ends, to who still listens."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORD_S):
            message = "The gateway is stopping, and this request took longer than its grace"
            await client.error(LLMError("unavailable", message, code="gateway_stopping"))


async def _answer(gateway: Gateway, scope: Scope, receive: Receive, client: Client, request_id: str) -> None:
    started = time.perf_counter()
    settings = gateway.config.settings
    exchange, dry = client.exchange, explain.asked(scope)
    headers, memo = (dict(scope["headers"]), {}) if exchange is None else (exchange.fields, exchange.memo)
    holder = gateway.keys.at_hand(memo) if memo and not dry else None
    if holder is None:
        holder = await gateway.keys.holder(headers, fresh=dry, memo=memo)  # the reserve looks if it is not fresh
    client.key_id = holder.key_id
    body = None if exchange is None else exchange.whole_body()
    if body is None:
        body = await read_body(headers, receive, settings.max_body_bytes)
    elif len(body) > settings.max_body_bytes:
        raise too_large(settings.max_body_bytes)
    if CODING in headers:
        check_coding(headers)
    chat = chat_request.parse(body)
    try:
        _check_model(holder, chat["model"])
    except LLMError:  # it may have been allowed since
        holder = await gateway.keys.holder(headers, doubted=True)
        _check_model(holder, chat["model"])
    end_user, tags = end_user_of(chat), holder.tags
    if TAGS in headers:
        tags = tags_of(scope["headers"], holder.key)  # of which there may be several
    parties = gateway.payers.of(holder, end_user, tags)
    choose = 0.0 if dry else random.random()  # noqa: S311 - spreads load, guards nothing
    targets = targets_for(gateway.config, chat["model"], choose, holder.unsupported)
    _check_bounds(holder, parties, chat)
    remembered, more_bytes = await _remembered(gateway, holder, chat, targets)
    plain = text_alone(chat)
    now_s = gateway.clock()
    quotes = ceilings.quotes(chat, len(body) + more_bytes, targets, gateway.config.prices.unpriced, plain, now_s)
    if dry:
        await client.whole(200, _explanation(gateway, holder, parties, chat, targets, quotes, remembered), {})
        return
    course = Course(
        request_id,
        now_s,
        chat,
        tuple([quote.target for quote in quotes]),
        remembered=remembered,
        started=started,
        end_user=end_user,
        tags=tags,
        text_alone=plain,
    )

    async def reread() -> Parties:
        fresh = await gateway.keys.holder(headers, fresh=True)
        _check_model(fresh, chat["model"])
        tags = tags_of(scope["headers"], fresh.key)
        if not course.attempts:  # else the bill is on those that it was held for
            course.tags = tags
        parties = await gateway.payers.reread(fresh, end_user, tags)
        _check_bounds(fresh, parties, chat)
        return parties

    funds, ending = Funds(gateway, course, quotes, reread), "failed"
    try:
        with interruptible(receive, partial(_linger_s, gateway, course), exchange, gateway.loop) as interruption:
            hold = await funds.take(parties)
            hold.progress = lambda: bill(course, hold, "lost") if course.at_work or course.owes or course.past else None
            hold.lost = lambda: interruption.now(LLMError("unavailable", LOST))
            total_s = targets[0].total_s
            late = gateway.deadlines.after(total_s, lambda: interruption.now(_too_long(total_s)))
            interruption.at_the_end(late)
            await first_answer(gateway, course, funds.carry_on)
            if course.answer is None:
                growing = funds.growing()
                why = await relay(course, client, _headers(course, hold), settings.keepalive_s, growing)
                course.ended_by = why or ""
        ending = "cut" if course.ended_by else "done"
    except HungUp:
        ending = "hung_up"
        raise
    except asyncio.CancelledError:
        ending = "cancelled"  # the process is told to stop
        raise
    except LLMError as error:
        ending = "lost" if error.kind == "unavailable" else "failed"  # no provider's error is of that kind
        course.failed(error)
        error.headers = {**_headers(course, funds.hold), **error.headers}
        if course.target is not None:
            masked(error, course.target)
        raise
    except Exception:  # a fault of ours, which goes on: `_tell` logs it
        course.faulted()
        raise
    finally:
        try:
            course.close()
        finally:  # whatever becomes of that
            if funds.hold is not None:
                client.billed = True
                due = _due(course, funds.hold, ending)
                funds.hold.progress = funds.hold.lost = None  # no cycle: what a request was made of goes when it ends
                await _settle(gateway, course, due, offline=funds.hold.offline)
    _learn(gateway, course, due)
    if kept := course.remember:
        await gateway.memory.remember(_owner(holder), recall.anchor(chat["messages"]), kept)
    if course.answer is not None:  # the bill is in the store: now the client may have its answer
        said = _headers(course, hold)
        said["x-headgate-cost-usd"] = usd(due.cost_nanousd)
        await client.whole(200, course.answer.body, said)
    elif ending == "cut":
        await client.end(b"".join([*_cut(course, due), sse.DONE]))
    else:
        await client.end(sse.DONE)


def _linger_s(gateway: Gateway, course: Course) -> float:
    """How long an abandoned answer is read on to its usage: where its provider bills the whole of it anyway."""
    target = course.target
    if target is None or not course.at_work or target.provider == DEMO:
        return 0.0
    provider = gateway.config.settings.providers[target.provider]
    course.abandoned = provider.on_disconnect == "drain"
    return gateway.config.settings.drain_s if course.abandoned else 0.0


def _learn(gateway: Gateway, course: Course, due: Bill) -> None:
    if not due.estimated:
        seen = course.decoder.output_bytes if course.decoder is not None else 0
        gateway.usual.learn(due.key_id, due.model, completion_tokens(due.usage), seen)


def _cut(course: Course, due: Bill) -> list[bytes]:
    """The frames that end a stream which had to be ended here."""
    wants_usage = course.sent is not None and course.sent.context.include_usage
    usage = observed(course, due.ending)[0] if wants_usage else None
    return cut_short(course.last_frame, usage, {"ended_by": course.ended_by, "cost_usd": usd(due.cost_nanousd)})


async def _remembered(
    gateway: Gateway, holder: Holder, chat: Json, targets: Sequence[Target]
) -> tuple[Mapping[str, Any], int]:
    """The signed reasoning that this conversation is known by, where a target may want it, and how many bytes it is."""
    names: Mapping[str, str] = {}
    for target in targets:
        if target.dialect in SIGNING:
            names = recall.wanted(chat)
            break
    try:
        return await gateway.memory.recall(_owner(holder), names) if names else ({}, 0)
    except StoreDown:  # whether it may go on without the store is the reserve's to say
        return {}, 0


def _owner(holder: Holder) -> str:
    """Whose reasoning a request may bring back: its team's, or its key's where that has no team."""
    return holder.key.team_id or holder.key_id


def _explanation(
    gateway: Gateway,
    holder: Holder,
    parties: Parties,
    chat: Json,
    targets: Sequence[Target],
    quotes: Sequence[ceilings.Quote],
    remembered: Mapping[str, Any],
) -> bytes:
    told = explain.explained(
        *(chat, targets, quotes, gateway.usual.tokens(holder.key_id, chat["model"]), remembered),
        gateway.credentials.keys(),
        capped=parties.bounded,
    )
    return orjson.dumps(told)


def _too_long(total_s: float) -> LLMError:
    return LLMError("timeout", f"The request took longer than {total_s:g} s")


def _due(course: Course, hold: Hold, ending: str) -> Bill:
    try:
        return bill(course, hold, ending)
    except Exception:  # a fault of ours must neither leave the hold for ever nor make the request free
        log.exception("request %s could not be priced: what was held is billed", course.request_id)
        return Bill(
            course.request_id,
            hold.parties.key_id,
            hold.parties.team_id,
            hold.counters,
            hold.nanousd if course.accepted else 0,
            model=course.chat["model"],
            ending=ending,
            estimated=True,
            key_alias=hold.parties.key_alias,
        )


async def _settle(gateway: Gateway, course: Course, due: Bill, *, offline: bool) -> None:
    """Have the bill taken before the client has its last byte. Raises LLMError when neither store nor spool does."""
    try:
        outcome = await gateway.ledger.settle(due, offline=offline)
    except StoreDown:
        telemetry.unsettled(due)
        message = "The ledger does not take this answer's bill, and so the answer is withheld"
        raise LLMError("unavailable", message) from None
    telemetry.settled(due, outcome, course.failure, course.failed_target)


def _check_model(holder: Holder, model: str) -> None:
    if holder.any_model:
        return
    for record in holder.records:
        if not allowed(record.models, model):
            whose = "API key" if record.kind == "key" else "team"
            raise LLMError("permission", f"This {whose} may not use the model `{model}`", param="model")


def _check_bounds(holder: Holder, parties: Parties, chat: Json) -> None:
    """What makes a host spend without a bound, or ask another model, is not for a key that is bound itself."""
    name = unbounded(chat)
    if name and (parties.bounded or not holder.any_model):
        message = f"`{name}` is not for a key with a budget or a list of models: nothing bounds what it leads to"
        raise LLMError("invalid_request", message, param=name, code="unsupported_parameter")


def _headers(course: Course, hold: Hold | None) -> dict[str, str]:
    """What Headgate says of how a request went."""
    headers = rate_headers(hold.told, hold.levels) if hold is not None and hold.levels else {}
    headers["x-headgate-attempts"] = str(course.attempts)
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
