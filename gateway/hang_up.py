"""What ends the work on a request from outside: a client that hangs up, or a hold that is lost.

uvicorn tells nobody of a hang-up until `receive()` is asked.
"""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from starlette.types import Message, Receive


class HungUp(Exception):
    """The client went away before its answer was complete."""


class Interruption:
    """Ends the work of the task that it was made in, as a cancellation; `interruptible` lets the reason out."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()  # both without it are a system call, getpid, each time
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - for the type checker: a coroutine always runs in a task
        self._task = task
        self._before = task.cancelling()
        self._over = False
        self.reason: Exception | None = None
        self.gone = False  # the client is: nothing more reaches it
        self._timers: list[asyncio.TimerHandle] = []

    def now(self, reason: Exception) -> None:
        """End the work, unless it has ended."""
        if self.reason is None and not self._over:
            self.reason = reason
            self._task.cancel()

    def after(self, delay_s: float, reason: Callable[[], Exception]) -> None:
        """End the work when it has not ended by then."""
        self._timers.append(self._loop.call_later(delay_s, lambda: self.now(reason())))

    def close(self) -> None:
        """Nothing of `after` comes any more."""
        for timer in self._timers:
            timer.cancel()

    def over(self, error: BaseException | None) -> Exception | None:
        """The work has ended, with `error` or without one: what it was interrupted for, if that is why."""
        self._over = True
        if self.reason is not None:
            cancelled_by_us_alone = self._task.uncancel() <= self._before
            if isinstance(error, asyncio.CancelledError):
                return self.reason if cancelled_by_us_alone else None
        return HungUp() if self.gone and error is None else None


class interruptible:  # a word of the language here: async with interruptible(…)
    """Within, the current task is cancelled as soon as the client disconnects, or `linger_s()` seconds after that; it
    comes out as HungUp, also where the work came to its end meanwhile.

    The request's body must have been read. Works as asyncio.timeout does: only a cancellation of its own is translated.
    """

    def __init__(self, receive: Receive, linger_s: Callable[[], float]) -> None:
        self._receive = receive
        self._linger_s = linger_s

    async def __aenter__(self) -> Interruption:
        self._interruption = Interruption()
        self._watch = _Watch(self._receive, self._gone)
        return self._interruption

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._watch.close()
        del self._watch  # it knows `_gone`: as a cycle it would keep all of the request for the garbage collector
        self._interruption.close()
        if (reason := self._interruption.over(error)) is not None:
            raise reason from None

    def _gone(self) -> None:
        self._interruption.gone = True
        if left_s := self._linger_s():
            self._interruption.after(left_s, HungUp)
        else:
            self._interruption.now(HungUp())


class _Watch:
    """Asks `receive` until it says that the client is gone.

    Without a task, whose beginning and end would be turns of the loop: what is asked is resumed by what it waits for.
    """

    def __init__(self, receive: Receive, gone: Callable[[], None]) -> None:
        self._receive = receive
        self._gone = gone
        self._asked: Generator[Any, Any, Message] | None = None
        self._awaited: asyncio.Future[Any] | None = None
        self._go_on()

    def _go_on(self, _: object = None) -> None:
        self._awaited = None
        while True:
            if self._asked is None:
                self._asked = self._receive().__await__()
            try:
                awaited = next(self._asked)
            except StopIteration as said:
                self._asked = None
                if said.value["type"] == "http.disconnect":
                    self._gone()
                    return
                continue
            if awaited is None:  # asyncio.sleep(0)
                awaited = asyncio.get_running_loop().create_future()
                awaited.set_result(None)
            awaited._asyncio_future_blocking = False  # what a task does that is handed a future
            self._awaited = awaited
            awaited.add_done_callback(self._go_on)
            return

    def close(self) -> None:
        """Ask no more."""
        if self._awaited is not None:
            self._awaited.remove_done_callback(self._go_on)
        if self._asked is not None:
            self._asked.close()
