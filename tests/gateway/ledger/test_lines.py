"""Who waits, and in which order."""

import asyncio

from gateway.ledger.lines import Asking, Lines
from gateway.ledger.store import Counter, Refused

COUNTER = Counter("key:k", "total")
HELD = Refused("held", COUNTER.name)


def test_only_the_head_of_a_line_asks_and_the_others_come_in_their_order() -> None:
    async def run() -> list[str]:
        lines, order, room = Lines(30), list[str](), asyncio.Event()

        async def ask(name: str) -> str | Refused:
            if not room.is_set():
                assert name == "first"
                return HELD
            order.append(name)
            return name

        def of(name: str) -> Asking[str]:
            return lambda patience, crowded: ask(name)

        names = ("first", "second", "third")
        waiting = [asyncio.ensure_future(lines.wait(COUNTER.name, of(name))) for name in names]
        await asyncio.sleep(0.1)
        room.set()
        lines.freed([COUNTER])
        assert await asyncio.gather(*waiting) == ["first", "second", "third"]
        assert lines.before([COUNTER]) is None
        return order

    assert asyncio.run(run()) == ["first", "second", "third"]


def test_who_leaves_a_line_lets_the_next_one_ask() -> None:
    async def run() -> object:
        lines = Lines(30)

        async def never(patience: float, crowded: bool) -> str | Refused:
            return HELD

        async def at_once(patience: float, crowded: bool) -> str | Refused:
            return "served"

        first = asyncio.ensure_future(lines.wait(COUNTER.name, never))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(lines.wait(COUNTER.name, at_once))
        await asyncio.sleep(0.01)
        assert not second.done()
        first.cancel()
        return await second

    assert asyncio.run(run()) == "served"


def test_who_has_waited_long_enough_asks_for_whatever_there_is() -> None:
    async def run() -> object:
        async def ask(patience: float, crowded: bool) -> str | Refused:
            return HELD if patience else "a little"

        return await Lines(0.05).wait(COUNTER.name, ask)

    assert asyncio.run(run()) == "a little"
