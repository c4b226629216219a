"""Asks and bills for tests, short to write."""

import time
from collections.abc import Sequence

from gateway.ledger import journal
from gateway.ledger.redis_scripts import Call
from gateway.ledger.store import Ask, Bill, Counter, Growth, Meter, OnCap, Record, Standing, Store

DIGEST = "d" * 64
KEY = Standing("key", "k", 1)


def cap(nanousd: int | None, scope: str = "key:k", on_cap: OnCap = "clamp", window: str = "total") -> Counter:
    return Counter(scope, window, cap_nanousd=nanousd, on_cap=on_cap)


def around_now(nanousd: int | None, window: str = "1d:today", scope: str = "key:k") -> Counter:
    return Counter(scope, window, time.time() - 3600, time.time() + 3600, nanousd)


def ask(
    request_id: str,
    *counters: Counter,
    most: int = 100,
    usual: int = 100,
    least: int = 1,
    whole: bool = False,
    meters: Sequence[Meter] = (),
    tokens: int = 0,
    lease_s: float = 1000.0,
) -> Ask:
    """Of the key `k`, with a line for the journal should it be lost."""
    lost = Bill(request_id, "k", None, counters, 0, ending="lost")
    return Ask(
        request_id=request_id,
        standings=(KEY,),
        counters=counters,
        least_nanousd=least,
        usual_nanousd=usual,
        most_nanousd=most,
        whole=whole,
        meters=tuple(meters),
        tokens=tokens,
        lease_s=lease_s,
        line=journal.line(lost),
    )


def bill(request_id: str, cost: int, *counters: Counter, tokens: int = 0) -> Bill:
    return Bill(request_id, "k", None, counters, cost, tokens=tokens, ending="done")


def growth(request_id: str, held: int, more: int, *counters: Counter, least: int = 1) -> Growth:
    return Growth(request_id, (KEY,), counters, held, least, more)


async def with_key(store: Store, **fields: object) -> Record:
    """A key `k` in the store."""
    record = Record.model_validate({"id": "k", "kind": "key"} | fields)
    await store.create(record, DIGEST)
    return record


async def sums(store: Store, *scopes: str) -> dict[str, tuple[int, int]]:
    """(spent, held) of each counter by its name."""
    return {f"{b.scope}|{b.window}": (b.spent_nanousd, b.held_nanousd) for b in await store.balances(scopes)}


def said(call: Call) -> list[bytes]:
    """The words of a call as a server reads them: EVALSHA, the script's hash, the number of keys …"""
    command = call.command
    at, words = command.index(b"\n") + 1, list[bytes]()
    while at < len(command):
        end = command.index(b"\r", at)
        size, start = int(command[at + 1 : end]), end + 2
        words.append(command[start : start + size])
        assert command[at : at + 1] == b"$" and command[start + size : start + size + 2] == b"\r\n"
        at = start + size + 2
    assert command.startswith(b"*%d\r\n" % len(words))
    return words
