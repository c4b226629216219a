"""Batches: who travels together, and what becomes of them."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import cast

import pytest

from gateway.ledger import batches
from gateway.ledger.batches import AGAIN, LARGEST, LONE, Lane, Waiting
from gateway.ledger.store import StoreDown

pytestmark = pytest.mark.anyio


class Road:
    """Doubles numbers, a batch at a time, once `open` is set."""

    def __init__(self) -> None:
        self.batches: list[Sequence[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.departed: asyncio.Queue[None] = asyncio.Queue()

    async def send(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        self.departed.put_nowait(None)
        await self.open.wait()
        if 13 in items:
            raise StoreDown("the road is closed")
        if 99 in items:
            raise KeyError(99)
        return [ValueError(item) if item < 0 else 2 * item for item in items]


async def test_what_is_asked_for_at_once_goes_together_and_what_comes_meanwhile_goes_next() -> None:
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=1)
    road.open.clear()
    first = [asyncio.ensure_future(lane.put(item)) for item in (1, 2)]
    await road.departed.get()
    later = [asyncio.ensure_future(lane.put(item)) for item in (3, 4)]
    await asyncio.sleep(0.01)
    road.open.set()
    assert await asyncio.gather(*first, *later) == [2, 4, 6, 8]
    assert road.batches == [[1, 2], [3, 4]]


async def test_no_more_than_its_width_is_under_way() -> None:
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=2)
    road.open.clear()
    waiting = [asyncio.ensure_future(lane.put(1))]
    await road.departed.get()
    waiting.append(asyncio.ensure_future(lane.put(2)))
    await road.departed.get()
    waiting.append(asyncio.ensure_future(lane.put(3)))
    await asyncio.sleep(0.01)
    assert road.batches == [[1], [2]]
    road.open.set()
    assert await asyncio.gather(*waiting) == [2, 4, 6]


async def test_a_batch_has_a_largest_size() -> None:
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=1)
    assert await asyncio.gather(*(lane.put(1) for _ in range(LARGEST + 1))) == [2] * (LARGEST + 1)
    assert [len(batch) for batch in road.batches] == [LARGEST, 1]


async def test_an_error_goes_to_the_one_it_is_for() -> None:
    lane: Lane[int, int] = Lane(Road().send, width=1)
    answers = await asyncio.gather(lane.put(1), lane.put(-1), lane.put(2), return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 4)
    assert isinstance(answers[1], ValueError)


async def test_a_failed_batch_fails_those_behind_it_and_the_next_one_is_tried() -> None:
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=1)
    road.open.clear()
    failing = asyncio.ensure_future(lane.put(13))
    await road.departed.get()
    behind = asyncio.ensure_future(lane.put(1))
    await asyncio.sleep(0.01)
    road.open.set()
    for answer in await asyncio.gather(failing, behind, return_exceptions=True):
        assert isinstance(answer, StoreDown)
    assert await lane.put(1) == 2


async def test_nobody_waits_for_ever_when_a_batch_breaks_in_a_way_nobody_foresaw() -> None:
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: broken.append(context.get("exception")))
    lane: Lane[int, int] = Lane(Road().send, width=1)
    with pytest.raises(StoreDown):
        await lane.put(99)
    assert await lane.put(1) == 2


async def test_one_who_leaves_does_not_disturb_the_others() -> None:
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=1)
    road.open.clear()
    leaver, stayer = asyncio.ensure_future(lane.put(1)), asyncio.ensure_future(lane.put(2))
    await road.departed.get()
    leaver.cancel()
    road.open.set()
    assert await stayer == 4
    assert leaver.cancelled()


async def test_draining_waits_for_all() -> None:
    lane: Lane[int, int] = Lane(Road().send, width=1)
    waiting = [asyncio.ensure_future(lane.put(1)) for _ in range(LARGEST * 2)]
    await asyncio.sleep(0)
    await lane.drain()
    await asyncio.sleep(0)
    assert all(one.done() for one in waiting)


async def test_a_store_that_hangs_does_not_let_its_callers_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_WAITING", 3)
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=1)
    road.open.clear()
    taken = [asyncio.ensure_future(lane.put(1))]
    await road.departed.get()
    taken += [asyncio.ensure_future(lane.put(2)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StoreDown):
        await lane.put(3)
    road.open.set()
    assert await asyncio.gather(*taken) == [2, 4, 4, 4]
    assert await lane.put(3) == 6


async def test_silence_is_told_to_all_who_wait_and_to_those_who_come_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "SILENCE_S", 0.02)
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=1)
    road.open.clear()
    first = asyncio.ensure_future(lane.put(1))
    await road.departed.get()
    second = asyncio.ensure_future(lane.put(2))
    for answer in await asyncio.gather(first, second, return_exceptions=True):
        assert isinstance(answer, StoreDown)
    with pytest.raises(StoreDown):
        await lane.put(3)
    road.open.set()
    await lane.drain()
    assert await lane.put(4) == 8
    assert road.batches == [[1], [4]]


async def test_one_silent_batch_of_two_leaves_the_other_way_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SILENCE_S", 0.02)
    road = Road()
    lane: Lane[int, int] = Lane(road.send, width=2)
    road.open.clear()
    with pytest.raises(StoreDown):
        await lane.put(1)
    road.open.set()
    assert await lane.put(2) == 4


def read(item: int, said: int | Exception) -> int:
    if isinstance(said, Exception):
        raise said
    return said


class Rails:
    """A quick way beside the road: answers once it is told to, and takes nothing while it is shut."""

    def __init__(self, width: int = 1) -> None:
        self.shut = False
        self.batches: list[Sequence[int]] = []
        self.road = Road()
        self.lane: Lane[int, int] = Lane(self.road.send, width, self.begin, read)
        self._begun: list[Waiting[int, int]] = []

    def begin(self, batch: Waiting[int, int]) -> bool:
        if not self.shut:
            self.batches.append([item for item, _ in batch])
            self._begun.append(batch)
        return not self.shut

    def done(self, at: int, answers: Iterable[int | Exception]) -> None:
        """What was begun as the one at `at` is answered."""
        self.lane.returned(self._begun[at], answers)


async def test_a_batch_that_can_begin_at_once_does_not_take_the_road() -> None:
    rails = Rails()
    lane, road = rails.lane, rails.road
    first = [lane.put(item) for item in (1, 2)]
    await asyncio.sleep(0)
    later = lane.put(3)
    await asyncio.sleep(0)
    assert rails.batches == [[1, 2]]
    rails.done(0, [10, ValueError(2)])
    assert await first[0] == 10
    with pytest.raises(ValueError, match="2"):
        await first[1]
    assert rails.batches == [[1, 2], [3]]
    rails.shut = True
    rails.done(1, [30])
    assert (await later, await lane.put(4)) == (30, 8)
    assert road.batches == [[4]]


async def test_who_is_to_ask_again_takes_the_road_and_nobody_else_of_the_batch() -> None:
    rails = Rails()
    lane, road = rails.lane, rails.road
    waiting = [lane.put(item) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    rails.done(0, cast("list[int]", [10, AGAIN, 30]))
    assert await asyncio.gather(*waiting) == [10, 4, 30]
    assert road.batches == [[2]]


async def test_who_gets_no_answer_is_told_so_however_that_came_about() -> None:
    rails = Rails(width=2)
    lane = rails.lane

    def broken() -> Iterator[int]:
        yield 1
        raise KeyError

    for answers in ([1], broken()):
        kept, lost = lane.put(1), lane.put(2)
        await asyncio.sleep(0)
        with suppress(KeyError):
            rails.done(-1, answers)
        assert await kept == 1
        with pytest.raises(StoreDown):
            await lost


async def test_an_answer_that_cannot_be_read_does_not_hold_up_those_behind_it() -> None:
    rails = Rails()
    lane = rails.lane

    def broken() -> Iterator[int]:
        raise KeyError
        yield

    lost = lane.put(1)
    await asyncio.sleep(0)
    behind = lane.put(2)
    await asyncio.sleep(0)
    with pytest.raises(KeyError):
        rails.done(0, broken())
    with pytest.raises(StoreDown):
        await lost
    rails.done(1, [20])
    assert await behind == 20


async def test_one_who_leaves_a_batch_that_has_begun_does_not_disturb_the_others() -> None:
    rails = Rails()
    leavers = [rails.lane.put(item) for item in (1, 2)]
    stayer = rails.lane.put(3)
    await asyncio.sleep(0)
    for leaver in leavers:
        leaver.cancel()
    rails.done(0, [10, ValueError(2), 30])
    assert await stayer == 30
    assert all(leaver.cancelled() for leaver in leavers)


async def test_draining_waits_for_what_has_begun() -> None:
    rails = Rails()
    lane = rails.lane
    waiting = [lane.put(1), lane.put(2)]
    draining = [asyncio.ensure_future(lane.drain()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in draining)
    rails.done(0, [1, 2])
    await asyncio.gather(*draining)
    assert [one.result() for one in waiting] == [1, 2]


async def test_who_was_promised_an_answer_hears_it_before_he_is_cancelled() -> None:
    rails = Rails()
    lane = rails.lane
    promises: list[asyncio.Future[int]] = []

    async def ask() -> None:
        promises.append(lane.promise(1))
        await promises[0]

    asking = asyncio.ensure_future(ask())
    await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.sleep(0.01)
    assert not asking.done()
    rails.done(0, [7])
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert promises[0].result() == 7


async def test_who_comes_alone_time_and_again_does_not_wait_for_company_until_somebody_else_comes() -> None:
    rails = Rails(width=2)
    for at in range(LONE):
        waiting = rails.lane.put(at)
        assert len(rails.batches) == at
        await asyncio.sleep(0)
        rails.done(-1, [at])
        assert await waiting == at
    rails.batches.clear()
    waiting = rails.lane.put(1)
    assert rails.batches == [[1]]
    others = [rails.lane.put(2), rails.lane.put(3)]
    assert rails.batches == [[1]]
    await asyncio.sleep(0)
    assert rails.batches == [[1], [2, 3]]
    rails.done(-2, [1])
    rails.done(-1, [2, 3])
    assert await asyncio.gather(waiting, *others) == [1, 2, 3]
    again = rails.lane.put(4)
    assert rails.batches == [[1], [2, 3]]
    await asyncio.sleep(0)
    rails.done(-1, [4])
    assert await again == 4
