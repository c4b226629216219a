"""What a chaos run is played on: how much of everything, the processes, and the questions that every phase asks."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checks import Books, Figures, Key
from tests.chaos.clients import Call, Outcome, ask_all
from tests.chaos.processes import CountingUpstream, Gateway, RedisServer
from tests.chaos.upstream import Count, Order

PLENTY = 10**12  # a cap that nothing here comes near: a thousand dollars
CHECKPOINT_S = 0.35  # between two checkpoints (0.25), and for the store to take one: what a dead worker leaves unbilled


@dataclass(frozen=True)
class Form:
    """How much of everything."""

    lease_s: float
    burst: int  # requests at once …
    room: int  # … on a key with a budget for so many answers
    burst_tokens: int
    burst_pace_ms: int
    step: int  # hang up at every event, every second …
    streams: int  # under way when a worker is killed
    down_s: float  # how long Redis is away between its death and its next start
    paused_s: tuple[float, ...]  # how long it is stopped
    locked_s: float  # how long the embedded store is
    cut_s: float  # how long Redis's answers are being lost
    exact: bool  # all there is, one thing at a time, so that how soon a hang-up is heard of can be told


LONG = Form(
    *(10, 1000, 100, 40, 15, 1, 40),
    down_s=1.5,
    paused_s=(3, 15),
    locked_s=7,
    cut_s=6,
    exact=True,
)
SHORT = Form(
    *(2, 100, 10, 20, 10, 3, 12),
    down_s=0.8,
    paused_s=(1.6,),
    locked_s=2.5,
    cut_s=1,
    exact=False,
)


class Stage:
    """What the phases play on."""

    def __init__(
        self,
        form: Form,
        gateway: Gateway,
        upstream: CountingUpstream,
        redis: RedisServer | None,
        path: Path,
        seed: int,
    ) -> None:
        self.form = form
        self.gateway = gateway
        self.upstream = upstream
        self.redis = redis
        self.path = path
        self.chance = random.Random(seed)
        self.books = Books(gateway, upstream)
        self._made = 0

    async def key(self, cap_nanousd: int | None = None, **limits: object) -> Key:
        """A new virtual key."""
        self._made += 1
        fields: dict[str, object] = {"key_alias": f"chaos-{self._made}", **limits}
        if cap_nanousd is not None:
            fields["max_budget"] = f"{cap_nanousd / 10**9:.9f}"
        made = await self.gateway.admin("POST", "keys", fields)
        return Key(made["id"], made["key"], cap_nanousd)

    async def ask_all(self, calls: Sequence[Call]) -> list[Outcome]:
        """All at once."""
        return await ask_all(self.gateway.port, calls)

    async def counts(self, outcomes: Iterable[Outcome]) -> list[Count]:
        """The upstream's, of these calls' models."""
        models = {outcome.call.order.model for outcome in outcomes}
        return [count for count in await asyncio.to_thread(self.upstream.counts) if count.model in models]


def expect_only(figures: Figures, outcomes: Iterable[Outcome], statuses: set[int], codes: set[str]) -> None:
    """Note it when clients were told anything but these."""
    strange = [o for o in outcomes if o.status not in statuses or (o.status != 200 and o.code not in codes)]
    said = sorted({f"{outcome.status} {outcome.code}" for outcome in strange})
    figures.expect(not strange, f"{len(strange)} clients were told {said}")


async def expect_free_slots(stage: Stage, figures: Figures, key: Key, slots: int) -> None:
    """All of a key's slots can be taken at once; the answers take long enough that all run together."""
    order = Order(f"slots {figures.phase}", tokens=1, pace_ms=1, wait_ms=500)
    outcomes = await stage.ask_all([Call(key.token, order, False)] * slots)
    free = sum(outcome.in_full for outcome in outcomes)
    told = sorted({f"{outcome.status} {outcome.code}" for outcome in outcomes if not outcome.in_full})
    figures.expect(free == slots, f"{slots - free} of {slots} slots are not free: {told}")


def short_call(key: Key, tag: str, tokens: int = 10) -> Call:
    """A request that takes a tenth of a second, or a longer one, which is streamed."""
    kind = "capped" if key.cap_nanousd is not None else "free"
    return Call(key.token, Order(f"{kind} {tag}", tokens=tokens, pace_ms=10), stream=tokens > 10)


async def warm(stage: Stage, name: str, keys: Sequence[Key]) -> list[Outcome]:
    """Requests until both workers know the keys: whose they are is for the operating system to say."""
    outcomes: list[Outcome] = []
    for key in keys:
        met: set[int] = set()
        for wave in range(50):
            calls = [short_call(key, f"{name} warm {wave} {at}") for at in range(6)]
            running = asyncio.ensure_future(stage.ask_all(calls))
            await asyncio.sleep(0.05)  # of the 0.1 that they take
            met |= {pid for pid, clients in stage.gateway.clients().items() if clients}
            outcomes += await running
            if len(met) == 2:
                break
    return outcomes
