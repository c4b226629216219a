"""The phases of a chaos run in which every process lives: bursts, hang-ups, a failing upstream, rates and slots."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.chaos.checks import INPUT_NANOUSD, OUTPUT_NANOUSD, Figures
from tests.chaos.clients import PROMPT_WORDS, Call, Outcome
from tests.chaos.stage import PLENTY, Form, Stage, expect_free_slots, expect_only
from tests.chaos.upstream import MESSAGE_TOKENS, Count, Fault, Order

CANCEL_MS = 100  # within which the upstream is to hear of a hang-up
REFUSALS = {"insufficient_quota", "rate_limit_exceeded"}


def burst_cap(form: Form) -> int:
    """For just so many answers of a burst."""
    return form.room * ((MESSAGE_TOKENS + PROMPT_WORDS) * INPUT_NANOUSD + form.burst_tokens * OUTPUT_NANOUSD)


# ── a thousand at once ───────────────────────────────────────────────────────────────────────────────────────────────


async def bursts(stage: Stage) -> list[Figures]:
    """Many more requests at once than a key has the money for: nearly all of that is used, and none beyond it."""
    tokens = stage.form.burst_tokens
    each = (
        _burst(stage, "max_tokens, whole", max_tokens=tokens, stream=False),
        _burst(stage, "max_tokens, streamed", max_tokens=tokens, stream=True),
        _burst(stage, "no limit, streamed", stream=True),
        _burst(stage, "no limit, whole", stream=False),
    )
    return [await one for one in each] if stage.form.exact else list(await asyncio.gather(*each))


async def _burst(stage: Stage, name: str, **how: Any) -> Figures:
    form, begun = stage.form, time.monotonic()
    key = await stage.key(burst_cap(form))
    order = Order(f"burst {name}", tokens=form.burst_tokens, pace_ms=form.burst_pace_ms)
    outcomes = await stage.ask_all([Call(key.token, order, **how)] * form.burst)
    figures = Figures(f"burst: {name}", affordable=form.room)
    await stage.books.judged(figures, [key], outcomes)
    least = form.room - 2  # 98 of 100: the last may find too little left
    figures.expect(figures.answered >= least, f"only {figures.answered} answered in full, not {least}")
    expect_only(figures, outcomes, {200, 429}, REFUSALS)
    figures.seconds = time.monotonic() - begun
    return figures


# ── clients that hang up ─────────────────────────────────────────────────────────────────────────────────────────────

SAID = 12  # tokens of each answer


async def hang_ups(stage: Stage) -> list[Figures]:
    """At every event of a stream, before the first, with half of the request sent, and while a whole answer is made."""
    figures = [await _hang_ups(stage, host) for host in ("o", "a")]
    for each in figures if stage.form.exact else ():
        most = sorted(each.cancels_ms)[-1 - len(each.cancels_ms) // 20]  # the rest is the machine's own business
        each.expect(most <= CANCEL_MS, f"one hang-up in twenty reached the upstream after more than {most} ms")
    return figures


async def _hang_ups(stage: Stage, host: str) -> Figures:
    begun, calls = time.monotonic(), list[Call]()
    for pace_ms in (5, 30):
        for at in range(1, SAID + 5, stage.form.step):
            calls.append(Call("", Order(f"event {at}", host, SAID, pace_ms), leave_at=at))
        for after_ms in range(0, 250, 25 * stage.form.step):
            slow = Order(f"after {after_ms}", host, SAID, pace_ms, wait_ms=150)
            calls.append(Call("", slow, leave_after_s=after_ms / 1000))
            calls.append(
                Call("", Order(f"whole {after_ms}", host, SAID, pace_ms), False, leave_after_s=after_ms / 1000)
            )
        calls.append(Call("", Order("unsaid", host, SAID, pace_ms), leave_unsaid=True))
    key = await stage.key(PLENTY, max_parallel_requests=len(calls))
    outcomes = await stage.ask_all([replace(call, token=key.token) for call in calls])
    figures = Figures(f"hang-ups: {'OpenAI' if host == 'o' else 'Anthropic'}")
    await stage.books.judged(figures, [key], outcomes)
    await expect_free_slots(stage, figures, key, len(calls))
    figures.seconds = time.monotonic() - begun
    return figures


# ── the upstream cut off ─────────────────────────────────────────────────────────────────────────────────────────────

FAULTS: tuple[tuple[Fault, int], ...] = (
    *(("error", 0), ("early", 0), ("late", 0)),
    *(("cut", 0), ("cut", 1), ("cut", 7), ("reset", 1), ("reset", 7), ("silent", 0), ("silent", 5)),
)


async def upstream_cut_off(stage: Stage) -> list[Figures]:
    """Before its head, in the middle, by a reset, by silence."""
    begun = time.monotonic()
    key = await stage.key(PLENTY, max_parallel_requests=len(FAULTS) * 4)
    calls = [
        Call(key.token, Order(f"cut off {stream}", host, 12, 10, fault=fault, at=at), stream)
        for fault, at in FAULTS
        for host in (("h",) if fault == "silent" else ("o", "a"))
        for stream in (True, False)
    ]
    outcomes = await stage.ask_all(calls)
    figures = Figures("upstream cut off")
    await stage.books.judged(figures, [key], outcomes)
    whole = sum(outcome.in_full for outcome in outcomes)
    figures.expect(whole == 0, f"{whole} broken answers looked whole to the client")
    await expect_free_slots(stage, figures, key, len(FAULTS) * 4)
    figures.seconds = time.monotonic() - begun
    return [figures]


# ── rates and slots ──────────────────────────────────────────────────────────────────────────────────────────────────

RPM, SLOTS = 50, 5


async def limits(stage: Stage) -> list[Figures]:
    """Exactly as many in a minute, and never more at once, as a key may have."""
    return [await _rate(stage), await _slots(stage)]


async def _rate(stage: Stage) -> Figures:
    begun, key = time.monotonic(), await stage.key(rpm_limit=RPM)
    outcomes = await stage.ask_all([Call(key.token, Order("rate", tokens=5), False)] * 200)
    figures = Figures(f"rpm_limit {RPM}, 200 at once")
    await stage.books.judged(figures, [key], outcomes)
    figures.expect(figures.answered == RPM, f"{figures.answered} answered, not {RPM}")
    expect_only(figures, outcomes, {200, 429}, REFUSALS)
    figures.seconds = time.monotonic() - begun
    return figures


async def _slots(stage: Stage) -> Figures:
    begun, key = time.monotonic(), await stage.key(PLENTY, max_parallel_requests=SLOTS)
    calls = [Call(key.token, Order("at once", tokens=10, pace_ms=20), bool(at % 2)) for at in range(60)]
    outcomes: list[Outcome] = []
    for _ in range(3):
        outcomes += await stage.ask_all(calls)
    figures = Figures(f"max_parallel_requests {SLOTS}")
    most = _most_at_once(await stage.counts(outcomes))
    figures.expect(most == SLOTS, f"{most} at once, not {SLOTS}")
    await stage.books.judged(figures, [key], outcomes)
    expect_only(figures, outcomes, {200, 429}, REFUSALS)
    await expect_free_slots(stage, figures, key, SLOTS)
    figures.seconds = time.monotonic() - begun
    return figures


def _most_at_once(counts: Iterable[Count]) -> int:
    """Ends before beginnings of the same moment."""
    changes = sorted([(count.began_s, 1) for count in counts] + [(count.ended_s, -1) for count in counts])
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most
