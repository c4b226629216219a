"""Soft budgets: whoever passes one is served, and somebody is told, once a window."""

import asyncio
import logging
from collections.abc import Iterator

import orjson

from gateway.fetch import post
from gateway.ledger.store import Bill, Counter, Settled

MOST_AT_ONCE = 20  # posts on their way; what comes beyond these is in the log alone

log = logging.getLogger("headgate")


def crossed(bill: Bill, settled: Settled) -> tuple[Counter, ...]:
    """The counters whose soft cap this very settle passed: of all settles on a counter, one does."""
    return tuple(counter for counter, _ in _crossings(bill, settled))


def _crossings(bill: Bill, settled: Settled) -> Iterator[tuple[Counter, int]]:
    for counter, spent in zip(bill.counters, settled.spent, strict=False):  # a second settle has no sums
        soft = counter.soft_nanousd
        if settled.first and soft is not None and spent - bill.cost_nanousd < soft <= spent:
            yield counter, spent


class Alerts:
    """Tells the log, and `url` if there is one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._posts: set[asyncio.Task[None]] = set()

    def tell(self, bill: Bill, settled: Settled) -> None:
        """Say which soft caps the settle of `bill` passed, if any. Returns at once; never raises."""
        for counter, spent in _crossings(bill, settled):
            line = orjson.dumps(
                {
                    "alert": "soft_budget",
                    "scope": counter.scope,
                    "window": counter.window,
                    "soft_nanousd": counter.soft_nanousd,
                    "spent_nanousd": spent,
                    "request_id": bill.request_id,
                }
            )
            log.warning("%s", line.decode())
            if self._url and len(self._posts) < MOST_AT_ONCE:
                task = asyncio.ensure_future(self._post(line))
                self._posts.add(task)
                task.add_done_callback(self._posts.discard)

    async def close(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._posts)

    async def _post(self, line: bytes) -> None:
        if why := await post(self._url, line):
            log.warning("alert_url did not take this alert (%s): %s", why, line.decode())
