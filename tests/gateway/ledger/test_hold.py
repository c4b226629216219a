"""Holding and settling over both stores: the waiting line, changes under way, and callers who go away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import pytest

from gateway.ledger.hold import Ceiling, Hold, Ledger
from gateway.ledger.store import Ask, Bill, Budget, Granted, Holder, Record, Refused, Settled, Store, StoreDown
from translators.errors import LLMError

pytestmark = pytest.mark.anyio
T = TypeVar("T")
CAP = 1000
TIGHT = Ceiling(least=100, usual=600, most=600, whole=True)


async def a_key(store: Store, cap: int = CAP) -> Holder:
    key = Record(id="key_1", kind="key", budgets=(Budget(max_nanousd=cap),))
    await store.create(key, "digest")
    return Holder(key, None, None)


async def hold(ledger: Ledger, store: Store, holder: Holder, id: str, ceiling: Ceiling = TIGHT) -> Hold:
    async def reread() -> Holder:
        found = await store.holder("digest")
        assert found is not None
        if found.key.revoked:
            raise LLMError("authentication", "revoked")
        return found

    return await ledger.reserve(id, holder, lambda: ceiling, reread)


def bill(held: Hold, cost: int) -> Bill:
    return Bill(held.request_id, "key_1", None, held.counters, cost, ending="done")


async def held_now(store: Store) -> int:
    return sum(balance.held_nanousd for balance in await store.balances(["key:key_1"]))


async def nothing_held(store: Store) -> None:
    for _ in range(500):
        if not await held_now(store):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("something stays held")


async def test_what_is_held_is_given_back_when_the_bill_is_settled(store: Store) -> None:
    ledger = Ledger(store, 0, time.time)
    held = await hold(ledger, store, await a_key(store), "r1")
    assert (held.nanousd, await held_now(store)) == (600, 600)
    assert (await ledger.settle(bill(held, 250))).first
    assert not (await ledger.settle(bill(held, 250))).first
    (balance,) = await store.balances(["key:key_1"])
    assert (balance.spent_nanousd, balance.held_nanousd) == (250, 0)


async def test_a_request_blocked_by_a_hold_waits_its_turn_and_is_served(store: Store) -> None:
    ledger = Ledger(store, 30, time.time)
    holder = await a_key(store)
    first = await hold(ledger, store, holder, "r1")
    order: list[str] = []

    async def wait(id: str) -> None:
        held = await hold(ledger, store, holder, id)
        order.append(id)
        await ledger.settle(bill(held, 10))

    waiting = [asyncio.ensure_future(wait(id)) for id in ("r2", "r3", "r4")]
    await asyncio.sleep(0.15)
    assert order == []
    await ledger.settle(bill(first, 10))
    await asyncio.gather(*waiting)
    assert order == ["r2", "r3", "r4"]
    assert await held_now(store) == 0


async def test_a_settle_by_another_worker_is_noticed(store: Store) -> None:
    here, there = Ledger(store, 30, time.time), Ledger(store, 30, time.time)
    holder = await a_key(store)
    first = await hold(there, store, holder, "r1")
    waiting = asyncio.ensure_future(hold(here, store, holder, "r2"))
    await asyncio.sleep(0.1)
    await there.settle(bill(first, 10))
    assert (await waiting).nanousd == 600


async def test_who_has_waited_long_enough_is_content_with_less_or_refused(store: Store) -> None:
    ledger = Ledger(store, 0.2, time.time)
    holder = await a_key(store)
    await hold(ledger, store, holder, "r1")
    assert (await hold(ledger, store, holder, "r2")).nanousd == 400
    with pytest.raises(LLMError) as caught:
        await hold(ledger, store, holder, "r3")
    assert (caught.value.code, caught.value.retry_after_s) == ("rate_limit_exceeded", 1)


async def test_a_spent_cap_refuses_at_once(store: Store) -> None:
    ledger = Ledger(store, 30, time.time)
    holder = await a_key(store)
    await ledger.settle(bill(await hold(ledger, store, holder, "r1"), 950))
    with pytest.raises(LLMError) as caught:
        await hold(ledger, store, holder, "r2")
    assert (caught.value.code, caught.value.headers["x-should-retry"]) == ("insufficient_quota", "false")


async def test_a_cap_that_is_lowered_holds_from_the_next_request_on(store: Store) -> None:
    ledger = Ledger(store, 0, time.time)
    holder = await a_key(store)
    lowered = holder.key.model_copy(update={"budgets": (Budget(max_nanousd=50),), "version": 2})
    await store.replace(lowered)
    with pytest.raises(LLMError) as caught:
        await hold(ledger, store, holder, "r1")  # the worker still believes in the old cap
    assert caught.value.code == "insufficient_quota"


async def test_a_key_that_is_revoked_is_refused_at_once(store: Store) -> None:
    ledger = Ledger(store, 0, time.time)
    holder = await a_key(store)
    await store.replace(holder.key.model_copy(update={"revoked": True, "version": 2}))
    with pytest.raises(LLMError) as caught:
        await hold(ledger, store, holder, "r1")
    assert caught.value.status == 401


async def test_a_clock_that_is_off_is_set_right_by_the_store_s(store: Store) -> None:
    key = Record(id="key_1", kind="key", budgets=(Budget(max_nanousd=CAP, duration="1h"),))
    await store.create(key, "digest")
    ledger = Ledger(store, 0, lambda: time.time() + 86_400)
    held = await hold(ledger, store, Holder(key, None, None), "r1")
    hour = next(counter for counter in held.counters if counter.window != "total")
    assert hour.start_s <= time.time() < hour.end_s


async def test_a_caller_who_goes_while_the_store_is_at_it_leaves_nothing_held(store: Store) -> None:
    ledger = Ledger(store, 30, time.time)
    holder = await a_key(store)

    async def gone(id: str, after: Callable[[], Awaitable[None]]) -> None:
        call = asyncio.ensure_future(hold(ledger, store, holder, id))
        await after()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    await gone("r1", lambda: asyncio.sleep(0))
    await ledger.close()
    assert await held_now(store) == 0
    kept = await hold(ledger, store, holder, "r2")
    await gone("r3", lambda: asyncio.sleep(0.1))  # within the line
    await ledger.settle(bill(kept, 10))
    assert (await hold(ledger, store, holder, "r4")).nanousd == 600


class Failing:
    """A store that is out of reach for its next `failures` settles or reserves; a reserve is applied all the same."""

    def __init__(self, store: Store, failures: int) -> None:
        self._store, self.failures = store, failures

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def reserve(self, ask: Ask) -> Granted | Refused:
        answer = await self._store.reserve(ask)
        self._fail()
        return answer

    async def settle(self, bill: Bill) -> Settled:
        self._fail()
        return await self._store.settle(bill)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreDown("gone")


async def test_a_bill_that_was_not_taken_is_taken_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.hold.CATCH_UP_S", 0.01)
    failing = Failing(store, 0)
    ledger = Ledger(cast(Store, failing), 0, time.time)
    held = await hold(ledger, store, await a_key(store), "r1")
    failing.failures = 3
    ledger.settle_later(bill(held, 250))
    await nothing_held(store)
    (balance,) = await store.balances(["key:key_1"])
    assert balance.spent_nanousd == 250


async def test_a_reserve_whose_answer_was_lost_is_given_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.hold.CATCH_UP_S", 0.01)
    ledger = Ledger(cast(Store, Failing(store, 1)), 0, time.time)
    holder = await a_key(store)
    with pytest.raises(StoreDown):
        await hold(ledger, store, holder, "r1")
    await nothing_held(store)
    await ledger.close()
    assert (await hold(ledger, store, holder, "r2")).nanousd == 600


async def test_what_costs_nothing_waits_for_nobody(store: Store) -> None:
    ledger = Ledger(store, 30, time.time)
    holder = await a_key(store)
    kept = await hold(ledger, store, holder, "r1")
    waiting = asyncio.ensure_future(hold(ledger, store, holder, "r2"))
    await asyncio.sleep(0.1)
    assert (await hold(ledger, store, holder, "r3", Ceiling(0, 0, 0, whole=True))).nanousd == 0
    await ledger.settle(bill(kept, 10))
    await waiting
