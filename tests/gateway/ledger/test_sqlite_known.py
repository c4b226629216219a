"""What a connection knows of the file is what stands there: whoever else writes, whatever fails, however many come."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from gateway.ledger import sqlite_file, sqlite_known, sqlite_money
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Conflict, Fold, Granted, Meter, Record, Refused, Settled, Sum
from tests.gateway.ledger.requests import DIGEST, KEY, ask, bill, cap, growth, sums, with_key

pytestmark = pytest.mark.anyio
METERS = [Meter("key:k", "rpm", 100), Meter("key:k", "tpm", 1000), Meter("key:k", "parallel", 5)]


@pytest.fixture
async def other(file: SqliteStore, path: str) -> AsyncIterator[SqliteStore]:
    """Another worker on the same file."""
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


async def used(store: SqliteStore) -> list[int]:
    return [used for used, _ in await store.levels(METERS)]


async def at_once(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """In one transaction, in this order."""

    async def made(call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    return await asyncio.gather(*map(made, calls), return_exceptions=True)


async def test_what_another_worker_holds_and_spends_is_seen(file: SqliteStore, other: SqliteStore) -> None:
    await with_key(file)
    for at, store in enumerate([file, other, file, other, other]):
        answer = await store.reserve(ask(f"r{at}", cap(1000), most=10, usual=10, meters=METERS, tokens=5))
        assert isinstance(answer, Granted)
        assert [used for used, _ in answer.levels] == [at + 1, 5 * (at + 1), at + 1]
    full = await file.reserve(ask("full", cap(1000), meters=METERS))
    assert full == Refused("rate", "key:k|parallel", retry_after_s=1.0)
    await other.settle(bill("r0", 1, cap(1000), tokens=5))
    assert await file.settle(bill("r1", 1, cap(1000), tokens=3)) == Settled(True, 0, (2,))
    assert await other.settle(bill("r1", 1, cap(1000))) == Settled(False, 0, (2,))
    after = await other.reserve(ask("after", cap(1000), most=10, meters=METERS, tokens=5))
    assert isinstance(after, Granted)
    assert (after.afford_nanousd, [used for used, _ in after.levels]) == (998, [6, 28, 4])
    assert await sums(file, "key:k") == {"key:k|total": (2, 40)}
    assert await used(file) == [6, 28, 4]


async def test_a_record_that_another_worker_changes_is_stale_at_once(file: SqliteStore, other: SqliteStore) -> None:
    record = await with_key(file)
    standings = (KEY,)
    asks = [ask(f"r{at}", cap(None)) for at in range(2)]
    for each in asks:
        each.standings = standings
    assert isinstance(await file.reserve(asks[0]), Granted)
    await other.replace(record.model_copy(update={"version": 2}))
    assert await file.reserve(asks[1]) == Refused("stale")


async def test_a_record_that_changes_between_two_requests_of_one_transaction_is_stale(file: SqliteStore) -> None:
    record = await with_key(file)
    asks = [ask(f"r{at}", cap(None)) for at in range(3)]
    for each in asks:
        each.standings = asks[0].standings
    assert isinstance(await file.reserve(asks[0]), Granted)
    answers = await at_once(
        partial(file.reserve, asks[1]),
        partial(file.replace, record.model_copy(update={"version": 2})),
        partial(file.reserve, asks[2]),
    )
    assert isinstance(answers[0], Granted)
    assert answers[2] == Refused("stale")


async def test_a_key_that_expires_is_gone_though_it_stood_a_moment_ago(
    file: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_key(file, expires=2000.0)
    asks = [ask(f"r{at}", cap(None)) for at in range(2)]
    asks[1].standings = asks[0].standings
    monkeypatch.setattr(sqlite_money, "now_ms", lambda: 1_999_999)
    assert isinstance(await file.reserve(asks[0]), Granted)
    monkeypatch.setattr(sqlite_money, "now_ms", lambda: 2_000_000)
    assert await file.reserve(asks[1]) == Refused("gone")


async def test_many_at_once_are_one_write_to_a_counter_or_meter(file: SqliteStore) -> None:
    await with_key(file)
    said: list[str] = []
    await file._write(lambda db: db.set_trace_callback(said.append))
    counters = (cap(None), cap(5000, "team:t"))
    asked = [partial(file.reserve, ask(f"r{at}", *counters, most=10, meters=METERS, tokens=5)) for at in range(5)]
    for at, answer in enumerate(await at_once(*asked)):
        assert [used for used, _ in answer.levels] == [at + 1, 5 * (at + 1), at + 1]
    spent = await at_once(*(partial(file.settle, bill(f"r{at}", 7, *counters, tokens=3)) for at in range(5)))
    assert spent == [Settled(True, 0, (7 * at, 7 * at)) for at in range(1, 6)]
    await file._write(lambda db: db.set_trace_callback(None))
    assert len([line for line in said if "INTO counters" in line]) == 2 * len(counters)
    assert len([line for line in said if "INTO meters" in line]) == 2 + 1  # tokens were given back
    assert len([line for line in said if "slots" in line and not line.startswith("SELECT")]) == 2
    assert len([line for line in said if "SAVEPOINT" in line]) == 0
    assert await sums(file, "key:k", "team:t") == {"key:k|total": (35, 0), "team:t|total": (35, 0)}
    assert await used(file) == [5, 15, 0]


async def test_what_was_done_before_another_failed_is_counted_once(file: SqliteStore) -> None:
    await with_key(file)
    for at in range(3):
        answers = await at_once(
            partial(file.reserve, ask(f"a{at}", cap(1000), most=10, meters=METERS, tokens=5)),
            partial(file.create, Record(id=f"k{at}", kind="key"), DIGEST),  # fails when its record is written
            partial(file.settle, bill(f"b{at}", 2, cap(1000))),
            partial(file.settle, bill(f"a{at}", 1, cap(1000), tokens=5)),
        )
        assert isinstance(answers[0], Granted)
        assert [used for used, _ in answers[0].levels] == [at + 1, 5 * (at + 1), 1]
        assert isinstance(answers[1], Conflict)
        assert answers[2:] == [Settled(True, 2, (3 * at + 2,)), Settled(True, 0, (3 * at + 3,))]
    assert await used(file) == [3, 15, 0]
    assert len(await file.journal(0, float("inf"))) == 2 * 3


async def test_the_same_counter_or_meter_twice_counts_twice(file: SqliteStore) -> None:
    await with_key(file)
    answer = await file.reserve(ask("r", cap(1000), cap(1000), most=10, meters=[*METERS, *METERS], tokens=5))
    assert isinstance(answer, Granted)
    assert [used for used, _ in answer.levels] == [1, 5, 1, 1, 5, 1]  # each as it was, and this request
    assert await sums(file, "key:k") == {"key:k|total": (0, 20)}
    assert await used(file) == [2, 10, 2]
    assert await file.settle(bill("r", 7, cap(1000), cap(1000), tokens=5)) == Settled(True, 0, (14, 14))
    assert await sums(file, "key:k") == {"key:k|total": (14, 0)}
    assert await used(file) == [2, 10, 0]


async def test_a_bill_on_other_counters_than_its_hold_releases_what_was_held(file: SqliteStore) -> None:
    await with_key(file)
    await file.reserve(ask("r", cap(1000), cap(1000, "team:t"), most=10))
    assert await file.settle(bill("r", 7, cap(1000), cap(None, "user:u"))) == Settled(True, 0, (7, 7))
    expected = {"key:k|total": (7, 0), "team:t|total": (0, 0), "user:u|total": (7, 0)}
    assert await sums(file, "key:k", "team:t", "user:u") == expected


async def test_a_refused_request_begins_no_counter(file: SqliteStore) -> None:
    await with_key(file)
    assert isinstance(await file.reserve(ask("r", cap(0), cap(None, "team:t"))), Refused)
    assert (await file.snapshot()).sums == {}
    await file.reserve(ask("free", cap(0), most=0, usual=0, least=0))
    assert (await file.snapshot()).sums == {"key:k|total": Sum(0, 0, 0)}


async def test_a_name_may_have_any_letters(file: SqliteStore) -> None:
    await with_key(file)
    meters = [Meter('user:100%d"|\n', "tpm", 10), Meter('user:100%d"|\n', "parallel", 1)]
    answer = await file.reserve(ask("r", cap(None, "user:100%s"), meters=meters, tokens=4))
    assert isinstance(answer, Granted)
    await file.settle(bill("r", 1, cap(None, "user:100%s"), tokens=3))
    assert [used for used, _ in await file.levels(meters)] == [3, 0]


async def test_who_takes_no_tokens_hears_how_full_it_is(file: SqliteStore) -> None:
    await with_key(file)
    meters = [Meter("key:k", "tpm", 10)]
    empty, first, second = await at_once(
        *(
            partial(file.reserve, ask(f"r{at}", cap(None), meters=meters, tokens=tokens))
            for at, tokens in enumerate((0, 4, 0))
        ),
    )
    assert empty.levels == ((0, 0.0),)
    assert (first.levels[0][0], second.levels[0][0]) == (4, 4)
    assert 59 < second.levels[0][1] <= 61


async def test_an_entry_is_folded_behind_what_its_transaction_booked(file: SqliteStore) -> None:
    await file.settle(bill("a", 1, cap(None)))
    (entry,) = await file.journal(0, float("inf"))
    fold = Fold({"day": "2026-11-20", "key_id": "k"}, 1, 1, {})
    answers = await at_once(
        partial(file.settle, bill("b", 2, cap(None))),
        partial(file.fold, [entry], {"key:k|total": 1}, [fold]),
        partial(file.settle, bill("c", 4, cap(None))),
    )
    assert answers == [Settled(True, 2, (3,)), True, Settled(True, 4, (7,))]
    assert (await file.snapshot()).sums == {"key:k|total": Sum(7, 0, 1)}


async def test_what_is_kept_in_mind_is_bounded(file: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_known, "MANY", 3)
    await with_key(file)
    for at in range(8):
        counter, meters = cap(100, f"user:{at % 4}"), [Meter(f"user:{at % 4}", "parallel", 9)]
        answer = await file.reserve(ask(f"r{at}", counter, most=10, usual=10, meters=meters))
        assert isinstance(answer, Granted) and answer.levels == ((at // 4 + 1, 0.0),)
        await file.grow(growth(f"r{at}", 10, 5, counter))
    known = await file._count(lambda db: [len(db.known._billed), len(db.known._meters)])
    assert max(known) <= 4
    assert await sums(file, "user:0") == {"user:0|total": (0, 30)}


def test_what_a_failed_transaction_did_is_forgotten(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, factory=sqlite_file.Connection)) as db:
        sqlite_file.for_writing(db)
        held = partial(sqlite_money.settle, bill=bill("a", 5, cap(None)), line="{}")

        def broken(db: sqlite_file.Connection) -> None:
            raise ZeroDivisionError  # nothing that a step may fail by

        with pytest.raises(ZeroDivisionError):
            sqlite_file.transaction(db, [held, broken])
        assert not db.in_transaction
        assert sqlite_file.transaction(db, [held]) == [Settled(True, 5, (5,))]
        assert db.execute("SELECT spent FROM counters").fetchall() == [(5,)]
