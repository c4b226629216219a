"""What a ledger's store must do: the values that go in and out, and the Protocol that Redis and SQLite both keep.

Amounts are integers in nano-USD (1e-9 USD), times are Unix seconds on the store's clock. A *counter* is one running
sum: a scope (`key:<id>`, `team:<id>`) within a window (`total`, `1d:2026-11-20`), so that a new window begins by itself
at zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from translators.outcomes import Unsupported

OnCap = Literal["clamp", "refuse"]
Kind = Literal["key", "team"]
MAX_NANOUSD = 9_000_000 * 10**9  # a Lua number counts exactly up to 2**53: nine million dollars


class Budget(BaseModel):
    """A cap on one scope. `duration` None means the scope's whole life; `soft` caps only warn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_nanousd: int
    duration: str | None = None
    on_cap: OnCap = "clamp"
    soft: bool = False
    main: bool = False  # the record's own `max_budget`; the others are its list of `budgets`


class Record(BaseModel):
    """A virtual key or a team, as stored. `version` rises at every change; the reserve checks it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Kind
    alias: str | None = None
    team_id: str | None = None
    models: tuple[str, ...] = ()  # patterns; empty: every model
    unsupported: Unsupported | None = None  # a key's; None: as the route or the provider has it
    budgets: tuple[Budget, ...] = ()
    expires: float | None = None
    revoked: bool = False
    metadata: dict[str, Any] = {}
    created_at: float = 0.0
    hint: str = ""  # the key's first and last characters, to tell keys apart in a list
    version: int = 1


class Holder(NamedTuple):
    """Whom a bearer token belongs to. `token_expires` is set while a rotated-out token has its grace period."""

    key: Record
    team: Record | None
    token_expires: float | None

    @property
    def records(self) -> tuple[Record, ...]:
        """The key, and its team if it has one: all that must allow a request."""
        return (self.key,) if self.team is None else (self.key, self.team)


class Conflict(Exception):
    """The record changed since it was read, or its id or alias is taken."""


class StoreDown(Exception):
    """The store cannot be reached, or does not answer in time."""


@dataclass(frozen=True, slots=True)
class Counter:
    """One running sum that a request adds to, and its cap if it has one."""

    scope: str
    window: str  # "total", or the duration and the window's beginning
    start_s: float = 0.0
    end_s: float = 0.0  # 0: no end
    cap_nanousd: int | None = None
    on_cap: OnCap = "clamp"

    @property
    def name(self) -> str:
        return f"{self.scope}|{self.window}"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request would like to hold, on every one of its counters at once."""

    request_id: str
    key_id: str
    key_version: int
    team_id: str | None
    team_version: int
    counters: tuple[Counter, ...]
    least_nanousd: int  # below this an answer is of no use
    usual_nanousd: int  # enough for most answers
    most_nanousd: int  # the ceiling: nothing can cost more
    whole: bool = False  # hold `most` where it fits: the caller named its own limit, and nobody waits behind it
    patient: bool = True  # would rather wait for what others hold than be content with less


class Granted(NamedTuple):
    """`nanousd` is held on every counter."""

    nanousd: int


class Refused(NamedTuple):
    """Nothing is held. `over_budget`: spent; `held`: others hold it and may give it back; `stale`: the key or team
    changed, read it again; `gone`: the key no longer exists or is revoked; `window`: the worker's clock is off, use
    `now_s`.
    """

    reason: Literal["over_budget", "held", "stale", "gone", "window"]
    counter: str = ""  # whose cap it was
    now_s: float = 0.0


class Balance(NamedTuple):
    """One counter as it stands."""

    scope: str
    window: str
    spent_nanousd: int
    held_nanousd: int


@dataclass(frozen=True, slots=True)
class Bill:
    """The end of a request: what it cost and what there is to know of it. Written to the journal as it is."""

    request_id: str
    key_id: str
    team_id: str | None
    counters: tuple[Counter, ...]  # the same that were asked for: the bill belongs to the window of the reserve
    cost_nanousd: int
    usage: Mapping[str, int] = field(default_factory=dict)  # billed buckets by name
    model: str = ""  # as the caller asked
    target: str = ""  # provider/model that answered; "" when none did
    ending: str = ""  # done, failed, hung_up, refused …
    estimated: bool = False
    unpriced: bool = False
    price: str = ""  # the row of pricing.yaml that was applied
    latency_ms: int = 0
    first_token_ms: int | None = None
    attempts: int = 0
    key_alias: str | None = None


