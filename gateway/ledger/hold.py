"""A hold: money set aside for one request before it goes out, raised while it runs, settled at its ending."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gateway.alerts import Alerts
from gateway.deadlines import Deadlines
from gateway.ledger.journal import bill_of
from gateway.ledger.lines import Lines
from gateway.ledger.parties import Dues, Names, Parties, counters
from gateway.ledger.refusals import Told, refusal
from gateway.ledger.spool import Spool, SpoolFailed
from gateway.ledger.store import (
    Answer,
    Ask,
    Bill,
    Counter,
    Granted,
    Growth,
    Level,
    Meter,
    Promise,
    Refused,
    Settled,
    Store,
    StoreDown,
)
from gateway.telemetry import unsettled
from translators.errors import LLMError

PRESSED = 0.8  # of its patience left: then a request makes do with less than it would like to begin with
REREADS = 5  # how often a record may change, or a window turn, under one request
SETTLE_PAUSES_S = (0.05, 0.2)  # between the tries to have a bill taken, before it is spooled
SETTLE_S = 2.0  # for all of them: the client waits. A store that takes it after all takes it once

Reread = Callable[[], Awaitable[Parties]]


@dataclass(slots=True)
class Ceiling:
    """What a request may cost, in nano-USD. `whole`: the caller set the limit of the answer's length. `tokens`: what it
    probably comes to, and below `least_tokens` an answer is of no use."""

    least: int
    usual: int
    most: int
    whole: bool
    tokens: int = 0
    least_tokens: int = 0


@dataclass(slots=True)
class Hold:
    """What is held for one request, on which counters, for whom. `began_s` is on the store's clock."""

    request_id: str
    parties: Parties  # whose bill it is, as the counters are: as they stood at the reserve
    names: Names
    counters: tuple[Counter, ...]
    nanousd: int
    began_s: float
    afford_nanousd: int | None = None  # all that its caps had not spent; None where nothing caps it
    tokens: int = 0
    meters: tuple[Meter, ...] = ()
    levels: tuple[Level, ...] = ()
    told: Told = ()  # which of the meters the rate headers are about
    offline: bool = False  # the store is away, and nothing is held: the bill goes through the spool
    renewed_s: float = 0.0  # time.monotonic(), as a loop has it, from which its lease runs
    looked_s: float = 0.0  # likewise, when it was last looked at for that; 0.0: not yet
    saved_nanousd: int = 0  # at its last checkpoint
    progress: Callable[[], Bill | None] | None = None  # what it would be billed now
    lost: Callable[[], None] | None = None  # called when its lease cannot be kept
    reread: Parties | None = None  # as they stand now, where a growth has found them changed

    @property
    def capped(self) -> bool:
        """Whether any cap stands over this request."""
        return any(counter.cap_nanousd is not None for counter in self.counters)


def nothing() -> None:
    """What there is to do meanwhile, mostly."""


@dataclass(slots=True)
class Wish:
    """Who asks for a hold, for what. `line` is the journal's, should the worker die with the hold."""

    request_id: str
    parties: Parties  # read again where the store knows better
    names: Names  # of the model
    ceiling: Callable[[bool], Ceiling]  # asked at every try: what is usual may become known while the request waits;
    # True: it has waited for long, and makes do with less
    reread: Reread
    line: bytes
    meanwhile: Callable[[], None] = nothing  # called at every try, while the store looks


