"""Holding, growing and settling over both stores: the waiting line, changes under way, and callers who go away."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from gateway.alerts import Alerts
from gateway.deadlines import Deadlines
from gateway.ledger.hold import Ceiling, Hold, Ledger, Wish
from gateway.ledger.journal import bill_of, line
from gateway.ledger.parties import Parties, Party, names_of
from gateway.ledger.spool import Spool, SpoolFailed
from gateway.ledger.store import (
    Ask,
    Bill,
    Budget,
    Granted,
    Limits,
    Promise,
    Record,
    Refused,
    Settled,
    Standing,
    Store,
    StoreDown,
)
from translators.errors import LLMError

pytestmark = pytest.mark.anyio
CAP = 1000
TIGHT = Ceiling(least=100, usual=600, most=600, whole=True)
FREE = Ceiling(0, 0, 0, whole=True)


@dataclass
class Desk:
    """A ledger over a store with one key, `key_1`, and what a request needs to ask it."""

    store: Store
    spool: Spool
    key: Record

    def ledger(self, wait_s: float, store: Store | None = None, clock: Callable[[], float] = time.time) -> Ledger:
        return Ledger(
            *(store or self.store, self.spool, Alerts("", self.store), clock, Deadlines()),
            wait_s=wait_s,
            lease_s=10,
            trusts=lambda _: True,
            doubts=lambda _: None,
        )

    def parties(self, key: Record) -> Parties:
        return Parties((Party("key:key_1", key),), (Standing("key", "key_1", key.version),))

    async def change(self, **fields: object) -> None:
        """Behind the worker's back."""
        await self.store.replace(self.key.model_copy(update={"version": self.key.version + 1, **fields}))

    async def hold(self, ledger: Ledger, id: str, ceiling: Ceiling = TIGHT) -> Hold:
        return await ledger.reserve(
            Wish(id, self.parties(self.key), names_of("small"), lambda pressed: ceiling, self.reread, b"{}")
        )

    async def reread(self) -> Parties:
        found = await self.store.get("key", "key_1")
        assert found is not None
        if found.revoked:
            raise LLMError("authentication", "revoked")
        return self.parties(found)

    async def held(self) -> int:
        return sum(balance.held_nanousd for balance in await self.store.balances(["key:key_1"]))

    async def spent(self) -> int:
        return max(balance.spent_nanousd for balance in await self.store.balances(["key:key_1"]))


@pytest.fixture
async def desk(store: Store, tmp_path: Path) -> AsyncIterator[Desk]:
    key = Record(id="key_1", kind="key", budgets=(Budget(max_nanousd=CAP),))
    await store.create(key, "digest")
    spool = Spool(tmp_path / "spool", "store")
    yield Desk(store, spool, key)
    await spool.close()


def bill(held: Hold, cost: int) -> Bill:
    return Bill(held.request_id, "key_1", None, held.counters, cost, ending="done")


async def test_what_is_held_is_given_back_when_the_bill_is_settled(desk: Desk) -> None:
    ledger = desk.ledger(0)
    held = await desk.hold(ledger, "r1")
    assert (held.nanousd, await desk.held(), list(ledger.live)) == (600, 600, ["r1"])
    assert (await ledger.settle(bill(held, 250))).first
    assert not (await ledger.settle(bill(held, 250))).first
    assert (await desk.spent(), await desk.held(), list(ledger.live)) == (250, 0, [])


async def test_a_request_blocked_by_a_hold_waits_its_turn_and_is_served(desk: Desk) -> None:
    ledger = desk.ledger(30)
    first = await desk.hold(ledger, "r1")
    order: list[str] = []

    async def wait(id: str) -> None:
        held = await desk.hold(ledger, id)
        order.append(id)
        await ledger.settle(bill(held, 10))

    waiting = [asyncio.ensure_future(wait(id)) for id in ("r2", "r3", "r4")]
    await asyncio.sleep(0.15)
    assert order == []
    await ledger.settle(bill(first, 10))
    await asyncio.gather(*waiting)
    assert order == ["r2", "r3", "r4"]
    assert await desk.held() == 0


async def test_a_settle_by_another_worker_is_noticed(desk: Desk) -> None:
    here, there = desk.ledger(30), desk.ledger(30)
    first = await desk.hold(there, "r1")
    waiting = asyncio.ensure_future(desk.hold(here, "r2"))
    await asyncio.sleep(0.1)
    await there.settle(bill(first, 10))
    assert (await waiting).nanousd == 600


