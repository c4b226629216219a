"""Ends of patience: each comes once, in its time, unless it was called off."""

import asyncio
from collections.abc import Callable

from gateway.deadlines import Deadlines


def test_each_comes_in_its_time_and_what_is_called_off_does_not() -> None:
    async def main() -> list[str]:
        told: list[str] = []
        short, later, deadlines = asyncio.Event(), asyncio.Event(), Deadlines()

        def tell(name: str, event: asyncio.Event) -> Callable[[], None]:
            def call() -> None:
                told.append(name)
                event.set()

            return call

        call_long_off = deadlines.after(0.06, lambda: told.append("long"))
        deadlines.after(0.02, tell("short", short))
        deadlines.after(0.02, lambda: told.append("called off"))()
        await asyncio.sleep(0.01)
        deadlines.after(0.02, tell("later", later))
        await short.wait()
        await later.wait()
        call_long_off()
        await asyncio.sleep(0.08)
        return told

    assert asyncio.run(main()) == ["short", "later"]


def test_one_that_fails_does_not_keep_the_others_waiting() -> None:
    async def main() -> list[str]:
        told: list[str] = []
        second, deadlines = asyncio.Event(), Deadlines()
        asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(str(about["exception"])))

        def fails() -> None:
            raise ValueError("failed")

        deadlines.after(0.01, fails)
        deadlines.after(0.01, second.set)
        await second.wait()
        return told

    assert asyncio.run(main()) == ["failed"]


def test_calling_off_twice_or_too_late_is_no_fault() -> None:
    async def main() -> None:
        came = asyncio.Event()
        off = Deadlines().after(0.001, came.set)
        await came.wait()
        off()
        off()

    asyncio.run(main())


def test_one_that_is_called_off_by_another_of_the_same_moment_does_not_come() -> None:
    async def main() -> list[str]:
        told: list[str] = []
        deadlines = Deadlines()

        def call_off() -> None:
            off()

        deadlines.after(0.01, call_off)
        off = deadlines.after(0.01, lambda: told.append("called off"))
        await asyncio.sleep(0.05)
        return told

    assert asyncio.run(main()) == []
