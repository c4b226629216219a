"""A disconnect cancels the work; any other cancellation stays what it is."""

import asyncio
from typing import Any

import pytest

from gateway.hang_up import HungUp, interruptible


def receiving(*messages: dict[str, Any]) -> Any:
    """An ASGI `receive` that hands out `messages`, and then waits for ever."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


def at_once() -> float:
    return 0.0


def test_a_hang_up_ends_the_work_and_says_so() -> None:
    async def work() -> None:
        with interruptible(receiving({"type": "http.request"}, {"type": "http.disconnect"}), at_once):
            await asyncio.Event().wait()

    with pytest.raises(HungUp):
        asyncio.run(work())


def test_the_task_goes_on_after_a_hang_up() -> None:
    async def work() -> str:
        try:
            with interruptible(receiving({"type": "http.disconnect"}), at_once):
                await asyncio.Event().wait()
        except HungUp:
            await asyncio.sleep(0)  # the bill is written here: nothing may cancel it
        return "billed"

    assert asyncio.run(work()) == "billed"


def test_work_that_ends_first_is_left_alone() -> None:
    async def work() -> str:
        with interruptible(receiving(), at_once):
            await asyncio.sleep(0)
        return "done"

    assert asyncio.run(work()) == "done"


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def work() -> None:
        with interruptible(receiving(), at_once):
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
        with interruptible(receiving(), at_once):
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(work())


def test_an_abandoned_answer_may_be_read_on_to_its_end() -> None:
    async def work() -> list[str]:
        steps = []
        try:
            with interruptible(receiving({"type": "http.disconnect"}), lambda: 30.0):
                await asyncio.sleep(0.01)
                steps.append("drained")
        except HungUp:
            steps.append("hung up")
        return steps

    assert asyncio.run(work()) == ["drained", "hung up"]


def test_an_abandoned_answer_is_not_read_for_ever() -> None:
    async def work() -> None:
        with interruptible(receiving({"type": "http.disconnect"}), lambda: 0.01):
            await asyncio.Event().wait()

    with pytest.raises(HungUp):
        asyncio.run(work())


def test_work_can_be_ended_for_another_reason_which_comes_out() -> None:
    async def work() -> None:
        with interruptible(receiving(), at_once) as interruption:
            asyncio.get_running_loop().call_soon(interruption.now, ValueError("its lease is over"))
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="its lease is over"):
        asyncio.run(work())


def test_an_interruption_that_comes_too_late_changes_nothing() -> None:
    async def work() -> str:
        with interruptible(receiving(), at_once) as interruption:
            pass
        interruption.now(ValueError("late"))
        await asyncio.sleep(0)
        return "done"

    assert asyncio.run(work()) == "done"