async def test_who_has_waited_long_enough_is_content_with_less_or_refused(desk: Desk) -> None:
    ledger = desk.ledger(0.2)
    await desk.hold(ledger, "r1")
    assert (await desk.hold(ledger, "r2")).nanousd == 400
    with pytest.raises(LLMError) as caught:
        await desk.hold(ledger, "r3")
    assert (caught.value.code, caught.value.retry_after_s) == ("rate_limit_exceeded", 1)


async def test_a_spent_cap_refuses_at_once(desk: Desk) -> None:
    ledger = desk.ledger(30)
    await ledger.settle(bill(await desk.hold(ledger, "r1"), 950))
    with pytest.raises(LLMError) as caught:
        await desk.hold(ledger, "r2")
    assert (caught.value.code, caught.value.headers["x-should-retry"]) == ("insufficient_quota", "false")


async def test_a_cap_that_is_lowered_holds_from_the_next_request_on(desk: Desk) -> None:
    await desk.change(budgets=(Budget(max_nanousd=50),))
    with pytest.raises(LLMError) as caught:
        await desk.hold(desk.ledger(0), "r1")  # the worker still believes in the old cap
    assert caught.value.code == "insufficient_quota"


async def test_a_key_that_is_revoked_is_refused_at_once(desk: Desk) -> None:
    await desk.change(revoked=True)
    with pytest.raises(LLMError) as caught:
        await desk.hold(desk.ledger(0), "r1")
    assert caught.value.status == 401


async def test_a_clock_that_is_off_is_set_right_by_the_store_s(desk: Desk) -> None:
    await desk.change(budgets=(Budget(max_nanousd=CAP, duration="1h"),))
    ledger = desk.ledger(0, clock=lambda: time.time() + 86_400)
    held = await desk.hold(ledger, "r1")
    hour = next(counter for counter in held.counters if counter.window != "total")
    assert hour.start_s <= time.time() < hour.end_s


async def test_a_limit_refuses_and_says_when_to_come_back(desk: Desk) -> None:
    await desk.change(limits=(Limits(rpm=2, tpm=1000),))
    ledger = desk.ledger(30)
    ceiling = replace(TIGHT, tokens=100, least_tokens=20)
    for id in ("r1", "r2"):
        held = await desk.hold(ledger, id, replace(ceiling, least=1, usual=1, most=1))
        await ledger.settle(bill(held, 1))
    with pytest.raises(LLMError) as caught:
        await desk.hold(ledger, "r3", ceiling)
    error = caught.value
    assert (error.status, error.code, error.headers["x-ratelimit-remaining-requests"]) == (
        *(429, "rate_limit_exceeded"),
        "0",
    )
    assert error.retry_after_s is not None and 0 < error.retry_after_s <= 61
    assert await desk.held() == 0


async def test_a_running_hold_grows_until_its_cap_is_reached(desk: Desk) -> None:
    ledger = desk.ledger(0)
    held = await desk.hold(ledger, "r1")
    assert held.afford_nanousd == CAP
    assert await ledger.grow(held, 100, 300, desk.reread) == Granted(900, CAP)
    assert await ledger.grow(held, 50, 300, desk.reread) == Granted(CAP, CAP)
    refused = await ledger.grow(held, 1, 1, desk.reread)
    assert isinstance(refused, Refused) and refused.reason == "over_budget"
    assert (held.nanousd, await desk.held()) == (CAP, CAP)


async def test_a_hold_grows_by_the_cap_of_a_team_that_its_key_has_left(desk: Desk) -> None:
    ledger = desk.ledger(0)
    team = Record(id="team_1", kind="team", budgets=(Budget(max_nanousd=700),))
    alone = desk.parties(desk.key)
    both = Parties((*alone.parties, Party("team:team_1", team)), alone.standings)
    held = await ledger.reserve(Wish("r1", both, names_of("small"), lambda pressed: TIGHT, desk.reread, b"{}"))
    await desk.change(budgets=())  # and its own cap is taken away
    assert isinstance(await ledger.grow(held, 200, 200, desk.reread), Refused)
    assert await ledger.grow(held, 100, 100, desk.reread) == Granted(700, 700)
    assert held.parties is both  # whose counters the bill is on is whose it is


async def test_a_hold_grows_by_the_cap_as_it_is_now_and_not_for_a_key_that_is_gone(desk: Desk) -> None:
    ledger = desk.ledger(0)
    held = await desk.hold(ledger, "r1")
    await desk.change(budgets=(Budget(max_nanousd=5000),))
    assert await ledger.grow(held, 3000, 3000, desk.reread) == Granted(3600, 5000)
    await desk.store.replace(desk.key.model_copy(update={"version": 3, "revoked": True}))
    doubted: list[Parties] = []
    ledger._doubts = doubted.append
    refused = await ledger.grow(held, 1, 1, desk.reread)
    assert isinstance(refused, Refused) and refused.reason == "gone"
    assert len(doubted) == 1


