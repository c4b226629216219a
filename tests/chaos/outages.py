"""The phases of a chaos run in which something dies or is away: a worker, the whole gateway, the store."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from tests.chaos.checks import Figures, Key
from tests.chaos.clients import Call, Outcome, ask
from tests.chaos.phases import burst_cap
from tests.chaos.processes import RedisServer, lock_file
from tests.chaos.stage import CHECKPOINT_S, PLENTY, Stage, expect_free_slots, expect_only, short_call, warm
from tests.chaos.upstream import Order

UNSAVED_S = 3.5  # while the store was away before the end: no checkpoint was taken
CROWDED_S = 1.0  # between two checkpoints where hundreds of requests arrive at once
LONGEST_WAIT_S = 3.0  # for a store that does not answer
AWAY = "ledger_unavailable"

# ── kill -9 ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def killed_worker(stage: Stage) -> list[Figures]:
    """Its streams end; what they had generated is billed up to the last checkpoint, and nothing stays held."""
    found = [await _killed_with_streams(stage)]
    return [*found, await _killed_in_a_burst(stage)] if stage.form.exact else found


async def _killed_with_streams(stage: Stage) -> Figures:
    number, begun = stage.form.streams, time.monotonic()
    key = await stage.key(PLENTY, max_parallel_requests=number)
    orders = [Order(f"killed {at}", "oa"[at % 2], 300) for at in range(number)]
    calls = [Call(key.token, order, max_tokens=None if at % 3 else 300) for at, order in enumerate(orders)]
    running = asyncio.ensure_future(stage.ask_all(calls))
    await _under_way(stage, calls, number)
    await asyncio.sleep(stage.chance.uniform(0.4, 1.2) if stage.form.exact else 0.4)
    stage.gateway.kill_the_busiest_worker()
    outcomes = await running
    figures = Figures("kill -9: streams")
    figures.expect(not all(outcome.ended for outcome in outcomes), "nothing broke off")
    await stage.books.judged(figures, [key], outcomes, unsaved_s=CHECKPOINT_S)
    figures.expect(await _two_workers(stage), "the worker was not started again")
    await expect_free_slots(stage, figures, key, number)
    figures.seconds = time.monotonic() - begun
    return figures


async def _killed_in_a_burst(stage: Stage) -> Figures:
    """What the dead had held is spent by those who wait for it, and the cap holds all the same."""
    form, begun = stage.form, time.monotonic()
    key = await stage.key(burst_cap(form))
    orders = [Order(f"killed in a burst {at}", "oa"[at % 2], form.burst_tokens) for at in range(form.burst // 2)]
    calls = [Call(key.token, order, at % 5 > 0, form.burst_tokens) for at, order in enumerate(orders)]
    running = asyncio.ensure_future(stage.ask_all(calls))
    await _under_way(stage, calls, 5)
    await asyncio.sleep(stage.chance.uniform(0.05, 0.4))
    stage.gateway.kill_the_busiest_worker()
    outcomes = await running
    figures = Figures("kill -9: a burst")
    await stage.books.judged(figures, [key], outcomes, unsaved_s=CROWDED_S)
    figures.expect(await _two_workers(stage), "the worker was not started again")
    figures.seconds = time.monotonic() - begun
    return figures


async def killed_gateway(stage: Stage) -> list[Figures]:
    """All of it, with streams under way and, where its store is away, bills that are on its own disk alone; then it is
    started again.
    """
    begun, redis = time.monotonic(), stage.redis
    keys = [await stage.key(PLENTY, max_parallel_requests=40), await stage.key()]
    outcomes = await warm(stage, "all killed", keys)
    calls = [short_call(key, f"all killed {at}", 300) for at in range(10) for key in keys]
    running = asyncio.ensure_future(stage.ask_all(calls))
    await asyncio.sleep(stage.chance.uniform(0.5, 1.0))
    if redis is not None:
        redis.kill()
    meanwhile = await stage.ask_all([short_call(keys[1], f"all killed meanwhile {at}") for at in range(12)])
    stage.gateway.kill()
    outcomes += meanwhile + await running
    if redis is not None:
        await asyncio.to_thread(redis.start)
    await asyncio.to_thread(stage.gateway.start)
    figures = Figures("kill -9 of all of it")
    unserved = sum(not outcome.in_full for outcome in meanwhile)
    figures.expect(not unserved, f"{unserved} uncapped clients were not served")
    await stage.books.judged(figures, keys, outcomes, unsaved_s=CHECKPOINT_S if redis is None else UNSAVED_S)
    await expect_free_slots(stage, figures, keys[0], 40)
    figures.seconds = time.monotonic() - begun
    return [figures]


async def _under_way(stage: Stage, calls: Sequence[Call], number: int) -> None:
    """Until the upstream is at work for so many of these."""
    models = {call.order.model for call in calls}
    for _ in range(100):
        if sum(count.model in models for count in await asyncio.to_thread(stage.upstream.counts)) >= number:
            return
        await asyncio.sleep(0.05)


async def _two_workers(stage: Stage) -> bool:
    for _ in range(150):
        if len(stage.gateway.workers()) == 2:
            return True
        await asyncio.sleep(0.1)
    return False


# ── the store goes away ──────────────────────────────────────────────────────────────────────────────────────────────


async def store_away(stage: Stage) -> list[Figures]:
    """Requests with a cap are refused, those without one served and billed afterwards, once."""
    redis = stage.redis
    if redis is None:
        seconds = stage.form.locked_s
        return [await _away(stage, f"file locked {seconds:g} s", seconds, partial(_locked, stage.path, seconds))]

    async def restarted(seconds: float) -> None:
        redis.kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(redis.start)

    async def paused(seconds: float) -> None:
        redis.pause()
        await asyncio.sleep(seconds)
        redis.resume()

    down_s = stage.form.down_s
    found = [await _away(stage, f"Redis killed for {down_s:g} s", down_s, partial(restarted, down_s))]
    for seconds in stage.form.paused_s:
        found.append(await _away(stage, f"Redis paused {seconds:g} s", seconds, partial(paused, seconds)))
    return [*found, await _answers_lost(stage, redis)]


async def _locked(path: Path, seconds: float) -> None:
    holding = await asyncio.to_thread(lock_file, path, seconds)
    await asyncio.to_thread(holding.wait)


async def _away(stage: Stage, name: str, seconds: float, outage: Callable[[], Awaitable[None]]) -> Figures:
    begun, tokens = time.monotonic(), round(100 * (seconds + 1))  # of streams that outlast it
    capped, free = await stage.key(PLENTY, max_parallel_requests=40), await stage.key()
    outcomes = await warm(stage, name, (capped, free))
    running = asyncio.ensure_future(
        stage.ask_all([short_call(key, f"{name} running {at}", tokens) for at in range(8) for key in (capped, free)])
    )
    await asyncio.sleep(0.4)
    away = asyncio.ensure_future(outage())
    await asyncio.sleep(0.3)
    meanwhile = await stage.ask_all([short_call(key, f"{name} {at}") for at in range(8) for key in (capped, free)])
    await away
    outcomes += meanwhile + await running
    figures = Figures(f"{name}")
    refused = [outcome for outcome in meanwhile if outcome.call.token == capped.token]
    served = [outcome for outcome in meanwhile if outcome.call.token == free.token]
    told = {f"{outcome.status} {outcome.code}" for outcome in refused}
    figures.expect(told <= {"200 ", f"503 {AWAY}"}, f"capped clients were told {sorted(told)}")
    figures.expect(seconds < LONGEST_WAIT_S or "200 " not in told, "capped clients were served without the store")
    figures.waits_s += [outcome.took_s for outcome in meanwhile]
    unserved = {f"{outcome.status} {outcome.code}" for outcome in served if not outcome.in_full}
    figures.expect(not unserved, f"uncapped clients were told {sorted(unserved)}")
    figures.expect(await _answers_again(stage, name, capped, outcomes), "no recovery without a restart")
    await stage.books.judged(figures, [capped, free], outcomes, unsaved_s=CHECKPOINT_S)
    await expect_free_slots(stage, figures, capped, 40)
    figures.seconds = time.monotonic() - begun
    return figures


async def _answers_again(stage: Stage, name: str, key: Key, outcomes: list[Outcome]) -> bool:
    for at in range(40):
        outcome = await ask(stage.gateway.port, short_call(key, f"{name} again {at}"))
        outcomes.append(outcome)
        if outcome.in_full:
            return True
        await asyncio.sleep(0.25)
    return False


async def _answers_lost(stage: Stage, redis: RedisServer) -> Figures:
    """Redis does what it is asked, but a part of its answers never arrives."""
    begun = time.monotonic()
    keys = [await stage.key(PLENTY, max_parallel_requests=40), await stage.key()]
    outcomes = await warm(stage, "lost", keys)
    redis.lose(0.2)
    for wave in range(round(stage.form.cut_s / 0.5)):
        calls = [short_call(key, f"lost {wave} {at}", tokens) for at in range(6) for key in keys for tokens in (5, 30)]
        outcomes += await stage.ask_all(calls)
    redis.lose(0)
    figures = Figures("answers of Redis lost")
    await stage.books.judged(figures, keys, outcomes, unsaved_s=CHECKPOINT_S)
    # 429: a slot that was granted without its client hearing of it is taken until the lease is over
    expect_only(figures, outcomes, {200, 429, 503}, {AWAY, "rate_limit_exceeded"})
    await expect_free_slots(stage, figures, keys[0], 40)
    figures.seconds = time.monotonic() - begun
    return figures
