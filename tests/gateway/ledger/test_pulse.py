"""Leases, checkpoints and the reaper over both stores, a beat at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest

from gateway.ledger.hold import Ceiling, Hold, Ledger
from gateway.ledger.pulse import Pulse
from gateway.ledger.store import MAX_NANOUSD, Beat, Bill, Promise, Settled, Store, StoreDown
from tests.gateway.ledger.test_hold import FREE, Desk, bill, desk

__all__ = ["desk"]
pytestmark = pytest.mark.anyio
LEASE_S = 0.8


def beating(desk: Desk, store: Store | None = None, checkpoint_s: float = 0.0) -> tuple[Ledger, Pulse]:
    """With 0.0 each hold is due at each beat."""
    ledger = desk.ledger(0, store)
    ledger.lease_s = LEASE_S
    return ledger, Pulse(store or desk.store, ledger, desk.spool, checkpoint_s)


def progress(held: Hold, cost: int) -> None:
    held.progress = lambda: Bill(held.request_id, "key_1", None, held.counters, cost, ending="lost", estimated=True)


async def until_reaped(desk: Desk) -> None:
    """A worker that is not there any more cannot renew: somebody else's reaper waits for the lease to end."""
    for _ in range(200):
        if await desk.store.reap():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nobody reaped")


async def test_a_hold_of_a_dead_worker_is_settled_at_its_last_checkpoint(desk: Desk) -> None:
    ledger, pulse = beating(desk)
    held = await desk.hold(ledger, "r1")
    progress(held, 70)
    await pulse.beat()
    assert (held.saved_nanousd, await desk.held(), await desk.spent()) == (70, 600, 0)
    await until_reaped(desk)
    assert (await desk.held(), await desk.spent()) == (0, 70)
    (entry,) = await desk.store.journal(0, float("inf"))
    assert (entry.bill["ending"], entry.bill["estimated"], entry.bill["cost_nanousd"]) == ("lost", True, 70)


async def test_a_hold_is_looked_at_when_it_is_due(desk: Desk) -> None:
    ledger, pulse = beating(desk, checkpoint_s=3600.0)
    old, young = await desk.hold(ledger, "r1"), await desk.hold(ledger, "r2")
    progress(old, 70)
    progress(young, 70)
    old.renewed_s -= 3600
    await pulse.beat()
    progress(old, 90)
    await pulse.beat()
    assert (old.saved_nanousd, young.saved_nanousd) == (70, 0)


async def test_a_worker_that_was_only_asleep_books_the_difference_once(desk: Desk) -> None:
    ledger, pulse = beating(desk)
    held = await desk.hold(ledger, "r1")
    progress(held, 70)
    await pulse.beat()
    await until_reaped(desk)
    assert (await ledger.settle(bill(held, 100))).first
    assert not (await ledger.settle(bill(held, 100))).first
    assert (await desk.held(), await desk.spent()) == (0, 100)
    entries = await desk.store.journal(0, float("inf"))
    assert [(e.bill["cost_nanousd"], e.bill["adjusts"]) for e in entries] == [(70, False), (30, True)]


async def test_a_checkpoint_that_cannot_be_written_keeps_no_other_hold_from_being_renewed(desk: Desk) -> None:
    ledger, pulse = beating(desk)
    odd, other = await desk.hold(ledger, "r1", FREE), await desk.hold(ledger, "r2")
    progress(odd, MAX_NANOUSD + 1)
    progress(other, 70)
    await pulse.beat()
    assert other.saved_nanousd == 70


async def test_a_living_worker_keeps_its_holds(desk: Desk) -> None:
    ledger, pulse = beating(desk)
    held = await desk.hold(ledger, "r1")
    for _ in range(12):  # longer than a lease
        await asyncio.sleep(0.1)
        await pulse.beat()
        assert await desk.store.reap() == 0
    assert await desk.held() == held.nanousd


class Slices:
    """A store that is asked to renew two holds at a time: `answer` says what becomes of them when all are under way."""

    def __init__(
        self, store: Store, slices: int, answer: Callable[[Sequence[Beat], float], Awaitable[Sequence[str]]]
    ) -> None:
        self._store, self._slices, self._answer = store, slices, answer
        self.goes: list[int] = []
        self.under_way = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def renew(self, beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        self.goes.append(len(beats))
        if len(self.goes) == self._slices:
            self.under_way.set()
        await self.under_way.wait()
        return await self._answer(beats, lease_s)


async def in_slices(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Sequence[Beat], float], Awaitable[Sequence[str]]]
) -> tuple[Slices, Pulse, list[Hold]]:
    """Five holds with something to save, and so three slices."""
    monkeypatch.setattr("gateway.ledger.pulse.BEATS_AT_ONCE", 2)
    store = Slices(desk.store, 3, answer)
    ledger, pulse = beating(desk, cast(Store, store))
    holds = [await desk.hold(ledger, f"r{at}", Ceiling(10, 10, 10, whole=True)) for at in range(5)]
    for held in holds:
        progress(held, 7)
    return store, pulse, holds


