"""A client that hangs up cancels the work that is done for it: uvicorn tells nobody until `receive()` is asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive


class HungUp(Exception):
    """The client went away before its answer was complete."""


@asynccontextmanager
async def cancelled_by_hang_up(receive: Receive) -> AsyncIterator[None]:
    """Within, the current task is cancelled as soon as the client disconnects; that comes out as HungUp.

    The request's body must have been read. Works as asyncio.timeout does: only a cancellation of its own is translated.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: a coroutine always runs in a task
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    before = task.cancelling()
    watcher = asyncio.ensure_future(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() <= before:
            raise HungUp from None
        raise
    finally:
        watcher.cancel()
