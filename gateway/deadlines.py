"""Ends of patience that are seldom reached: all of one length share a timer, since one of the loop's costs more than
what it watches over."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from itertools import count


class Deadlines:
    """One worker's, by their length in seconds."""

    def __init__(self) -> None:
        self._lines: dict[float, _Line] = {}

    def after(self, delay_s: float, call: Callable[[], None]) -> Callable[[], object]:
        """Have `call` called in so many seconds, a few milliseconds later at most; what is answered calls it off."""
        line = self._lines.get(delay_s)
        if line is None:
            line = self._lines[delay_s] = _Line()
        number = next(line.numbers)
        line.waiting[number] = time.monotonic() + delay_s, call
        if not line.timed:
            line.time(delay_s)
        return partial(line.waiting.pop, number, None)


class _Line:
    """Those of one length: who came first is due first."""

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[float, Callable[[], None]]] = {}
        self.numbers = count()
        self.timed = False

    def time(self, delay_s: float) -> None:
        self.timed = True
        asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        self.timed = False
        now_s, loop = time.monotonic(), asyncio.get_running_loop()
        for number, (due_s, _) in self.waiting.items():
            if due_s > now_s:
                self.time(due_s - now_s)
                return
            loop.call_soon(self._call, number)  # one that fails does not keep the others waiting

    def _call(self, number: int) -> None:
        if waiting := self.waiting.pop(number, None):
            waiting[1]()
