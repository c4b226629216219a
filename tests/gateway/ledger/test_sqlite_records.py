"""What the embedded store sweeps out of its odds and ends. The rest of records is in test_store."""

import asyncio

import pytest

from gateway.ledger.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


async def test_memories_and_locks_that_are_past_are_swept_out(file: SqliteStore) -> None:
    await file.remember({"a": b"1"}, -1)
    await file.remember({"b": b"1"}, 1000)
    assert await file._read(lambda db: db.execute("SELECT name FROM memories").fetchall()) == [("b",)]
    await file.lock("a", "w", 0.001)
    await asyncio.sleep(0.01)
    await file.lock("b", "w", 1000)
    assert await file._read(lambda db: db.execute("SELECT name FROM locks").fetchall()) == [("b",)]
