"""What only the embedded store must do: its file, its locks, its transactions."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ledger import sqlite
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Conflict, Counter, Granted, Record, Settled, StoreDown
from tests.gateway.ledger.requests import DIGEST, ask, bill, cap, sums, with_key

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "headgate.db")


@pytest.fixture
async def file(path: str) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


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
    assert await again.settle(bill("spent", 5, cap(1000))) == Settled(first=False, overrun_nanousd=0)
    assert await again.claim("admin_key", "other") == "v"
    assert await again.recall(["a"]) == {"a": b"1"}
    await again.close()


async def test_many_may_open_a_new_file_at_once(path: str) -> None:
    stores = [SqliteStore(path) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await with_key(stores[0])
    assert await stores[7].get("key", "k") is not None
    await asyncio.gather(*(store.close() for store in stores))


async def test_nobody_else_may_read_the_file(file: SqliteStore, path: str) -> None:
    await with_key(file)
    for name in Path(path).parent.glob("headgate.db*"):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name


async def test_what_is_acknowledged_is_through_fsync(file: SqliteStore) -> None:
    settings = await file._write(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    assert settings == ["wal", 2]  # 2 is FULL (sqlite.org/pragma.html#pragma_synchronous)


async def test_a_file_of_a_newer_headgate_is_left_alone(path: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {sqlite.SCHEMA + 1}")
    db.close()
    store = SqliteStore(path)
    with pytest.raises(StoreDown, match="newer Headgate"):
        await store.open()
    await store.close()


async def test_what_is_no_database_is_said_with_its_path(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at " * 20)
    for path in (text, tmp_path / "no folder" / "headgate.db", tmp_path):
        store = SqliteStore(str(path))
        with pytest.raises(StoreDown, match=str(path)):
            await store.open()
        await store.close()


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
    monkeypatch.setattr(sqlite, "BUSY_S", 0.05)
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
    assert (answers[0], answers[2]) == (Settled(first=True, overrun_nanousd=1),) * 2
    assert await file.get("key", "k2") is None
    assert await sums(file, "key:k") == {"key:k|total": (2, 0)}


async def test_counters_and_memories_that_are_long_past_are_swept_out(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.settle(bill("r", 1, Counter("key:k", "1d:long ago", 1e9, 1e9 + 86_400), cap(None)))
    await store.remember({"a": b"1"}, -1)
    await store.remember({"b": b"1"}, 1000)
    await store.close()
    again = SqliteStore(path)
    await again.open()
    assert await again._read(lambda db: db.execute("SELECT window FROM counters").fetchall()) == [("total",)]
    assert await again._read(lambda db: db.execute("SELECT name FROM memories").fetchall()) == [("b",)]
    await again.close()
