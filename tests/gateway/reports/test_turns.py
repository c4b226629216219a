"""Readers and the fold keep each other out, and neither for good."""

import asyncio

import pytest

from gateway.ledger.store import StoreDown
from gateway.reports import turns
from gateway.reports.turns import GATE, PLACES, Gate, Reading
from tests.gateway.desk import Desk
from translators.errors import LLMError


def test_readers_share_the_journal_and_the_fold_comes_when_the_last_is_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.01)

    async def read() -> list[bool]:
        gate, closed = Gate(desk.store, "worker"), []
        async with Reading(desk.store):
            async with Reading(desk.store):
                closed.append(await gate.close())
            closed.append(await gate.close())
        return [*closed, await gate.close()]

    assert desk.run(read()) == [False, False, True]


def test_a_dashboard_that_never_stops_stops_no_fold(desk: Desk) -> None:
    """Several at once, so that there is always a reader within."""
    reads = 0

    async def polls() -> None:
        nonlocal reads
        while True:
            async with Reading(desk.store):
                await asyncio.sleep(0.02)
            reads += 1

    async def fold() -> bool:
        gate = Gate(desk.store, "worker")
        panels = [asyncio.create_task(polls()) for _ in range(5)]
        await asyncio.sleep(0.1)
        closed = await gate.close()
        before = reads
        await asyncio.sleep(0.1)
        assert reads == before, "nobody reads behind the gate"
        await gate.open()
        await asyncio.sleep(0.3)
        assert reads > before, "and all do when it is open"
        for panel in panels:
            panel.cancel()
        return closed

    assert desk.run(fold())


def test_a_fold_grows_more_patient(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.04)
    monkeypatch.setattr(turns, "RETRY_S", 0.01)

    async def fold() -> None:
        gate, tries = Gate(desk.store, "worker"), 0
        closed = False
        while not closed:  # by a read that has begun again before the next try
            async with Reading(desk.store):
                reading = asyncio.create_task(gate.close())
                await asyncio.sleep(0.1)
            closed, tries = await reading, tries + 1
        assert tries > 1

    desk.run(asyncio.wait_for(fold(), 10))


def test_a_reader_waits_for_the_fold_and_gives_up_with_a_503(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.1)
    gate = Gate(desk.store, "worker")
    assert desk.run(gate.close())
    assert not desk.run(Gate(desk.store, "another").close())

    async def read() -> None:
        async with Reading(desk.store):
            pass

    with pytest.raises(LLMError) as refused:
        desk.run(read())
    assert refused.value.status == 503
    desk.run(gate.open())
    desk.run(read())


def test_no_more_read_at_once_than_there_are_places(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.1)
    monkeypatch.setattr(turns, "PLACES", PLACES[:1])
    monkeypatch.setattr(turns, "TRIED", 1)

    async def read() -> None:
        async with Reading(desk.store):
            with pytest.raises(LLMError, match="many read"):
                await Reading(desk.store).__aenter__()
        async with Reading(desk.store):
            pass

    desk.run(read())


class Clock:
    """Of a reader or a fold."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Locks:
    """A store of locks that are always free, and may be slow."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.taken: list[str] = []
        self.late_s = 0.0

    async def lock(self, name: str, owner: str, ttl_s: float) -> bool:
        if ttl_s:
            self.taken.append(name)
            self.clock.now_s += self.late_s
        return True


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> Locks:
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    return Locks(clock)


def test_a_long_read_keeps_its_place_and_one_that_slept_does_not_go_on(locks: Locks) -> None:
    reading, taken = Reading(locks), []  # type: ignore[arg-type]
    asyncio.run(reading.__aenter__())
    for later_s in (10, 6, 10, 14):
        locks.clock.now_s += later_s
        asyncio.run(reading.keep())
        taken.append(len(locks.taken))
    assert taken == [1, 2, 2, 3], "it is taken again when half of its time is over"
    assert set(locks.taken) < set(PLACES)
    locks.clock.now_s += turns.LEASE_S + 1
    with pytest.raises(LLMError, match="too slowly"):
        asyncio.run(reading.keep())


def test_a_place_that_is_taken_again_too_late_may_have_been_empty(locks: Locks) -> None:
    reading = Reading(locks)  # type: ignore[arg-type]
    asyncio.run(reading.__aenter__())
    locks.clock.now_s += 20
    locks.late_s = 11
    with pytest.raises(LLMError, match="too slowly"):
        asyncio.run(reading.keep())


def test_a_fold_that_slept_does_not_go_on(locks: Locks) -> None:
    gate = Gate(locks, "worker")  # type: ignore[arg-type]
    assert asyncio.run(gate.close())
    locks.clock.now_s += 20
    assert asyncio.run(gate.keep())
    assert locks.taken == [GATE] * 2
    locks.clock.now_s += turns.LEASE_S + 1
    assert not asyncio.run(gate.keep())


def test_a_place_lapses_where_the_store_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read() -> str:
        async with Reading(desk.store):
            monkeypatch.setattr(desk.store, "lock", down)
            return "all of it"

    async def down(*_: object) -> bool:
        raise StoreDown("away")

    assert desk.run(read()) == "all of it"
