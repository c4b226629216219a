"""Many callers, few journeys: what is asked for while a batch is under way goes together in the next one.

Both stores use it: a batch is one pipeline to Redis, or one transaction (and so one fsync) in SQLite.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from gateway.ledger.store import StoreDown

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LARGEST = 500  # items in a batch: bounds how long the first of them waits for the last
MOST_WAITING = 20_000  # some seconds' work of a quick store: behind these, a caller is better told at once
SILENCE_S = 15.0  # a store that neither answers nor fails in this time hangs: longer than its own time-outs


class Lane(Generic[Item, Answer]):
    """Sends items in batches, at most `width` at a time. `send` answers each in order, with a result or an exception.

    Raises StoreDown to everyone in a batch that fails, and to all who wait behind it: they would meet the same silence.
    So it does when as many batches as there may be have been under way for SILENCE_S (their items may be carried out
    all the same), and to whoever comes until one of them returns.
    """

    def __init__(self, send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]], width: int) -> None:
        self._send = send
        self._width = width
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._silent: set[asyncio.Task[None]] = set()  # of these, the ones that have been for too long
        self._called = False

    async def put(self, item: Item) -> Answer:
        """The answer to `item`. A caller that is cancelled leaves; its item is carried out all the same.

        Raises what `send` has for it, and StoreDown.
        """
        if len(self._waiting) >= MOST_WAITING or len(self._silent) >= self._width:
            raise StoreDown("the store does not keep up")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if not self._called:
            self._called = True
            loop.call_soon(self._leave)  # after what else this tick of the loop asks for
        return await future

    async def drain(self) -> None:
        """Wait until nothing is under way and nobody waits."""
        while self._called or self._under_way:
            await asyncio.sleep(0)
            if self._under_way:
                await asyncio.wait(self._under_way)

    def _leave(self) -> None:
        self._called = False
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._under_way) < self._width:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
            task = loop.create_task(self._carry(batch))
            self._under_way.add(task)
            task.add_done_callback(partial(self._arrived, loop.call_later(SILENCE_S, self._fall_silent, task, batch)))

    def _arrived(self, silence: asyncio.TimerHandle, task: asyncio.Task[None]) -> None:
        silence.cancel()
        self._silent.discard(task)
        self._under_way.discard(task)
        self._leave()

    def _fall_silent(self, task: asyncio.Task[None], batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        self._silent.add(task)
        if len(self._silent) >= self._width:
            batch, self._waiting = [*batch, *self._waiting], []
        for _, future in batch:
            _resolve(future, StoreDown(f"the store has been silent for {SILENCE_S:g} s"))

    async def _carry(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        failure = "the store's batch was broken off"
        try:
            answers = await self._send([item for item, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                _resolve(future, answer)
        except StoreDown as error:
            failure = str(error)
            batch, self._waiting = [*batch, *self._waiting], []
        finally:  # nobody is left waiting, whatever went wrong
            for _, future in batch:
                _resolve(future, StoreDown(failure))


def _resolve(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
