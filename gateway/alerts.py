"""Soft budgets: whoever passes one is served, and somebody is told, once a window."""

import asyncio
import logging
from uuid import uuid4

import orjson

from gateway.bounded import keep
from gateway.fetch import post
from gateway.ledger.store import Bill, Counter, Settled, Store, StoreDown

MOST_AT_ONCE = 100  # alerts on their way; what comes beyond these is told by a later settle
MOST_TOLD = 20_000  # that a worker keeps in mind
TOLD_S = 400 * 86_400.0  # for how long the store knows that somebody was told; windows are shorter, or told again

log = logging.getLogger("headgate")


class Alerts:
    """Tells the log, and `url` if there is one. Of all settles past a soft cap, by any worker, one tells."""

    def __init__(self, url: str, store: Store) -> None:
        self._url = url
        self._store = store
        self._told: dict[tuple[str, int], None] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def tell(self, bill: Bill, settled: Settled) -> None:
        """Say which soft caps have been passed, if that is new. Returns at once; never raises."""
        for counter, spent in zip(bill.counters, settled.spent, strict=False):  # a bill in the spool has no sums
            for soft in counter.softs_nanousd:
                known = (counter.name, soft)
                if soft <= spent and known not in self._told and len(self._under_way) < MOST_AT_ONCE:
                    keep(self._told, known, None, MOST_TOLD)
                    task = asyncio.ensure_future(self._tell(bill, counter, soft, spent))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._under_way)

    async def _tell(self, bill: Bill, counter: Counter, soft: int, spent: int) -> None:
        try:
            if not await self._store.lock(f"alert:{counter.name}:{soft}", uuid4().hex, TOLD_S):
                return  # another worker was first
        except StoreDown:
            self._told.pop((counter.name, soft), None)
            return
        line = orjson.dumps(
            {
                "alert": "soft_budget",
                "scope": counter.scope,
                "window": counter.window,
                "soft_nanousd": soft,
                "spent_nanousd": spent,
                "request_id": bill.request_id,
            }
        )
        log.warning("%s", line.decode())
        if self._url and (why := await post(self._url, line)):
            log.warning("alert_url did not take this alert (%s): %s", why, line.decode())
