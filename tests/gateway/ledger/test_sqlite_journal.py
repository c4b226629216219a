"""The embedded store's journal: ids are never given twice, little is read. The rest is in test_store_journal."""

import asyncio

import pytest

from gateway.ledger.sqlite import SqliteStore
from tests.gateway.ledger.requests import bill, cap

pytestmark = pytest.mark.anyio


async def test_an_id_is_not_given_again_when_its_entry_has_left(path: str) -> None:
    seen: list[str] = []
    for at in range(3):
        store = SqliteStore(path)
        await store.open()
        await store.settle(bill(f"r{at}", 1, cap(None)))
        entries = await store.journal(0, float("inf"))
        seen += [entry.id for entry in entries]
        assert await store.fold(entries, {"key:k|total": 1}, [])
        assert (await store.snapshot()).last_id == ""
        await store.close()
    assert seen == ["1", "2", "3"]


async def test_the_last_page_of_a_past_span_does_not_read_all_that_came_after(file: SqliteStore) -> None:
    await asyncio.gather(*(file.settle(bill(f"r{at}", 1, cap(None))) for at in range(3000)))
    await file._write(lambda db: db.execute("UPDATE journal SET at_ms = id").rowcount)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    await file._read(lambda db: db.set_progress_handler(count, 100))
    entries = await file.journal(0.003, 0.006)
    await file._read(lambda db: db.set_progress_handler(None, 0))
    assert [entry.id for entry in entries] == ["3", "4", "5"]
    assert steps < 10  # hundreds of the machine's; each entry takes some