async def test_many_holds_are_seen_to_in_several_goes_none_of_which_waits_for_another_s_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pulse, holds = await in_slices(desk, monkeypatch, desk.store.renew)
    await pulse.beat()
    assert store.goes == [2, 2, 1]
    assert [held.saved_nanousd for held in holds] == [7] * 5
    assert {live.cost_nanousd for live in await desk.store.holds()} == {7}


async def test_answers_that_come_at_once_are_seen_to_in_several_goes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        return ()

    _, pulse, holds = await in_slices(desk, monkeypatch, at_once)
    beating = asyncio.ensure_future(pulse.beat())
    seen = []
    while not beating.done():
        await asyncio.sleep(0)
        seen.append(sum(held.saved_nanousd == 7 for held in holds))
    assert sorted(set(seen)) in ([0, 2, 4, 5], [0, 1, 3, 5], [0, 2, 3, 5])


@pytest.mark.parametrize("silent", [False, True])
async def test_a_store_that_fails_one_slice_or_leaves_it_unanswered_renews_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    async def all_but_r0(beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        if beats[0].request_id == "r0":
            if silent:
                await asyncio.Event().wait()
            raise StoreDown("away")
        return await desk.store.renew(beats, lease_s)

    _, pulse, holds = await in_slices(desk, monkeypatch, all_but_r0)
    before = [held.renewed_s for held in holds]
    running = asyncio.all_tasks()
    await pulse.beat()
    assert asyncio.all_tasks() == running
    assert [held.saved_nanousd for held in holds] == [0, 0, 7, 7, 7]
    assert [held.renewed_s > then for held, then in zip(holds, before, strict=True)] == [False, False, True, True, True]


async def test_a_beat_that_is_broken_off_leaves_nothing_running(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    store, pulse, _ = await in_slices(desk, monkeypatch, never)
    running = asyncio.all_tasks()
    pulse.start()
    await store.under_way.wait()
    await pulse.stop()
    assert asyncio.all_tasks() == running


async def test_a_hold_that_others_have_settled_stops_its_request(desk: Desk) -> None:
    ledger, pulse = beating(desk)
    held = await desk.hold(ledger, "r1")
    stopped: list[str] = []
    held.lost = lambda: stopped.append("r1")
    await until_reaped(desk)
    await pulse.beat()
    await pulse.beat()
    assert stopped == ["r1"]


class Away:
    """A store that does not answer any renewal or reaping."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def renew(self, beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        raise StoreDown("away")

    async def reap(self, limit: int = 100, steady_s: float = 0.0) -> int:
        raise StoreDown("away")

    def settle(self, bill: Bill) -> Promise[Settled]:
        raise StoreDown("away")


async def test_that_the_store_goes_and_comes_back_is_logged_once_each(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(desk.store)
    _, pulse = beating(desk, cast(Store, away))
    for _ in range(2):
        await pulse.reap()
    away.reap = desk.store.reap  # type: ignore[method-assign]
    for _ in range(2):
        await pulse.reap()
    assert [record.getMessage() for record in caplog.records] == [
        "the ledger's store is away: away",
        "the ledger's store is back",
    ]


async def test_a_capped_request_whose_lease_cannot_be_renewed_is_stopped_before_it_ends(desk: Desk) -> None:
    ledger, pulse = beating(desk, cast(Store, Away(desk.store)))
    held, uncapped = await desk.hold(ledger, "r1"), await desk.hold(ledger, "r2", FREE)
    uncapped.counters = ()
    stopped: list[str] = []
    held.lost, uncapped.lost = (lambda: stopped.append("r1")), (lambda: stopped.append("r2"))
    began = held.renewed_s
    while not stopped:
        await asyncio.sleep(0.02)
        await pulse.beat()
    assert asyncio.get_running_loop().time() - began < LEASE_S  # the invariant itself: others may hold it after that
    assert stopped == ["r1"]


async def test_after_an_outage_everyone_first_renews_before_anyone_reaps(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.pulse.REAP_S", 0.05)
    ledger, pulse = beating(desk, checkpoint_s=0.05)
    pulse.start()
    await desk.hold(ledger, "lost")
    ledger.live.clear()  # as if its worker had died
    await asyncio.sleep(0.2)
    assert await desk.held() == 600  # its lease is not over, nor has this worker seen the store for long
    for _ in range(200):
        if not await desk.held():
            break
        await asyncio.sleep(0.05)
    await pulse.stop()
    assert await desk.held() == 0


async def test_bills_in_the_spool_are_taken_when_the_store_is_back(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, _ = beating(desk, cast(Store, Away(desk.store)))
    held = await desk.hold(ledger, "r1")
    await ledger.settle(bill(held, 250))
    assert desk.spool.pending() == 1
    _, healthy = beating(desk)
    with caplog.at_level(logging.WARNING, "headgate"):
        await healthy.unspool()
    assert (desk.spool.pending(), await desk.spent(), await desk.held()) == (0, 250, 0)
    assert "1 bills of the spool" in caplog.text
