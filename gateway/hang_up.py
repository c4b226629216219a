"""What ends the work on a request from outside: a client that hangs up, or a hold that is lost.

uvicorn tells nobody of a hang-up until `receive()` is asked.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import Receive


class HungUp(Exception):
    """The client went away before its answer was complete."""


class Interruption:
    """Ends the work of the task that it was made in, as a cancellation; `interruptible` lets the reason out."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: a coroutine always runs in a task
        self._task = task
        self._before = task.cancelling()
        self._over = False
        self.reason: Exception | None = None
        self.gone = False  # the client is: nothing more reaches it

    def now(self, reason: Exception) -> None:
        """End the work, unless it has ended."""
        if self.reason is None and not self._over:
            self.reason = reason
            self._task.cancel()

    def over(self, error: BaseException | None) -> Exception | None:
        """The work has ended, with `error` or without one: what it was interrupted for, if that is why."""
        self._over = True
        if self.reason is not None:
            cancelled_by_us_alone = self._task.uncancel() <= self._before
            if isinstance(error, asyncio.CancelledError):
                return self.reason if cancelled_by_us_alone else None
        return HungUp() if self.gone and error is None else None


@asynccontextmanager
async def interruptible(receive: Receive, linger_s: Callable[[], float]) -> AsyncIterator[Interruption]:
    """Within, the current task is cancelled as soon as the client disconnects, or `linger_s()` seconds after that; it
    comes out as HungUp, also where the work came to its end meanwhile.

    The request's body must have been read. Works as asyncio.timeout does: only a cancellation of its own is translated.
    """
    interruption = Interruption()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        interruption.gone = True
        if left_s := linger_s():
            await asyncio.sleep(left_s)
        interruption.now(HungUp())

    watcher = asyncio.ensure_future(watch())
    failure: BaseException | None = None
    try:
        yield interruption
    except BaseException as error:
        failure = error
        if (reason := interruption.over(error)) is not None:
            raise reason from None
        raise
    finally:
        watcher.cancel()
        if failure is None and (reason := interruption.over(None)) is not None:
            raise reason