class Ledger:
    """Reserves, grows and settles over a store, with the waiting lines in front and the spool behind."""

    def __init__(
        self,
        store: Store,
        spool: Spool,
        alerts: Alerts,
        now: Callable[[], float],
        deadlines: Deadlines,
        *,
        wait_s: float,
        lease_s: float,
        trusts: Callable[[Parties], bool],
        doubts: Callable[[Parties], None],
    ) -> None:
        self.live: dict[str, Hold] = {}
        self._store = store
        self._spool = spool
        self._alerts = alerts
        self._now = now
        self._deadlines = deadlines
        self.lease_s = lease_s
        self._trusts = trusts  # whether these were confirmed by the store not long ago
        self._doubts = doubts  # told of those that it does not know so
        self._skew_s = 0.0  # the store's clock less ours, learned when a window did not fit
        self._lines = Lines(wait_s)
        self.waits = wait_s > 0  # whether there are lines to wait in
        self._leaving: set[asyncio.Task[Any]] = set()

    async def reserve(self, wish: Wish) -> Hold:
        """Hold what `wish` says on every scope at once.

        Raises LLMError: "over_budget"; "budget_held" when others held it for too long; "rate_exceeded";
        "authentication" when the key is gone meanwhile. Raises StoreDown, unless nothing bounds the request.
        """
        ceiling, dues, now_s = self._terms(wish, pressed=False)
        free = ceiling.most <= 0  # what costs nothing waits for nobody
        line = None if free or not self.waits else self._lines.before(dues.counters)
        try:
            answer = Refused("held", line) if line else await self._asked(wish, ceiling, dues, now_s, 1.0, False)
            if isinstance(answer, Refused) and answer.reason == "held" and self.waits:
                answer = await self._lines.wait(answer.name, partial(self._asked_in_turn, wish))
        except StoreDown:
            if wish.parties.bounded or not self._trusts(wish.parties):
                raise
            ceiling, dues, now_s = self._terms(wish, pressed=False)
            whose = wish.request_id, wish.parties, wish.names
            return Hold(*whose, dues.counters, ceiling.most, now_s, offline=True)
        if isinstance(answer, Refused):
            dues = wish.parties.dues(wish.names, self.now())
            raise refusal(answer, dues.meters, dues.counters, ceiling.least, ceiling.most)
        self.live[wish.request_id] = answer
        return answer

    def _terms(self, wish: Wish, *, pressed: bool) -> tuple[Ceiling, Dues, float]:
        """What it may cost, on whom it counts, and the one time that both are of."""
        now_s = self.now()
        return wish.ceiling(pressed), wish.parties.dues(wish.names, now_s), now_s

    async def _asked_in_turn(self, wish: Wish, patience: float, crowded: bool) -> Hold | Refused:
        return await self._asked(wish, *self._terms(wish, pressed=patience < PRESSED), patience, crowded)

    async def _asked(
        self, wish: Wish, ceiling: Ceiling, dues: Dues, began_s: float, patience: float, crowded: bool
    ) -> Hold | Refused:
        """The store's answer, over changes of the records and turns of the windows."""
        gone = False
        for _ in range(REREADS):
            ask = Ask(
                wish.request_id,
                wish.parties.standings,
                dues.counters,
                ceiling.least,
                ceiling.usual,
                ceiling.most,
                ceiling.whole and not crowded,
                patience > 0 and self.waits,
                dues.meters,
                ceiling.tokens,
                ceiling.least_tokens,
                self.lease_s,
                wish.line,
            )
            renewed_s = time.monotonic()
            step = self._store.reserve(ask)
            try:
                wish.meanwhile()  # the call is on its way, unless it waits for others
                answer = await step
            except StoreDown:
                raise
            except BaseException:  # what is granted to a caller who is gone meanwhile is given back
                self._leave(self._give_back(step, ask))
                raise
            if isinstance(answer, Granted):
                nanousd, afford, taken, levels = answer
                return Hold(
                    wish.request_id,
                    wish.parties,
                    wish.names,
                    dues.counters,
                    nanousd,
                    began_s,
                    afford,
                    taken,
                    dues.meters,
                    levels,
                    dues.told,
                    renewed_s=renewed_s,
                )
            if answer.reason == "window":
                self.synchronise(answer.now_s)
            elif answer.reason in ("stale", "gone"):
                gone = answer.reason == "gone"
                self._doubts(wish.parties)  # the store may be gone before they are read again
                wish.parties = await wish.reread()
            else:
                return answer
            ceiling, dues, began_s = self._terms(wish, pressed=patience < PRESSED)
        if gone:
            raise LLMError("authentication", "The API key or its team is gone", code="key_expired")
        raise LLMError("unavailable", "The key kept changing while the request waited")

    async def grow(self, hold: Hold, least_nanousd: int, more_nanousd: int, reread: Reread) -> Granted | Refused:
        """Raise `hold` by `more_nanousd`, or by what is free if that is at least `least_nanousd`.

        Raises StoreDown.
        """
        if hold.offline:
            return Granted(hold.nanousd)
        for _ in range(REREADS):
            payers = hold.reread or hold.parties
            caps = {each.name: each for each in counters(payers.parties, hold.names, hold.began_s, self.now())}
            scopes = tuple([party.scope for party in payers.parties])
            # a cap that was taken away is none; that of a team which the key has left stands, and the bill is on it
            hold.counters = tuple(
                caps.get(each.name) or (replace(each, cap_nanousd=None) if each.scope.endswith(scopes) else each)
                for each in hold.counters
            )
            answer = await self._store.grow(
                Growth(
                    *(hold.request_id, payers.standings, hold.counters),
                    *(hold.nanousd, least_nanousd, more_nanousd),
                )
            )
            if isinstance(answer, Granted):
                hold.nanousd = answer.nanousd
                return answer
            if answer.reason in ("stale", "gone"):
                self._doubts(payers)
            if answer.reason != "stale":
                return answer
            hold.reread = await reread()
        return Refused("held")

    async def settle(self, bill: Bill, *, offline: bool = False) -> Settled:
        """Have the bill taken: by the store, which gives back the rest of the hold, or else by the spool; at once by
        the spool where the request was let through without the store.

        Goes on when the request is cancelled. Raises StoreDown when neither takes it; to who was cancelled it cannot,
        and the bill is in the log.
        """
        self.live.pop(bill.request_id, None)
        if offline:
            return await self._outlasting(self._spooled(bill), bill)
        deadline_s = time.monotonic() + SETTLE_S
        try:
            step = self._store.settle(bill)
            call_off = self._deadlines.after(SETTLE_S, partial(_give_up, step))
            try:
                return self._taken(bill, await step)
            finally:
                call_off()
        except asyncio.CancelledError:
            self._leave(self._finish(step, bill, deadline_s)).add_done_callback(partial(_told_if_lost, bill))
            raise
        except StoreDown:
            return await self._outlasting(self._insist(bill, deadline_s), bill)

    async def close(self) -> None:
        """Wait for what is still being given back, or billed."""
        if self._leaving:
            await asyncio.wait(self._leaving)

    def now(self) -> float:
        """Unix seconds on the store's clock, as far as it is known."""
        return self._now() + self._skew_s

    def synchronise(self, store_s: float) -> None:
        """Take the store's time over."""
        self._skew_s = store_s - self._now()

    async def _outlasting(self, rest: Coroutine[Any, Any, Settled], bill: Bill) -> Settled:
        """What `rest` comes to, which goes on when its caller is cancelled."""
        going = self._leave(rest)
        try:
            return await asyncio.shield(going)
        except asyncio.CancelledError:
            going.add_done_callback(partial(_told_if_lost, bill))
            raise

    async def _finish(self, step: Promise[Settled], bill: Bill, deadline_s: float) -> Settled:
        """The rest of a settle whose caller is gone."""
        try:
            return self._taken(bill, await step)
        except StoreDown:
            return await self._insist(bill, deadline_s)

    async def _insist(self, bill: Bill, deadline_s: float) -> Settled:
        """What the store did not take at once: some more tries, and then the spool."""
        for pause_s in SETTLE_PAUSES_S:
            if time.monotonic() + pause_s >= deadline_s:
                break
            await asyncio.sleep(pause_s)
            try:
                step = self._store.settle(bill)
                timer = step.get_loop().call_later(deadline_s - time.monotonic(), _give_up, step)
                try:
                    return self._taken(bill, await step)
                finally:
                    timer.cancel()
            except StoreDown:
                continue
        return await self._spooled(bill)

    async def _spooled(self, bill: Bill) -> Settled:
        try:
            await self._spool.add(bill)
        except SpoolFailed as error:
            raise StoreDown(f"and the spool does not take the bill: {error}") from error
        return Settled(first=True)

    async def settle_once(self, bill: Bill) -> Settled:
        """One try to have the store take `bill`. Raises StoreDown."""
        return self._taken(bill, await self._store.settle(bill))

    def _taken(self, bill: Bill, settled: Settled) -> Settled:
        self._lines.freed(bill.counters)
        self._alerts.tell(bill, settled)
        return settled

    async def _give_back(self, step: Promise[Granted | Refused], ask: Ask) -> None:
        """A store that is out of reach gives it back itself when the lease is over."""
        try:
            if isinstance(await step, Granted):
                await self.settle_once(_abandoned(ask))
        except StoreDown:
            pass

    def _leave(self, rest: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        """Let the rest go on by itself: its caller is gone, or may go."""
        leaving = asyncio.ensure_future(rest)
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        return leaving


def _told_if_lost(bill: Bill, rest: asyncio.Task[Settled]) -> None:
    """Nobody else hears that it was not taken."""
    if rest.cancelled() or rest.exception() is not None:
        unsettled(bill)


def _abandoned(ask: Ask) -> Bill:
    """The bill of a request whose caller went before it was sent: whose it was stands in its line."""
    whose = bill_of(ask.line, ask.request_id)
    return Bill(
        *(ask.request_id, whose["key_id"], whose["team_id"], ask.counters, 0),
        model=whose["model"],
        ending="hung_up",
        key_alias=whose["key_alias"],
        end_user=whose["end_user"],
        tags=tuple(whose["tags"]),
    )


def _give_up(step: Promise[Settled]) -> None:
    if not step.done():
        step.set_exception(StoreDown(f"the store does not take a bill within {SETTLE_S:g} s"))
