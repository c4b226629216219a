"""A disconnect cancels the work; any other cancellation stays what it is."""

import asyncio
from typing import Any

import pytest

from gateway.hang_up import HungUp, cancelled_by_hang_up


def receiving(*messages: dict[str, Any]) -> Any:
    """An ASGI `receive` that hands out `messages`, and then waits for ever."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


def test_a_hang_up_ends_the_work_and_says_so() -> None:
    async def work() -> None:
        async with cancelled_by_hang_up(receiving({"type": "http.request"}, {"type": "http.disconnect"})):
            await asyncio.Event().wait()

    with pytest.raises(HungUp):
        asyncio.run(work())


def test_the_task_goes_on_after_a_hang_up() -> None:
    async def work() -> str:
        try:
            async with cancelled_by_hang_up(receiving({"type": "http.disconnect"})):
                await asyncio.Event().wait()
        except HungUp:
            await asyncio.sleep(0)  # the bill is written here: nothing may cancel it
        return "billed"

    assert asyncio.run(work()) == "billed"


def test_work_that_ends_first_is_left_alone() -> None:
    async def work() -> str:
        async with cancelled_by_hang_up(receiving()):
            await asyncio.sleep(0)
        return "done"

    assert asyncio.run(work()) == "done"


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def work() -> None:
        async with cancelled_by_hang_up(receiving()):
            await asyncio.Event().wait()

    async def stopped() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())


def test_an_error_of_the_work_comes_through() -> None:
    async def work() -> None:
        async with cancelled_by_hang_up(receiving()):
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(work())
