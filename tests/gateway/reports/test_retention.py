"""Old entries leave the journal and what they came to stays: at no instant is a nano-dollar lost or counted twice."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.admin.forms import Nothing
from gateway.ledger.store import Entry, Fold, StoreDown
from gateway.reports import audit, retention
from gateway.reports.spending import DAY_S
from gateway.reports.turns import Gate, Reading
from gateway.settings import Retention
from tests.gateway.desk import Desk

LATER_S = 500 * DAY_S


@pytest.fixture
def spent(desk: Desk) -> int:
    """25 requests of two keys in one team, and what they cost."""
    team = desk.make("team")["id"]
    tokens = [desk.make("key", team_id=team)["key"] for _ in range(2)]
    costs = [number * number for number in range(25)]
    for number, cost in enumerate(costs):
        desk.spend(tokens[number % 2], cost, usage={"input_tokens": number}, model=f"m{number % 3}")
    return sum(costs)


def fold(desk: Desk, settings: Retention, later_s: float = LATER_S) -> int:
    async def folded() -> int:
        gate = Gate(desk.store, "worker")
        assert await gate.close()
        went = await retention.fold(desk.store, settings, gate, time.time() + later_s)
        await gate.open()
        return went

    return desk.run(folded())


def entries(desk: Desk) -> list[Entry]:
    return list(desk.run(desk.store.journal(0.0, 1e12)))


def totals(desk: Desk) -> tuple[str, int]:
    report = desk.get("/admin/usage", limit="0")
    return report["spend_usd"], report["requests"]


def test_what_is_too_old_leaves_and_every_sum_stays(desk: Desk, spent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.retention.BATCH", 4)
    before, batches = totals(desk), []
    done = desk.store.fold

    async def folding(leaving: Any, sums: Any, folds: Any) -> bool:
        batches.append(len(leaving))
        went = await done(leaving, sums, folds)
        snapshot = await desk.store.snapshot()
        left = sum(entry.bill["cost_nanousd"] for entry in await desk.store.journal(0.0, 1e12))
        keys = [sum for name, sum in snapshot.sums.items() if name.startswith("key:") and name.endswith("|total")]
        assert left + sum(one.folded_nanousd for one in keys) == spent, "at every step"
        return went

    monkeypatch.setattr(desk.store, "fold", folding)
    assert fold(desk, Retention()) == 25
    assert batches == [4, 4, 4, 4, 4, 4, 1]
    assert entries(desk) == []
    assert totals(desk) == before
    assert desk.run(audit.audit(desk.store, time.time(), "", Nothing())).clean


def test_nothing_younger_than_eight_days_leaves_however_much_there_is(desk: Desk, spent: int) -> None:
    assert fold(desk, Retention(max_age="8d", max_entries=1), 7 * DAY_S) == 0
    assert fold(desk, Retention(max_age="8d", max_entries=1), 9 * DAY_S) == 25


def test_the_oldest_leave_when_there_are_too_many(desk: Desk, spent: int) -> None:
    settings = Retention(max_entries=10)
    assert fold(desk, settings, 20 * DAY_S) == 15
    assert [entry.bill["usage"]["input_tokens"] for entry in entries(desk)] == list(range(15, 25))
    assert fold(desk, settings, 20 * DAY_S) == 0
    token = desk.make("key")["key"]
    for _ in range(3):
        desk.spend(token, 1)
    assert fold(desk, settings, 20 * DAY_S) == 3, "it is counted on from where it was"
    assert len(entries(desk)) == 10


def test_the_count_is_not_begun_anew_every_time(desk: Desk, spent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fold(desk, Retention(), 0.0)
    read, journal = [], desk.store.journal

    async def reading(start_s: float, end_s: float, after: str = "", limit: int = 1000) -> Any:
        page = await journal(start_s, end_s, after, limit)
        read.append((after, len(page)))
        return page

    monkeypatch.setattr(desk.store, "journal", reading)
    fold(desk, Retention(), 0.0)
    assert [found for after, found in read if after] == [0], "nothing is new"


def test_it_is_counted_anew_where_a_fold_died_before_it_could_say_what_went(
    desk: Desk, spent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.reports.retention.BATCH", 4)
    settings, done = Retention(max_entries=10), desk.store.fold

    async def dies(*given: Any) -> bool:
        await done(*given)
        raise StoreDown("and its answer is lost")

    monkeypatch.setattr(desk.store, "fold", dies)
    with pytest.raises(StoreDown):
        fold(desk, settings, 20 * DAY_S)
    monkeypatch.setattr(desk.store, "fold", done)
    assert len(entries(desk)) == 21
    assert fold(desk, settings, 20 * DAY_S) == 11
    assert len(entries(desk)) == 10, "no more went than were too many"


def test_what_is_not_counted_yet_is_not_too_much(desk: Desk, spent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.retention.BATCH", 4)
    monkeypatch.setattr("gateway.reports.retention.COUNTS", 5)
    assert fold(desk, Retention(max_entries=10), 20 * DAY_S) == 0, "20 of 25 are counted"
    assert fold(desk, Retention(max_entries=10), 20 * DAY_S) == 15


def test_nobody_folds_whose_gate_was_open_meanwhile(desk: Desk, spent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.turns.LEASE_S", 0.0)
    assert fold(desk, Retention()) == 0
    assert len(entries(desk)) == 25


def test_a_worker_folds_again_and_again_and_lets_readers_in(
    desk: Desk, spent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.reports.retention.EVERY_S", 0.01)
    monkeypatch.setattr("gateway.reports.retention.AGAIN_S", 0.01)
    down, done = [True], desk.store.fold

    async def folding(*given: Any) -> bool:
        if down:
            down.clear()
            raise StoreDown("for a moment")
        return await done(*given)

    monkeypatch.setattr(desk.store, "fold", folding)

    async def worked() -> None:
        async with Reading(desk.store):
            task = asyncio.create_task(
                retention.run(desk.store, Retention(), "worker", lambda: time.time() + LATER_S), name="retention"
            )
            await asyncio.sleep(0.05)
            assert await desk.store.journal(0.0, 1e12), "somebody reads"
        await _until(lambda: desk.store.journal(0.0, 1e12, "", 1), wanted=False)
        async with Reading(desk.store):
            pass
        task.cancel()

    desk.run(asyncio.wait_for(worked(), 10))


async def _until(ask: Callable[[], Awaitable[object]], *, wanted: bool) -> None:
    while bool(await ask()) is not wanted:  # noqa: ASYNC110 - another process might be the one that changes it
        await asyncio.sleep(0.01)


def test_groups_are_what_a_report_can_be_asked_for() -> None:
    at_s = 1_795_132_800.0 + 3600  # 2026-11-20T01:00Z
    group: dict[str, str | None] = {"key_id": "k", "key_alias": "a", "team_id": None, "model": "m"}
    group |= {"target": "p/m", "end_user": "u", "ending": "done"}
    bill: dict[str, Any] = group | {"tags": ["b", "a"], "cost_nanousd": 5, "usage": {"input_tokens": 2}}
    later = bill | {"adjusts": True, "cost_nanousd": -2, "usage": {"input_tokens": -1}}
    found = retention.folds([Entry("1", at_s, bill), Entry("2", at_s + 60, later)])
    assert found == [Fold({"day": "2026-11-20", **group, "tags": '["a","b"]'}, 3, 1, {"input_tokens": 1})]
    assert retention.sums([Entry("1", at_s, bill, ("x", "y")), Entry("2", at_s, later, ("x",))]) == {"x": 3, "y": 5}
