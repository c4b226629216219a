"""What a worker does for its holds while they live (leases, checkpoints), and for those of dead workers (the reaper).

A hold that is not renewed in time is settled by whoever notices, at its last checkpoint: so a
worker that cannot reach the store stops its capped requests before that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from gateway.ledger.hold import Hold, Ledger
from gateway.ledger.journal import line
from gateway.ledger.spool import Spool, SpoolFailed
from gateway.ledger.store import Beat, Store, StoreDown

BEATS_AT_ONCE = 32  # holds seen to in one go, half a millisecond: what comes meanwhile has its turn
APART_S = 0.002  # between two goes while the first has no answer: all at once, they would be before whoever comes then
# Beats between two looks at one hold, each of which has a time of its own: all at once, 512 streams are for 30 ms a
# third more than a core has that they fill to three quarters, and whoever comes then waits until it has caught up.
BEATS = 8
REAPED = 100  # holds settled in one step, so that others have their turn
# between looks for holds whose lease is over, and for bills in the spool; well below rules.PAUSE_S
REAP_S = 1.0
ADOPT_S = 10.0  # between looks for the bills of dead processes
LAST_S = 2.0  # for the spool, when the process ends
MARGIN = 5  # a request is stopped when a fifth of its lease is left

log = logging.getLogger("headgate")

_Sent = dict[asyncio.Task[Sequence[str]], tuple[Sequence[Beat], float]]  # what was sent when


class Pulse:
    """From `start` to `stop` looks at each hold every `checkpoint_s` seconds, first when it is as old as that."""

    def __init__(self, store: Store, ledger: Ledger, spool: Spool, checkpoint_s: float) -> None:
        self._store = store
        self._ledger = ledger
        self._spool = spool
        self._checkpoint_s = checkpoint_s
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._adopted_s = 0.0
        self._away = False  # the store, as it was last seen

    def start(self) -> None:
        """Begin to beat."""
        steps = ((self.beat, self._checkpoint_s / BEATS), (self.reap, REAP_S), (self.unspool, REAP_S))
        self._tasks = tuple(asyncio.ensure_future(_for_ever(step, every_s)) for step, every_s in steps)

    async def stop(self) -> None:
        """End, and have what waits in the spool taken once more if the store is there."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_S):
                await self.unspool()
        except (TimeoutError, SpoolFailed) as error:
            log.warning("bills stay in the spool for the next start: %s", error)

    async def beat(self) -> None:
        """Checkpoint and renew what is due before the next beat; stop what cannot be renewed in time."""
        lease_s, all_live = self._ledger.lease_s, self._ledger.live
        due_s = self._now() - self._checkpoint_s * (1 - 1 / BEATS)
        holds = [hold for hold in all_live.values() if (hold.looked_s or hold.renewed_s) <= due_s]
        live = {hold.request_id: hold for hold in holds}
        sent: _Sent = {}
        try:
            # none waits for long for another's answer: a store may be as slow as it is, and the holds any number
            for at in range(0, len(holds), BEATS_AT_ONCE):
                sent_s = self._now()
                beats = [beat for hold in holds[at : at + BEATS_AT_ONCE] if (beat := _beat(hold, sent_s, lease_s))]
                if not beats:
                    await asyncio.sleep(0)
                    continue
                task = asyncio.create_task(self._store.renew(beats, lease_s))
                sent[task] = beats, sent_s
                await asyncio.wait((task,), timeout=APART_S)
            await self._answered(live, sent.copy(), self._now() + lease_s / MARGIN)
        finally:
            for task in sent:
                task.cancel()
            await asyncio.gather(*sent, return_exceptions=True)
        late_s = self._now() - lease_s * (1 - 1 / MARGIN)
        for hold in [hold for hold in all_live.values() if hold.renewed_s < late_s]:
            _stop(hold)

    async def _answered(self, live: Mapping[str, Hold], waiting: _Sent, until_s: float) -> None:
        """See to the answers as they come, each in a go of its own."""
        while waiting:
            left_s = max(0.0, until_s - self._now())
            done, _ = await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return  # the next beat tries again; what cannot be renewed in time is stopped
            for task in done:
                beats, sent_s = waiting.pop(task)
                try:
                    self._renewed(live, beats, task.result(), sent_s)
                except StoreDown:
                    continue  # the same
                await asyncio.sleep(0)

    @staticmethod
    def _renewed(live: Mapping[str, Hold], beats: Sequence[Beat], gone: Sequence[str], sent_s: float) -> None:
        for beat in beats:
            hold = live[beat.request_id]
            hold.renewed_s = sent_s
            if beat.line:
                hold.saved_nanousd = beat.cost_nanousd
        for id in gone:
            _stop(live[id])

    async def reap(self) -> None:
        """Settle the holds of dead workers; only when the store has been there for a lease, since everyone first renews
        what is theirs after an outage."""
        try:
            while reaped := await self._store.reap(REAPED, self._ledger.lease_s):
                log.warning("%d requests whose worker was gone were settled at their last checkpoint", reaped)
                if reaped < REAPED:
                    return
                await asyncio.sleep(0)  # many died at once: ours must be renewed meanwhile
        except StoreDown as error:  # the next beat tries again
            self._seen(str(error))
        else:
            self._seen("")

    def _seen(self, trouble: str) -> None:
        """Log it when the store goes away, and when it is back."""
        if bool(trouble) != self._away:
            self._away = bool(trouble)
            log.warning("the ledger's store is away: %s" if trouble else "the ledger's store is back%s", trouble)

    async def unspool(self) -> None:
        """Have the store take what waits in the spool; from time to time look for what a dead process has left."""
        now = self._now()
        if self._spool.pending() or now - self._adopted_s >= ADOPT_S:
            self._adopted_s = now
            if taken := await self._spool.replay(self._ledger.settle_once):
                log.warning("%d bills of the spool were taken by the store", taken)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def _for_ever(step: Callable[[], Awaitable[None]], every_s: float) -> None:
    now = asyncio.get_running_loop().time
    begun_s = now()
    while True:
        await asyncio.sleep(max(0.0, begun_s + every_s - now()))
        begun_s = now()
        try:
            await step()
        except Exception:  # a fault in one step must not end them all: no lease would be renewed any more
            log.exception("a beat of the ledger failed")


def _beat(hold: Hold, now_s: float, lease_s: float) -> Beat | None:
    """A checkpoint where the cost has risen, a mere sign of life where a third of the lease is over."""
    hold.looked_s = now_s
    try:
        bill = hold.progress() if hold.progress is not None else None
        if bill is not None and bill.cost_nanousd > hold.saved_nanousd:
            return Beat(hold.request_id, bill.cost_nanousd, line(bill))
    except Exception:  # one request that cannot be priced must not keep the others from being renewed
        log.exception("request %s has no checkpoint", hold.request_id)
        hold.progress = None
    return Beat(hold.request_id) if now_s - hold.renewed_s > lease_s / 3 else None


def _stop(hold: Hold) -> None:
    """Nothing bounds a request without caps, and its bill is booked whenever it comes: it may go on."""
    if hold.capped and hold.lost is not None:
        lost, hold.lost = hold.lost, None
        lost()
