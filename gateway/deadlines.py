"""Ends of patience that are seldom reached: all of one length share a timer, since one of the loop's costs more than
what it watches over."""

import asyncio
import time
from collections.abc import Callable
from functools import partial


class Deadlines:
    """One worker's, by their length in seconds."""

    def __init__(self) -> None:
        self._lines: dict[float, _Line] = {}

    def after(self, delay_s: float, call: Callable[[], None]) -> Callable[[], object]:
        """Have `call` called in so many seconds, a few milliseconds later at most; what is answered calls it off."""
        line = self._lines.get(delay_s)
        if line is None:
            line = self._lines[delay_s] = _Line(delay_s)
        return line.put(call)


class _Line:
    """Those of one length: who came first is due first."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._waiting: dict[int, tuple[float, Callable[[], None]]] = {}
        self._number = 0
        self._timed = False

    def put(self, call: Callable[[], None]) -> Callable[[], object]:
        self._number = number = self._number + 1
        self._waiting[number] = time.monotonic() + self._delay_s, call
        if not self._timed:
            self._time(self._delay_s)
        return partial(self._waiting.pop, number, None)

    def _time(self, delay_s: float) -> None:
        self._timed = True
        asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timed = False
        now_s, loop = time.monotonic(), asyncio.get_running_loop()
        for number, (due_s, _) in self._waiting.items():
            if due_s > now_s:
                self._time(due_s - now_s)
                return
            loop.call_soon(self._call, number)  # one that fails does not keep the others waiting

    def _call(self, number: int) -> None:
        if waiting := self._waiting.pop(number, None):
            waiting[1]()
