"""A hold: money set aside for one request before it goes out, and settled at its ending, whatever that is.

A request that is blocked only by what others hold waits its turn for a moment: one line per counter and worker, first
come first served, and only the head of a line asks the store again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.keys import refused
from gateway.ledger.store import Ask, Bill, Counter, Granted, Holder, Refused, Settled, Store, StoreDown
from gateway.ledger.windows import counters
from translators.errors import LLMError

POLL_S = 0.05  # how often the head of a line asks again: a settle by another worker is not heard here
REREADS = 5  # how often a record may change, or a window turn, under one request


CATCH_UP_S = 1.0  # between the tries to have a late bill taken
MOST_LATER = 100_000


class Ceiling(NamedTuple):
    """What a request may cost, in nano-USD. `whole`: the caller set the limit of the answer's length."""

    least: int
    usual: int
    most: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held for one request, on which counters, for whom."""

    request_id: str
    holder: Holder
    counters: tuple[Counter, ...]
    nanousd: int

    @property
    def capped(self) -> bool:
        """Whether any cap stands over this request."""
        return any(counter.cap_nanousd is not None for counter in self.counters)


class Ledger:
    """Reserves and settles over a store, with the waiting lines in front."""

    def __init__(self, store: Store, wait_s: float, now: Callable[[], float]) -> None:
        self._store = store
        self._wait_s = wait_s
        self._now = now
        self._skew_s = 0.0  # the store's clock less ours, learned when a window did not fit
        self._lines: dict[str, deque[asyncio.Event]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._later: deque[Bill] = deque()
        self._catching_up: asyncio.Task[None] | None = None

    async def reserve(
        self,
        request_id: str,
        holder: Holder,
        ceiling: Callable[[], Ceiling],
        reread: Callable[[], Awaitable[Holder]],
    ) -> Hold:
        """Hold what `ceiling` says on every scope at once; `reread` fetches the holder anew when it has changed.

        `ceiling` is asked at every try, since what is usual may become known while the request waits.

        Raises LLMError: "over_budget", "budget_held" when others held it for too long, "authentication" when the key
        is gone meanwhile; StoreDown.
        """

        async def ask(patient: bool, crowded: bool) -> Hold | Refused:
            nonlocal holder
            gone = False
            for _ in range(REREADS):
                wanted = self._counters(holder)
                made = self._made(request_id, holder, wanted, ceiling(), patient, crowded)
                answer = await self._reserve(made)
                if isinstance(answer, Granted):
                    return Hold(request_id, holder, wanted, answer.nanousd)
                if answer.reason == "window":
                    self._skew_s = answer.now_s - self._now()
                elif answer.reason in ("stale", "gone"):
                    gone = answer.reason == "gone"
                    holder = await reread()
                else:
                    return answer
            if gone:
                raise refused(holder.key, "expired")
            raise LLMError("unavailable", "The key kept changing while the request waited")

        free = ceiling().most <= 0  # what costs nothing waits for nobody
        line = None if free else next((c.name for c in self._counters(holder) if c.name in self._lines), None)
        answer = Refused("held", line) if line else await ask(self._wait_s > 0, False)
        if isinstance(answer, Refused) and answer.reason == "held" and self._wait_s > 0:
            answer = await self._in_line(answer.counter, ask)
        if isinstance(answer, Refused):
            raise self._refusal(answer, holder)
        return answer

    async def settle(self, bill: Bill) -> Settled:
        """Write the bill and give back the rest of the hold; goes on when the request is cancelled.

        Raises StoreDown.
        """
        settled = await asyncio.shield(asyncio.ensure_future(self._store.settle(bill)))
        for counter in bill.counters:
            if line := self._lines.get(counter.name):
                line[0].set()
        return settled

    def settle_later(self, bill: Bill) -> None:
        """Go on trying to have a bill taken, for as long as this worker lives. It is in the log as well."""
        if len(self._later) < MOST_LATER:
            self._later.append(bill)
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.ensure_future(self._catch_up())

    async def close(self) -> None:
        """Wait for what is still being given back, and try once more to have late bills taken."""
        await asyncio.gather(*self._leaving)
        if self._catching_up is not None:
            self._catching_up.cancel()
        for bill in tuple(self._later):
            try:
                await self.settle(bill)
            except StoreDown:
                return

    async def _catch_up(self) -> None:
        while self._later:
            try:
                await self.settle(self._later[0])
            except StoreDown:
                await asyncio.sleep(CATCH_UP_S)
            else:
                self._later.popleft()

    async def _reserve(self, ask: Ask) -> Granted | Refused:
        step = asyncio.ensure_future(self._store.reserve(ask))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:  # the client went while the store was at it: what it grants is given back
            leaving = asyncio.ensure_future(self._give_back(step, ask))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            raise
        except StoreDown:  # it may have been held all the same, and only the answer was lost
            self.settle_later(_unused(ask))
            raise

    async def _give_back(self, step: "asyncio.Future[Granted | Refused]", ask: Ask) -> None:
        try:
            if isinstance(await step, Granted):
                await self.settle(_unused(ask))
        except StoreDown:
            self.settle_later(_unused(ask))

    async def _in_line(self, counter: str, ask: Callable[[bool, bool], Awaitable[Hold | Refused]]) -> Hold | Refused:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_s
        line = self._lines.setdefault(counter, deque())
        ticket = asyncio.Event()
        line.append(ticket)
        try:
            while (left := deadline - loop.time()) > 0:
                first = line[0] is ticket
                if first:
                    ticket.clear()
                    answer = await ask(True, len(line) > 1)
                    if not isinstance(answer, Refused) or answer.reason != "held":
                        return answer
                try:
                    async with asyncio.timeout(min(left, POLL_S) if first else left):
                        await ticket.wait()
                except TimeoutError:
                    continue
            return await ask(False, True)
        finally:
            line.remove(ticket)
            if line:
                line[0].set()
            else:
                self._lines.pop(counter, None)

    def _counters(self, holder: Holder) -> tuple[Counter, ...]:
        return counters(holder.key, holder.team, self._now() + self._skew_s)

    @staticmethod
    def _made(
        request_id: str,
        holder: Holder,
        wanted: tuple[Counter, ...],
        ceiling: Ceiling,
        patient: bool,
        crowded: bool,
    ) -> Ask:
        return Ask(
            request_id=request_id,
            key_id=holder.key.id,
            key_version=holder.key.version,
            team_id=holder.team.id if holder.team else None,
            team_version=holder.team.version if holder.team else 0,
            counters=wanted,
            least_nanousd=ceiling.least,
            usual_nanousd=ceiling.usual,
            most_nanousd=ceiling.most,
            whole=ceiling.whole and not crowded,
            patient=patient,
        )

    @staticmethod
    def _refusal(answer: Refused, holder: Holder) -> LLMError:
        scope, _, window = answer.counter.partition("|")
        whose = "team" if scope.startswith("team:") else "key"
        span = "" if window == "total" else f" for {window}"
        if answer.reason == "over_budget":
            return LLMError(
                "over_budget",
                f"The budget of this {whose}{span} does not cover this request",
                headers={"x-should-retry": "false"},
            )
        return LLMError(
            "budget_held",
            f"The rest of the budget of this {whose}{span} is held by requests that are still running",
            retry_after_s=1,
        )


def _unused(ask: Ask) -> Bill:
    """The bill of a hold that nothing came of."""
    return Bill(ask.request_id, ask.key_id, ask.team_id, ask.counters, 0, ending="hung_up")
