"""What both stores do after a pause: they reap nobody who has not had the time to renew."""

import asyncio

import pytest

from gateway.ledger.redis import RedisStore
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Beat, Store
from tests.gateway.ledger.requests import ask, cap, with_key

pytestmark = pytest.mark.anyio


async def test_after_a_pause_everyone_may_first_renew_what_is_theirs(store: Store) -> None:
    """A reap that lay in the socket of a store that stood still runs before any renewal does."""
    await with_key(store)
    assert await store.reap(steady_s=0.2) == 0  # nothing is held: nobody asks for how long
    await store.reserve(ask("living", cap(1000), lease_s=0.0))
    await store.reserve(ask("dead", cap(1000), lease_s=0.0))
    assert await store.reap(steady_s=0.2) == 0  # the first one there is
    await asyncio.sleep(0.25)
    await stand_still(store, 12.0)
    assert await store.reap(steady_s=0.2) == 0
    assert await store.reap(steady_s=0.2) == 0  # and so for each of many workers
    await store.renew([Beat("living")], 1000.0)
    await asyncio.sleep(0.25)
    assert await store.reap(steady_s=0.2) == 1
    assert [hold.request_id for hold in await store.holds()] == ["living"]


async def test_a_clock_that_is_put_back_is_a_pause_and_stops_nothing_for_good(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("r", cap(1000), lease_s=0.0))
    assert await store.reap(steady_s=0.2) == 0
    await stand_still(store, -3600.0)  # it was last seen in an hour
    assert await store.reap(steady_s=0.2) == 0
    await asyncio.sleep(0.25)
    assert await store.reap(steady_s=0.2) == 1


async def stand_still(store: Store, pause_s: float) -> None:
    """As if no reap had come for so long."""
    if isinstance(store, SqliteStore):
        await store._write(lambda db: db.execute("UPDATE reaper SET seen_s = seen_s - ?", (pause_s,)).rowcount)
    else:
        assert isinstance(store, RedisStore)
        key = store._key("reaper")
        await store._do("HINCRBYFLOAT", key, "seen", repr(-pause_s))
