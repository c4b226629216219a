"""The embedded store's journal: ids that are never given twice. The rest is in test_store_journal."""

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