class Settled(NamedTuple):
    """`first` is False when this request was settled before: then nothing changed.
    `overrun_nanousd` is by how much the bill exceeded its hold."""

    first: bool
    overrun_nanousd: int


class Entry(NamedTuple):
    """One journal entry. `id` orders entries and pages through them; `at_s` is the store's time of the settle."""

    id: str
    at_s: float
    bill: Mapping[str, Any]  # Bill's fields without `counters`


class Store(Protocol):
    """Redis or SQLite. Every method raises StoreDown when the store cannot answer in time."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def ping(self) -> None: ...

    # --- keys and teams
    async def create(self, record: Record, digest: str | None = None) -> None:
        """Add a record; a key comes with the digest of its token.

        Raises Conflict when the id or the alias (per kind) is taken.
        """
        ...

    async def get(self, kind: Kind, id: str) -> Record | None: ...

    async def find(self, kind: Kind, alias: str) -> Record | None: ...

    async def list(self, kind: Kind, after: str = "", limit: int = 100) -> Sequence[Record]:
        """In order of id, those behind `after`."""
        ...

    async def replace(self, record: Record) -> None:
        """Write `record`, whose version is one above what is stored.

        Raises Conflict when it is not, or its alias is taken.
        """
        ...

    async def rotate(self, id: str, version: int, digest: str, hint: str, grace_s: float) -> Record:
        """Bind a new token to a key; its older ones end after `grace_s`.

        Raises Conflict when the version is another.
        """
        ...

    async def holder(self, digest: str) -> Holder | None:
        """Whom a token belongs to; None when it is unknown or its grace period is over."""
        ...

    # --- money
    async def reserve(self, ask: Ask) -> Granted | Refused:
        """One atomic step over all counters; idempotent by request id (a live hold is granted again as it is)."""
        ...

    async def settle(self, bill: Bill) -> Settled:
        """Release the hold, add the cost to every counter, write the journal entry: all or nothing.

        Idempotent by request id. A bill whose hold is not there (a refused one, a lost one) is booked all the same.
        """
        ...

    async def balances(self, scopes: Sequence[str]) -> Sequence[Balance]:
        """Every counter of these scopes that is not past."""
        ...

    async def journal(self, start_s: float, end_s: float, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        """Entries with start_s ≤ at_s < end_s, oldest first, those behind `after`."""
        ...

    # --- odds and ends that outlive a worker
    async def claim(self, name: str, value: str) -> str:
        """Set `name` to `value` unless it is set; what it is now."""
        ...

    async def remember(self, items: Mapping[str, bytes], ttl_s: float) -> None: ...

    async def recall(self, names: Sequence[str]) -> Mapping[str, bytes]: ...


SHARE = 8  # a request whose length is not known takes at most this part of what is free


def grant(ask: Ask, balances: Sequence[tuple[int, int]]) -> Granted | Refused:
    """How much of `ask` fits: the one rule that both stores apply, inside their atomic step.

    `balances` holds (spent, held) per counter of the ask. Every uncapped counter fits everything, and what costs
    nothing fits everywhere. A cap with `refuse` takes the ceiling or nothing. Otherwise a request takes its ceiling if
    it says `whole` and it fits; else what is usual or an eighth of what is free, whichever is more, so that many can
    run on a small cap at once. Where others hold that, a patient one would rather wait, and an impatient one is content
    with whatever is of use. The Lua script mirrors this line by line.
    """
    left = [
        (counter.cap_nanousd - spent, held, counter)
        for counter, (spent, held) in zip(ask.counters, balances, strict=True)
        if counter.cap_nanousd is not None
    ]
    if not left or ask.most_nanousd <= 0:
        return Granted(ask.most_nanousd)
    afford, spent_out = min((unspent, counter.name) for unspent, _, counter in left)
    free, tightest = min((unspent - held, counter.name) for unspent, held, counter in left)
    strict = any(counter.on_cap == "refuse" for _, _, counter in left)
    if afford < (ask.most_nanousd if strict else ask.least_nanousd) or afford <= 0:
        return Refused("over_budget", spent_out)
    if free >= ask.most_nanousd and (strict or ask.whole):
        return Granted(ask.most_nanousd)
    want = ask.most_nanousd if strict else min(ask.most_nanousd, max(ask.usual_nanousd, free // SHARE))
    if free >= want:
        return Granted(want)
    if strict or free < ask.least_nanousd or free <= 0 or (ask.patient and free < afford):
        return Refused("held", tightest)
    return Granted(free)
