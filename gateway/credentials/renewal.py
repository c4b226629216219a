"""Credentials kept fresh off the request path: fetched in a thread, and renewed before they expire."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from translators.errors import LLMError

RETRY_S = (1.0, 60.0)  # the first pause after a failure, doubled up to the last

log = logging.getLogger("headgate")

Value = TypeVar("Value")


class Renewal(Generic[Value]):
    """Keeps one value fresh from the moment it is made.

    `fetch` blocks, and raises LLMError; `is_fresh` says whether a value may still be used, and `due_s` in how many
    seconds it should be fetched again.
    """

    def __init__(
        self, fetch: Callable[[], Value], is_fresh: Callable[[Value], bool], due_s: Callable[[Value], float]
    ) -> None:
        self._fetch_value = fetch
        self._is_fresh = is_fresh
        self._due_s = due_s
        self._value: Value | None = None
        self._failed = 0.0  # when the last fetch did, Unix seconds
        self._failure: LLMError | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._renewing = asyncio.create_task(self._kept_fresh())

    async def fresh(self) -> Value:
        """The value; those who come while it is fetched wait for that one fetch. Raises the fetch's LLMError."""
        if self._value is None or not self._is_fresh(self._value):
            if self._failure is None or time.time() - self._failed >= RETRY_S[0]:
                await self._fetched()
            if self._failure is not None and (self._value is None or not self._is_fresh(self._value)):
                raise LLMError(self._failure.kind, self._failure.message)
        assert self._value is not None  # noqa: S101 - for the type checker: a fetch gives a value or a failure
        return self._value

    async def close(self) -> None:
        """Stop renewing; a fetch under way is left to end by itself."""
        tasks = [task for task in (self._renewing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _kept_fresh(self) -> None:
        pause, told = RETRY_S[0], ""
        while True:
            await self._fetched()
            if self._failure is None and self._value is not None:
                pause, told = RETRY_S[0], ""
                await asyncio.sleep(self._due_s(self._value))
            elif self._failure is not None:
                if self._failure.message != told:  # once, not at every try
                    told = self._failure.message
                    log.warning("%s (%s)", told, type(self._failure.__cause__).__name__)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_S[1])

    async def _fetched(self) -> None:
        """Wait for the fetch under way, or for a new one."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)  # who waits may go away; the others still want it

    async def _fetch(self) -> None:
        try:
            self._value = await asyncio.to_thread(self._fetch_value)
            self._failure = None
        except LLMError as failure:
            self._failure, self._failed = failure, time.time()
        except Exception as fault:  # noqa: BLE001 - whatever a provider's library raises must not end the renewal
            told = f"The provider's credentials could not be had: {type(fault).__name__}"
            self._failure, self._failed = LLMError("upstream_auth", told), time.time()
