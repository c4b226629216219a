"""What only the embedded store must do: one file that outlives its workers, and what happens when the disk fails it."""

import asyncio
import sqlite3

import pytest

from gateway.ledger import sqlite, sqlite_file
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Conflict, Granted, Record, Settled, StoreDown
from tests.gateway.ledger.requests import DIGEST, ask, bill, cap, sums, with_key

pytestmark = pytest.mark.anyio


async def test_a_file_that_is_opened_again_has_everything(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    key = await with_key(store, alias="a")
    await store.reserve(ask("held", cap(1000)))
    await store.settle(bill("spent", 5, cap(1000)))
    await store.claim("admin_key", "v")
    await store.remember({"a": b"1"}, 1000)
    await store.close()

    again = SqliteStore(path)
    await again.open()
    assert await again.find("key", "a") == key
    assert await again.holder(DIGEST) is not None
    assert await sums(again, "key:k") == {"key:k|total": (5, 100)}
    assert await again.settle(bill("spent", 5, cap(1000))) == Settled(False, 0, (5,))
    assert await again.claim("admin_key", "other") == "v"
    assert await again.recall(["a"]) == {"a": b"1"}
    await again.close()


async def test_a_store_that_is_not_open_says_so(path: str) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreDown, match="not open"):
        await store.get("key", "k")
    with pytest.raises(StoreDown, match="not open"):
        await store.ping()
    await store.close()


async def test_a_lock_that_is_not_given_back_is_a_store_that_is_down(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.05)
    store = SqliteStore(path)
    await store.open()
    await with_key(store)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreDown, match="locked"):
        await store.reserve(ask("r", cap(None)))
    with pytest.raises(StoreDown, match="locked"):
        await store.ping()
    assert await store.get("key", "k") is not None  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    assert await store.reserve(ask("r", cap(None))) == Granted(100)
    await store.close()


async def test_one_failure_in_a_transaction_does_not_spoil_the_others(file: SqliteStore) -> None:
    await with_key(file)
    answers = await asyncio.gather(
        file.settle(bill("a", 1, cap(None))),
        file.create(Record(id="k2", kind="key"), DIGEST),  # fails on its token, when its record is already written
        file.settle(bill("b", 1, cap(None))),
        return_exceptions=True,
    )
    assert isinstance(answers[1], Conflict)
    assert (answers[0], answers[2]) == (Settled(True, 1, (1,)), Settled(True, 1, (2,)))
    assert await file.get("key", "k2") is None
    assert await sums(file, "key:k") == {"key:k|total": (2, 0)}


async def test_one_failure_in_reading_does_not_spoil_the_others(file: SqliteStore) -> None:
    await with_key(file)
    answers = await asyncio.gather(
        file.get("key", "k"),
        file.journal(0, 1, after=str(2**70)),  # more than SQLite can count to
        file.get("key", "\ud800"),  # no text
        file._read(lambda db: db.execute("SELECT nothing FROM nowhere").fetchone()),
        file.find("key", "unknown"),
        return_exceptions=True,
    )
    assert isinstance(answers[0], Record)
    assert [type(answer) for answer in answers[1:]] == [OverflowError, UnicodeEncodeError, StoreDown, type(None)]


async def test_a_disk_that_is_full_is_a_store_that_is_down_until_there_is_room(file: SqliteStore) -> None:
    await with_key(file)
    await file.reserve(ask("r", cap(1000)))
    pages = await file._write(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await file._write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    items = {"a": b"x" * 100_000}
    with pytest.raises(StoreDown, match="full"):
        await file.remember(items, 1000)
    assert await file.get("key", "k") is not None  # reading goes on
    assert await file.recall(["a"]) == {}
    await file._write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
    await file.remember(items, 1000)
    assert await file.settle(bill("r", 5, cap(1000))) == Settled(True, 0, (5,))


async def test_a_disk_that_was_read_only_for_a_while_is_written_to_again(file: SqliteStore) -> None:
    await with_key(file)
    await file._write(lambda db: db.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreDown, match="readonly"):
        await file.reserve(ask("r", cap(1000)))
    assert await file.reserve(ask("r", cap(1000))) == Granted(100, 1000)
    assert await file.settle(bill("r", 5, cap(1000))) == Settled(True, 0, (5,))


async def test_a_disk_that_will_not_be_written_to_again_is_down_for_as_long(
    file: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA query_only = ON")

    await with_key(file)
    monkeypatch.setattr(file._writer, "_prepare", refusing)
    await file._write(refusing)
    for _ in range(3):
        with pytest.raises(StoreDown, match="readonly"):
            await file.reserve(ask("r", cap(1000)))
    monkeypatch.undo()
    await file.ping()
    assert await sums(file, "key:k") == {}


async def test_a_file_on_a_network_file_system_is_warned_about(
    file: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await file.warnings() == ()
    monkeypatch.setattr(sqlite, "far_away", lambda path: "nfs4")
    (warning,) = await file.warnings()
    assert "nfs4" in warning
    assert "REDIS_URL" in warning