async def test_a_caller_who_goes_while_the_store_is_at_it_leaves_nothing_held(desk: Desk) -> None:
    ledger = desk.ledger(30)

    async def gone(id: str, after: Callable[[], Awaitable[None]]) -> None:
        call = asyncio.ensure_future(desk.hold(ledger, id))
        await after()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    await gone("r1", lambda: asyncio.sleep(0))
    await ledger.close()
    assert await desk.held() == 0
    kept = await desk.hold(ledger, "r2")
    await gone("r3", lambda: asyncio.sleep(0.1))  # within the line
    await ledger.settle(bill(kept, 10))
    assert (await desk.hold(ledger, "r4")).nanousd == 600


async def test_a_request_whose_caller_went_before_it_was_sent_stands_in_the_journal_with_whose_it_was(
    desk: Desk,
) -> None:
    ledger = desk.ledger(0)
    counters = desk.parties(desk.key).dues(names_of("small"), time.time()).counters
    whose = Bill("r1", "key_1", "team_1", counters, 0, model="small", key_alias="app", end_user="ann", tags=("eu",))
    lost = line(replace(whose, ending="lost", estimated=True))
    wish = Wish("r1", desk.parties(desk.key), names_of("small"), lambda _: TIGHT, desk.reread, lost)
    asking = asyncio.ensure_future(ledger.reserve(wish))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await ledger.close()
    (entry,) = await desk.store.journal(0, float("inf"))
    assert entry.bill == bill_of(line(replace(whose, ending="hung_up")), "r1")


class Failing:
    """A store that is out of reach for its next `failures` reserves and settles."""

    def __init__(self, store: Store, failures: int) -> None:
        self._store, self.failures = store, failures

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def reserve(self, ask: Ask) -> Promise[Granted | Refused]:
        self._fail()
        return self._store.reserve(ask)

    def settle(self, bill: Bill) -> Promise[Settled]:
        self._fail()
        return self._store.settle(bill)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreDown("gone")


async def test_a_bill_that_the_store_does_not_take_is_in_the_spool_and_is_taken_once(desk: Desk) -> None:
    failing = Failing(desk.store, 0)
    ledger = desk.ledger(0, cast(Store, failing))
    held = await desk.hold(ledger, "r1")
    failing.failures = 1000
    assert (await ledger.settle(bill(held, 250))).first
    assert (desk.spool.pending(), await desk.spent()) == (1, 0)
    failing.failures = 0
    assert await desk.spool.replay(ledger.settle_once) == 1
    assert await desk.spool.replay(ledger.settle_once) == 0
    assert (desk.spool.pending(), await desk.spent(), await desk.held()) == (0, 250, 0)


async def test_a_bill_that_neither_takes_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_: Bill) -> None:
        raise SpoolFailed("no space is left")

    failing = Failing(desk.store, 0)
    ledger = desk.ledger(0, cast(Store, failing))
    held = await desk.hold(ledger, "r1")
    failing.failures = 1000
    monkeypatch.setattr(desk.spool, "add", full)
    with pytest.raises(StoreDown, match="no space"):
        await ledger.settle(bill(held, 250))


async def test_without_the_store_only_what_nothing_bounds_is_served(desk: Desk) -> None:
    failing = Failing(desk.store, 1000)
    ledger = desk.ledger(0, cast(Store, failing))
    with pytest.raises(StoreDown):
        await desk.hold(ledger, "r1")
    desk.key = desk.key.model_copy(update={"budgets": ()})
    held = await desk.hold(ledger, "r2")
    assert held.offline and not ledger.live
    untrusting = Ledger(
        *(cast(Store, failing), desk.spool, Alerts("", desk.store), time.time, Deadlines()),
        wait_s=0,
        lease_s=10,
        trusts=lambda _: False,
        doubts=lambda _: None,
    )
    with pytest.raises(StoreDown):
        await desk.hold(untrusting, "r3")


async def test_what_costs_nothing_waits_for_nobody(desk: Desk) -> None:
    ledger = desk.ledger(30)
    kept = await desk.hold(ledger, "r1")
    waiting = asyncio.ensure_future(desk.hold(ledger, "r2"))
    await asyncio.sleep(0.1)
    assert (await desk.hold(ledger, "r3", FREE)).nanousd == 0
    await ledger.settle(bill(kept, 10))
    await waiting


