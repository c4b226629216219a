"""Many callers, few journeys: what is asked for while a batch is under way goes together in the next one.

Both stores use it: a batch is one pipeline to Redis, or one transaction (and so one fsync) in SQLite.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from gateway.ledger.store import Promise, StoreDown

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LARGEST = 500  # items in a batch: bounds how long the first of them waits for the last
MOST_WAITING = 20_000  # some seconds' work of a quick store: behind these, a caller is better told at once
LONE = 8  # batches of one after each other: then one more need not wait for company
SILENCE_S = 15.0  # a store that neither answers nor fails in this time hangs: longer than its own time-outs

AGAIN = object()  # in an answer's place

Waiting = Sequence[tuple[Item, asyncio.Future[Answer]]]


class Lane(Generic[Item, Answer]):
    """Sends items in batches, at most `width` at a time. `send` answers each in order, with a result or an exception.

    `begin`, where there is one, is tried first. It takes no task: it is told a batch, and answers False where it cannot
    send now; else `returned` is called in good time, and `read` makes an answer of what came for each item: raises
    StoreDown or ValueError for one that it is refused, gives AGAIN where it takes `send` to get one. Where items have
    come one by one for a while, the next does not wait for the end of the loop's turn.

    Raises StoreDown to everyone in a batch that fails, and to all who wait behind it: they would meet the same silence.
    So it does when as many batches as there may be have been under way for SILENCE_S (their items may be carried out
    all the same), and to whoever comes until one of them returns.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        width: int,
        begin: Callable[[Waiting[Item, Answer]], bool] | None = None,
        read: Callable[[Item, Any], Answer] | None = None,
    ) -> None:
        self._send = send
        self._begin = begin
        self._read = read
        self._width = width
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._out = 0  # batches that have left and have not come back
        self._lone = 0  # how many of the last ones were of one item
        self._under_way: set[asyncio.Task[None]] = set()  # of these, the ones that are tasks
        self._silent: set[asyncio.Task[None]] = set()  # and have been for too long
        self._called = False
        self._drained: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: to ask for it is a system call, getpid

    def put(self, item: Item) -> asyncio.Future[Answer]:
        """The answer to `item`. A caller that is cancelled leaves; its item is carried out all the same.

        It is what `send` has for it, or StoreDown. Raises StoreDown where too many wait.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if not self._called or self._silent or len(self._waiting) > MOST_WAITING:
            self._call(loop)
        return future

    def promise(self, item: Item) -> Promise[Answer]:
        """The same, for a caller who must know the answer even where it is cancelled."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        promise: Promise[Answer] = Promise(loop=loop)
        self._waiting.append((item, promise))
        if not self._called or self._silent or len(self._waiting) > MOST_WAITING:
            self._call(loop)
        return promise

    async def drain(self) -> None:
        """Wait until nothing is under way and nobody waits."""
        if self._busy():
            self._drained = self._drained or asyncio.get_running_loop().create_future()
            await self._drained

    def _busy(self) -> bool:
        return bool(self._waiting or self._out)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have it leave with who has just come, unless that is one too many."""
        if len(self._waiting) > MOST_WAITING or len(self._silent) >= self._width:
            self._waiting.pop()
            raise StoreDown("the store does not keep up")
        if self._lone >= LONE and not self._out and not self._called:
            self._leave()
        elif not self._called:
            self._called = True
            loop.call_soon(self._leave)  # after what else this tick of the loop asks for

    def _leave(self) -> None:
        self._called = False
        while (batch := self._waiting) and self._out < self._width:
            self._waiting = []
            if (size := len(batch)) > LARGEST:
                batch, self._waiting = batch[:LARGEST], batch[LARGEST:]
            self._lone = self._lone + 1 if size == 1 else 0
            if self._begin is not None and self._begin(batch):
                self._out += 1
            else:
                self._set_out(batch)
        if self._drained is not None and not self._busy():
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def returned(self, batch: Waiting[Item, Answer], said: Iterable[Any] | None) -> None:
        """What came for each item of a batch that had begun; None: it takes `send`."""
        self._out -= 1
        try:
            again = batch if said is None or self._read is None else _told(batch, said, self._read)
            if again:
                self._set_out(again)
        finally:
            if self._waiting or self._drained is not None:
                self._leave()

    def _set_out(self, batch: Waiting[Item, Answer]) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._carry(batch))
        self._out += 1
        self._under_way.add(task)
        task.add_done_callback(partial(self._arrived, loop.call_later(SILENCE_S, self._fall_silent, task, batch)))

    def _arrived(self, silence: asyncio.TimerHandle, task: asyncio.Task[None]) -> None:
        silence.cancel()
        self._silent.discard(task)
        self._under_way.discard(task)
        self._out -= 1
        self._leave()

    def _fall_silent(self, task: asyncio.Task[None], batch: Waiting[Item, Answer]) -> None:
        self._silent.add(task)
        if len(self._silent) >= self._width:
            batch, self._waiting = [*batch, *self._waiting], []
        for _, future in batch:
            _fail(future, f"the store has been silent for {SILENCE_S:g} s")

    async def _carry(self, batch: Waiting[Item, Answer]) -> None:
        answers: Sequence[Answer | Exception] = ()
        try:
            answers = await self._send([item for item, _ in batch])
        except StoreDown as error:
            batch, self._waiting = [*batch, *self._waiting], []
            answers = [StoreDown(str(error)) for _ in batch]
        finally:
            _tell(batch, answers)


def _tell(batch: Waiting[Item, Answer], answers: Iterable[Answer | Exception]) -> None:
    """Everyone their answer. Nobody is left waiting, whatever goes wrong."""
    left = iter(batch)
    try:
        for answer, (_, future) in zip(answers, left, strict=False):
            if future.done():  # its caller was cancelled
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
    finally:
        _break_off(left)


def _told(
    batch: Waiting[Item, Answer], said: Iterable[Any], read: Callable[[Item, Any], Answer]
) -> Waiting[Item, Answer]:
    """The same of what came for each; those who are to ask again."""
    again: list[tuple[Item, asyncio.Future[Answer]]] = []
    left = iter(batch)
    try:
        for one, (item, future) in zip(said, left, strict=False):
            try:
                answer = read(item, one)
                if answer is AGAIN:
                    again.append((item, future))
                else:
                    future.set_result(answer)
            except asyncio.InvalidStateError:  # its caller was cancelled
                continue
            except (StoreDown, ValueError) as error:
                if not future.done():
                    future.set_exception(error)
            except BaseException:
                _break_off([(item, future)])
                raise
    finally:
        _break_off(left)
    return again


def _break_off(left: Iterable[tuple[Any, asyncio.Future[Any]]]) -> None:
    for _, future in left:
        _fail(future, "the store's batch was broken off")


def _fail(future: asyncio.Future[Any], why: str) -> None:
    if not future.done():
        future.set_exception(StoreDown(why))
