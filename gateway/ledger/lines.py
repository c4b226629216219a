"""The waiting lines: who is blocked only by what others hold waits a moment, first come first served.

There is one line per counter and worker, and only its head asks the store again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from gateway.ledger.store import Counter, Refused

POLL_S = 0.05  # how often the head of a line asks again: a settle by another worker is not heard here

Found = TypeVar("Found")
# asks the store: what is left of the caller's patience (1: all, 0: it takes whatever there is), and whether others wait
Asking = Callable[[float, bool], Awaitable[Found | Refused]]


class Lines:
    """One worker's lines, by the counter that blocks."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self._lines: dict[str, deque[asyncio.Event]] = {}

    def before(self, counters: Iterable[Counter]) -> str | None:
        """The first of these counters that somebody waits for already: whoever comes later waits behind."""
        if not self._lines:
            return None
        return next((counter.name for counter in counters if counter.name in self._lines), None)

    def freed(self, counters: Iterable[Counter]) -> None:
        """Something was given back here: let the heads of these lines ask at once."""
        for counter in counters if self._lines else ():
            if line := self._lines.get(counter.name):
                line[0].set()

    async def wait(self, counter: str, ask: Asking[Found]) -> Found | Refused:
        """What `ask` answers once it is this caller's turn and there is room, or when its patience is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.wait_s
        line = self._lines.setdefault(counter, deque())
        ticket = asyncio.Event()
        line.append(ticket)
        try:
            while (left := deadline - loop.time()) > 0:
                first = line[0] is ticket
                if first:
                    ticket.clear()
                    answer = await ask(left / self.wait_s, len(line) > 1)
                    if not isinstance(answer, Refused) or answer.reason != "held":
                        return answer
                try:
                    async with asyncio.timeout(min(left, POLL_S) if first else left):
                        await ticket.wait()
                except TimeoutError:
                    continue
            return await ask(0.0, True)
        finally:
            line.remove(ticket)
            if line:
                line[0].set()
            else:
                self._lines.pop(counter, None)