class Slow(Failing):
    """One that has not answered yet: `settles` are what it was asked to take."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 0)
        self.settles: asyncio.Queue[Promise[Settled]] = asyncio.Queue()

    def settle(self, bill: Bill) -> Promise[Settled]:
        promise: Promise[Settled] = Promise()
        self.settles.put_nowait(promise)
        return promise


async def test_a_bill_goes_on_when_its_caller_is_cancelled(desk: Desk) -> None:
    slow = Slow(desk.store)
    ledger = desk.ledger(0, cast(Store, slow))
    held = await desk.hold(ledger, "r1")
    settling = asyncio.ensure_future(ledger.settle(bill(held, 250)))
    step = await slow.settles.get()
    settling.cancel()
    await asyncio.sleep(0.01)
    assert not settling.done()
    step.set_exception(StoreDown("gone"))
    with pytest.raises(asyncio.CancelledError):
        await settling
    for _ in range(2):
        (await slow.settles.get()).set_exception(StoreDown("gone"))
    await ledger.close()
    assert desk.spool.pending() == 1


async def test_a_bill_whose_caller_is_cancelled_between_two_tries_is_waited_for(desk: Desk) -> None:
    failing = Failing(desk.store, 0)
    ledger = desk.ledger(0, cast(Store, failing))
    held = await desk.hold(ledger, "r1")
    failing.failures = 1000
    settling = asyncio.ensure_future(ledger.settle(bill(held, 250)))
    await asyncio.sleep(0.01)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    await ledger.close()
    assert desk.spool.pending() == 1


@pytest.mark.parametrize("under_way", ["the settle", "a pause between two", "the spooling"])
async def test_a_bill_that_neither_takes_is_in_the_log_when_its_caller_is_cancelled_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, under_way: str
) -> None:
    def settle(bill: Bill) -> Promise[Settled]:
        promise: Promise[Settled] = Promise()
        fail = partial(promise.set_exception, StoreDown("gone"))
        promise.get_loop().call_later(0.03 if under_way == "the settle" else 0, fail)
        return promise

    async def full(_: Bill) -> None:
        await asyncio.sleep(0.03)
        raise SpoolFailed("no space is left")

    ledger = desk.ledger(0)
    held = await desk.hold(ledger, "r1")
    monkeypatch.setattr(desk.store, "settle", settle)
    monkeypatch.setattr(desk.spool, "add", full)
    settling = asyncio.ensure_future(ledger.settle(bill(held, 250), offline=under_way == "the spooling"))
    await asyncio.sleep(0.01)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    await ledger.close()
    (told,) = [record.getMessage() for record in caplog.records if record.name == "headgate"]
    assert '"request_id":"r1"' in told and '"cost_nanousd":250' in told


async def test_a_bill_on_its_way_to_the_spool_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, kept = desk.ledger(0), desk.spool.add

    async def slow(bill: Bill) -> None:
        await asyncio.sleep(0.05)
        await kept(bill)

    held = await desk.hold(ledger, "r1")
    monkeypatch.setattr(desk.spool, "add", slow)
    settling = asyncio.ensure_future(ledger.settle(bill(held, 250), offline=True))
    await asyncio.sleep(0.01)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    await ledger.close()
    assert desk.spool.pending() == 1


async def test_a_store_that_does_not_answer_in_time_leaves_the_bill_to_the_spool(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.hold.SETTLE_S", 0.1)
    slow = Slow(desk.store)
    ledger = desk.ledger(0, cast(Store, slow))
    held = await desk.hold(ledger, "r1")
    assert (await ledger.settle(bill(held, 250))).first
    assert (desk.spool.pending(), slow.settles.qsize()) == (1, 1)  # the time is for all tries together


async def test_whom_the_store_does_not_know_so_is_not_trusted_when_it_goes_away_before_they_are_read(
    desk: Desk,
) -> None:
    await desk.change(budgets=())
    ledger, doubted = desk.ledger(0), list[Parties]()
    ledger._doubts, ledger._trusts = doubted.append, lambda parties: parties not in doubted

    async def away() -> Parties:
        raise StoreDown("gone")

    free = Record(id="key_1", kind="key")
    wish = Wish("r1", desk.parties(free), names_of("small"), lambda _: TIGHT, away, b"{}")
    with pytest.raises(StoreDown):
        await ledger.reserve(wish)
    assert doubted == [wish.parties]
