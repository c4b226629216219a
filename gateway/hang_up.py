"""What ends the work on a request from outside: a client that hangs up, or a hold that is lost.

A connection of ours tells it (Exchange.when_gone); another server tells nobody until `receive()` is asked.
"""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Self

from starlette.types import Message, Receive

from gateway.http1_exchange import Exchange


class HungUp(Exception):
    """The client went away before its answer was complete."""


class interruptible:  # a word of the language here: with interruptible(…)
    """Within, the current task is cancelled as soon as the client disconnects, or `linger_s()` seconds after that; it
    comes out as HungUp, also where the work came to its end meanwhile. `now` and `after` cancel it for other reasons.

    The request's body must have been read. Works as asyncio.timeout does: only a cancellation of its own is translated.
    """

    def __init__(
        self,
        receive: Receive,
        linger_s: Callable[[], float],
        exchange: Exchange | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`exchange`: whose `receive` it is, where that is one of ours. `loop`: the one that runs, for who has it; to
        ask for it, or for the task without it, is a system call, getpid, each time."""
        self._loop = loop or asyncio.get_running_loop()
        task = exchange.task if exchange is not None else asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - for the type checker: a coroutine always runs in a task
        self._task, self._before = task, task.cancelling()
        self._watch = exchange or _Watch(receive)
        self._linger_s = linger_s
        self._reason: Exception | None = None
        self._over = self._client_gone = False
        self._ends: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        self._watch.when_gone(self._gone)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._over = True
        self._watch.nobody_asks()  # and lets go of `_gone`: a cycle would be left to the garbage collector
        for call in self._ends:
            call()
        self._ends.clear()
        if (reason := self._why(error)) is not None:
            raise reason from None

    def now(self, reason: Exception) -> None:
        """End the work, unless it has ended."""
        if self._reason is None and not self._over:
            self._reason = reason
            self._task.cancel()

    def after(self, delay_s: float, reason: Callable[[], Exception]) -> None:
        """End the work when it has not ended by then."""
        self.at_the_end(self._loop.call_later(delay_s, lambda: self.now(reason())).cancel)

    def at_the_end(self, call: Callable[[], object]) -> None:
        """Have `call` called when the work has ended."""
        self._ends.append(call)

    def _why(self, error: BaseException | None) -> Exception | None:
        """What the work, which ended with `error` or without one, was interrupted for, if that is why."""
        if self._reason is not None:
            cancelled_by_us_alone = self._task.uncancel() <= self._before
            if isinstance(error, asyncio.CancelledError):
                return self._reason if cancelled_by_us_alone else None
        return HungUp() if self._client_gone and error is None else None

    def _gone(self) -> None:
        self._client_gone = True
        if left_s := self._linger_s():
            self.after(left_s, HungUp)
        else:
            self.now(HungUp())


class _Watch:
    """Asks `receive` until it says that the client is gone.

    Without a task, whose beginning and end would be turns of the loop: what is asked is resumed by what it waits for.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone: Callable[[], None] | None = None
        self._asked: Generator[Any, Any, Message] | None = None
        self._awaited: asyncio.Future[Any] | None = None

    def when_gone(self, gone: Callable[[], None]) -> None:
        """As `Exchange` does it."""
        self._gone = gone
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
                    if self._gone is not None:
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

    def nobody_asks(self) -> None:
        """Ask no more."""
        self._gone = None
        if self._awaited is not None:
            self._awaited.remove_done_callback(self._go_on)
        if self._asked is not None:
            self._asked.close()
