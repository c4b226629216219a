"""Who may read the journal and who may fold it: never both at once, and neither keeps the other out for good.

A fold closes the gate, which one worker has at a time; new readers then wait, and it begins when those within are done.
Its patience grows whenever it was in vain, so that readers pass between, and longer reads than that delay it but
cannot stop it. Each reader has a place of its own, which it gives back, or which lapses should its worker die.
"""

import asyncio
import random
import time
from contextlib import suppress
from typing import Self

from gateway.ledger.store import Store, StoreDown
from translators.errors import LLMError

GATE = "retention"
PLACES = tuple(f"{GATE}:reader:{number}" for number in range(32))  # readers at once, of all workers
TRIED = 4  # places that a reader looks at before it waits a moment
LEASE_S = 30.0  # of the gate and of a place, unless kept
WAIT_S = 15.0  # a reader's patience
RETRY_S = 0.05
PATIENCE_S = 5.0  # a fold's, which grows by as much: at first less than a reader's


class Reading:
    """The journal stays whole within `async with`.

    Raises LLMError("unavailable") where entries are leaving it, or too many read it, for longer than WAIT_S seconds.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner = f"{random.getrandbits(64):x}"
        self._place = ""
        self._until = 0.0

    async def __aenter__(self) -> Self:
        patience = time.monotonic() + WAIT_S
        while not await self._let_in():
            if time.monotonic() > patience:
                raise LLMError("unavailable", "Old entries are leaving the journal, or many read it: try again")
            await asyncio.sleep(RETRY_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(StoreDown):  # then it lapses
            await self._store.lock(self._place, self._owner, 0)

    async def keep(self) -> None:
        """To be called between pages. Raises LLMError("unavailable") when the last call was too long ago."""
        until, now = self._until, time.monotonic()
        kept = now <= until and (until - now > LEASE_S / 2 or await self._take(self._place))
        if not kept or time.monotonic() > until:
            raise LLMError("unavailable", f"The journal was read too slowly, over {LEASE_S:.0f} s a page: ask for less")

    async def _let_in(self) -> bool:
        """The gate is asked again from within: a fold that closes it now looks at the places after that."""
        if not await self._is_open():
            return False
        for place in random.sample(PLACES, TRIED):
            if await self._take(place):
                self._place = place
                if await self._is_open():
                    return True
                await self._store.lock(place, self._owner, 0)
                return False
        return False

    async def _is_open(self) -> bool:
        return await self._store.lock(GATE, self._owner, 0)  # giving back what is free changes nothing

    async def _take(self, place: str) -> bool:
        until = time.monotonic() + LEASE_S
        if not await self._store.lock(place, self._owner, LEASE_S):
            return False
        self._until = until
        return True


class Gate:
    """One worker's turn at folding: closed, nobody reads. `owner` is the worker's own name."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._patience_s = PATIENCE_S
        self._until = 0.0

    async def close(self) -> bool:
        """Whether nobody reads now, and nobody will until it is opened; those within are waited for."""
        if not await self._take():
            return False
        patience = time.monotonic() + self._patience_s
        while not await self._is_alone():
            if time.monotonic() > patience or not await self.keep():
                self._patience_s += PATIENCE_S
                await self.open()
                return False
            await asyncio.sleep(RETRY_S)
        self._patience_s = PATIENCE_S
        return True

    async def keep(self) -> bool:
        """To be called between two steps: whether the gate was closed all the time, and is for half a lease more."""
        until, now = self._until, time.monotonic()
        return until - now > LEASE_S / 2 or (now <= until and await self._take() and time.monotonic() <= until)

    async def open(self) -> None:
        """Let readers in."""
        await self._store.lock(GATE, self._owner, 0)

    async def _is_alone(self) -> bool:
        return all(await asyncio.gather(*(self._store.lock(place, self._owner, 0) for place in PLACES)))

    async def _take(self) -> bool:
        until = time.monotonic() + LEASE_S
        if not await self._store.lock(GATE, self._owner, LEASE_S):
            return False
        self._until = until
        return True
