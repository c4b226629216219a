"""Asks and bills for tests, short to write."""

import time

from gateway.ledger.store import Ask, Bill, Counter, OnCap, Record, Store

DIGEST = "d" * 64


def cap(nanousd: int | None, scope: str = "key:k", on_cap: OnCap = "clamp", window: str = "total") -> Counter:
    return Counter(scope, window, cap_nanousd=nanousd, on_cap=on_cap)


def around_now(nanousd: int | None, window: str = "1d:today", scope: str = "key:k") -> Counter:
    return Counter(scope, window, time.time() - 3600, time.time() + 3600, nanousd)


def ask(
    request_id: str, *counters: Counter, most: int = 100, usual: int = 100, least: int = 1, whole: bool = False
) -> Ask:
    return Ask(request_id, "k", 1, None, 0, counters, least, usual, most, whole)


def bill(request_id: str, cost: int, *counters: Counter) -> Bill:
    return Bill(request_id, "k", None, counters, cost)


async def with_key(store: Store, **fields: object) -> Record:
    """A key `k` in the store."""
    record = Record.model_validate({"id": "k", "kind": "key"} | fields)
    await store.create(record, DIGEST)
    return record


async def sums(store: Store, *scopes: str) -> dict[str, tuple[int, int]]:
    """(spent, held) of each counter by its name."""
    return {f"{b.scope}|{b.window}": (b.spent_nanousd, b.held_nanousd) for b in await store.balances(scopes)}
