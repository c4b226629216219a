"""What a ledger's store must do: the values that go in and out, and the Protocol that Redis and SQLite both keep.

Amounts are integers in nano-USD (1e-9 USD), times are Unix seconds on the store's clock. A *scope* is whoever a cap or
a limit is on (`key:<id>`, `team:<id>`, `org:default`, `user:<name>`, `tag:<name>`), or one of these for the models of
a pattern (`gpt-*@key:<id>`). A *counter* is one running sum of money: a scope within a window (`total`,
`1d:2026-11-20`), so that a new window begins by itself at zero. A *meter* is one limit on a scope: requests or tokens
in a sliding minute or day, or requests at once. A *hold* is a lease: who holds it renews it, and what is not renewed
in time is settled at what was last known of it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from translators.outcomes import Unsupported

OnCap = Literal["clamp", "refuse"]
Kind = Literal["org", "team", "key", "user", "tag"]
Measure = Literal["rpm", "tpm", "rpd", "tpd", "parallel"]
MAX_NANOUSD = 9_000_000 * 10**9  # a Lua number counts exactly up to 2**53: nine million dollars
MAX_TOKENS = 10**12  # of one request; both stores count to 2**63
ORG = "default"  # the id of the one organisation of a store
KEPT_S = 90 * 86_400  # how long a counter stays after its window's end; sums.lua has it too
EVERYONE = "*"  # the id of the record that holds for every end user (or tag) without one of its own


class Budget(BaseModel):
    """A cap on one scope. `duration` None means the scope's whole life; `soft` caps only warn."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer version's fields do not stop an older one

    max_nanousd: int
    duration: str | None = None
    on_cap: OnCap = "clamp"
    soft: bool = False
    main: bool = False  # the record's own `max_budget`; the others are its list of `budgets`
    model: str | None = None  # a pattern: only requests for these models count
    time_zone: str = "UTC"  # of the calendar's windows
    raised_nanousd: int = 0  # on top of `max_nanousd` until `raised_until`
    raised_until: float = 0.0
    was_nanousd: int = 0  # what it allowed at most before it was lowered, for the audit; MAX_NANOUSD: there was no cap
    was_until: float = 0.0


class Limits(BaseModel):
    """What a scope may do in a minute, in a day, at once; None: any number."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str | None = None  # a pattern: only requests for these models count
    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    parallel: int | None = None


class Record(BaseModel):
    """A virtual key, or another holder of caps and limits, as stored. `version` rises at every change."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    kind: Kind
    alias: str | None = None
    team_id: str | None = None
    models: tuple[str, ...] = ()  # patterns; empty: every model
    unsupported: Unsupported | None = None  # a key's; None: as the route or the provider has it
    budgets: tuple[Budget, ...] = ()
    limits: tuple[Limits, ...] = ()
    tags: tuple[str, ...] = ()  # a key's: every request of it counts for these
    expires: float | None = None
    revoked: bool = False
    metadata: dict[str, Any] = {}
    created_at: float = 0.0
    hint: str = ""  # the key's first and last characters, to tell keys apart in a list
    version: int = 1


@dataclass(slots=True)
class Holder:
    """Whom a bearer token belongs to. `token_expires` is set while a rotated-out token has its grace period."""

    key: Record
    team: Record | None
    token_expires: float | None
    records: tuple[Record, ...] = field(init=False, repr=False, compare=False)  # all that must allow a request
    # what every request asks for; a Record answers slowly
    key_id: str = field(init=False, repr=False, compare=False)
    tags: tuple[str, ...] = field(init=False, repr=False, compare=False)
    unsupported: Unsupported | None = field(init=False, repr=False, compare=False)
    any_model: bool = field(init=False, repr=False, compare=False)  # none of the records has a list of models

    def __post_init__(self) -> None:
        key, self.records = self.key, (self.key,) if self.team is None else (self.key, self.team)
        self.key_id, self.tags, self.unsupported = key.id, key.tags, key.unsupported
        self.any_model = not any(record.models for record in self.records)


class Conflict(Exception):
    """The record changed since it was read, or its id or alias is taken."""


class StoreDown(Exception):
    """The store cannot be reached, or does not answer in time."""


class Standing(NamedTuple):
    """What a worker believes of a record: its version, 0 for one that is not there. The reserve checks it."""

    kind: Kind
    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Counter:
    """One running sum that a request adds to, and its cap if it has one."""

    scope: str
    window: str  # "total", or the duration and the window's beginning
    start_s: float = 0.0
    end_s: float = 0.0  # 0: no end
    cap_nanousd: int | None = None
    on_cap: OnCap = "clamp"
    softs_nanousd: tuple[int, ...] = ()  # past each of these somebody is told; nothing is refused

    @property
    def name(self) -> str:
        return f"{self.scope}|{self.window}"


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit that a request counts against: `rpm` and `rpd` by one, `tpm` and `tpd` by its tokens, `parallel` by one
    for as long as it runs."""

    scope: str
    measure: Measure
    limit: int

    @property
    def name(self) -> str:
        return f"{self.scope}|{self.measure}"


@dataclass(slots=True)  # frozen, it would take twice as long to make; so with Bill
class Ask:
    """What a request would like to hold, on every one of its counters and meters at once."""

    request_id: str
    standings: tuple[Standing, ...]
    counters: tuple[Counter, ...]
    least_nanousd: int  # below this an answer is of no use
    usual_nanousd: int  # enough for most answers
    most_nanousd: int  # the ceiling: nothing can cost more
    whole: bool = False  # hold `most` where it fits: the caller named its own limit, and nobody waits behind it
    patient: bool = True  # would rather wait for what others hold than be content with less
    meters: tuple[Meter, ...] = ()
    tokens: int = 0  # what the request probably comes to, for the meters of tokens
    least_tokens: int = 0  # below this an answer is of no use
    lease_s: float = 10.0
    line: bytes = b""  # the journal's line, should the hold end without another word of it


Level = tuple[int, float]  # how full a meter is, this request included; in how many seconds nothing of it will count


class Granted(NamedTuple):
    """`nanousd` is held on every counter. `afford_nanousd`: the most that its caps have not spent, whoever holds it;
    None where nothing caps it. `tokens` is what the meters of tokens took. `levels` are the meters', in their order."""

    nanousd: int
    afford_nanousd: int | None = None
    tokens: int = 0
    levels: tuple[Level, ...] = ()


class Refused(NamedTuple):
    """Nothing is held. `over_budget`: spent; `held`: others hold it and may give it back; `rate`: a meter is full, with
    room again after `retry_after_s`; `too_large`: a meter will never have that room; `stale`: a record changed, read
    it again; `gone`: the key or team no longer exists or is revoked, or a hold that was to grow is not there;
    `window`: the worker's clock is off, use `now_s`. `name` is the counter's or the meter's; `left_nanousd` what a
    reserve found that this counter's cap has not spent, below 0 where it is in debt.
    """

    reason: Literal["over_budget", "held", "rate", "too_large", "stale", "gone", "window"]
    name: str = ""
    now_s: float = 0.0
    retry_after_s: float = 0.0
    left_nanousd: int = 0


@dataclass(frozen=True, slots=True)
class Growth:
    """What a running request would like to hold on top of the `held_nanousd` that it has, on the same counters."""

    request_id: str
    standings: tuple[Standing, ...]
    counters: tuple[Counter, ...]
    held_nanousd: int  # what it has: a step whose answer was lost is not taken twice
    least_nanousd: int
    more_nanousd: int


class Beat(NamedTuple):
    """A sign of life of one hold, and with `line` a checkpoint: what it would be settled at if no other came."""

    request_id: str
    cost_nanousd: int = 0
    line: bytes = b""


class Balance(NamedTuple):
    """One counter as it stands."""

    scope: str
    window: str
    spent_nanousd: int
    held_nanousd: int


@dataclass(slots=True)
class Bill:
    """The end of a request: what it cost and what there is to know of it. Written to the journal as it is."""

    request_id: str
    key_id: str
    team_id: str | None
    counters: tuple[Counter, ...]  # the same that were asked for: the bill belongs to the window of the reserve
    cost_nanousd: int
    usage: Mapping[str, int] = field(default_factory=dict)  # billed buckets by name
    model: str = ""  # as the caller asked
    target: str = ""  # provider/model that answered, or that is paid for having worked; "" when none did
    ending: str = ""  # done, failed, hung_up, cancelled, cut (by its cap), lost (its worker died) …
    estimated: bool = False
    unpriced: bool = False
    price: str = ""  # the row of pricing.yaml that was applied, and of when it is
    service_tier: str = ""  # as the provider said: with the buckets and the time, what the price depends on
    region: str = ""
    latency_ms: int = 0
    first_token_ms: int | None = None
    attempts: int = 0
    key_alias: str | None = None
    end_user: str | None = None
    tags: tuple[str, ...] = ()
    tokens: int = 0  # for the meters of tokens: what was used of what they took
    adjusts: bool = False  # the difference to a provisional bill of the same request


class Settled(NamedTuple):
    """`first` is False when this request was settled before: then no sum changed, and it is known for a week from now.
    `overrun_nanousd` is by how much the bill exceeded its hold. `spent` are the counters' sums after it, in order."""

    first: bool
    overrun_nanousd: int = 0
    spent: tuple[int, ...] = ()


class Entry(NamedTuple):
    """One journal entry. `id` orders entries and pages through them; `at_s` is the store's time of the settle."""

    id: str
    at_s: float
    bill: Mapping[str, Any]  # Bill's fields without `counters` and `tokens`
    counters: tuple[str, ...] = ()  # the names of the sums that it is part of
    overrun_nanousd: int = 0


class Live(NamedTuple):
    """One hold. `slots` are the scopes of its `parallel` meters."""

    request_id: str
    nanousd: int
    cost_nanousd: int  # at its last checkpoint
    deadline_s: float
    counters: tuple[str, ...]
    slots: tuple[str, ...]
    bill: Mapping[str, Any]  # as it would be settled now


class Sum(NamedTuple):
    """One counter's. `folded`: what of `spent` stands in entries that have left the journal."""

    spent_nanousd: int
    held_nanousd: int
    folded_nanousd: int


class Snapshot(NamedTuple):
    """One instant of the store, for the audit."""

    now_s: float
    sums: Mapping[str, Sum]  # by counter
    holds: Sequence[Live]  # without their bills
    slots: Mapping[str, int]  # requests at once, by scope
    first_id: str  # of the oldest and the newest entry in the journal; "" when there is none
    last_id: str
    after: str | None  # behind this counter there are more; None: that is all


class Fold(NamedTuple):
    """What a group of entries that have left the journal came to."""

    group: Mapping[str, str | None]  # day, key_id, key_alias, team_id, model, target, end_user, ending, tags (JSON)
    cost_nanousd: int
    requests: int
    usage: Mapping[str, int]


Answer = TypeVar("Answer")


class Promise(asyncio.Future[Answer]):
    """An answer that cannot be called off: who is cancelled while waiting for it hears of that when it is there."""

    def cancel(self, msg: Any | None = None) -> bool:
        return False


class Store(Protocol):
    """Redis or SQLite. Every method raises StoreDown when the store cannot answer in time."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def ping(self) -> None: ...

    async def warnings(self) -> Sequence[str]:
        """What in the store's own settings may lose money, one sentence each; asked once, at the start."""
        ...

    # --- keys, teams and the other holders of caps
    async def create(self, record: Record, digest: str | None = None) -> None:
        """Add a record; a key comes with the digest of its token.

        Raises Conflict when the id or the alias (per kind) is taken. A revoked record other than a key or a team is
        as good as none: its place is taken, at the next version.
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
    def reserve(self, ask: Ask) -> Promise[Granted | Refused]:
        """One atomic step over all counters and meters; idempotent by request id (a live hold is granted again as it
        is, without levels; a settled request is granted 0)."""
        ...

    async def grow(self, growth: Growth) -> Granted | Refused:
        """Raise a live hold on every counter or on none; `Granted.nanousd` is all that it then holds."""
        ...

    async def renew(self, beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        """Put off the end of these leases and write their checkpoints; the request ids that hold nothing (any more)."""
        ...

    def settle(self, bill: Bill) -> Promise[Settled]:
        """Release the hold, add the cost to every counter, give back tokens and slots, write the journal entry: all or
        nothing.

        Idempotent by request id. A bill whose hold is not there (a refused one, a lost one) is booked all the same. One
        whose hold was settled provisionally by `reap` books the difference, once, as a second entry (`adjusts`, whose
        cost may be negative): that is a first settle too.
        """
        ...

    async def reap(self, limit: int = 100, steady_s: float = 0.0) -> int:
        """Settle holds past their deadline provisionally, at their last checkpoint; how many these were.

        Only where reaps have come for `steady_s` seconds without a pause of rules.PAUSE_S, on the store's clock: after
        one (the store stood still, or nobody reached it) everyone first renews what is theirs.
        """
        ...

    async def balances(self, scopes: Sequence[str]) -> Sequence[Balance]:
        """Every counter of these scopes that is not past."""
        ...

    async def levels(self, meters: Sequence[Meter]) -> Sequence[Level]:
        """How full these are now."""
        ...

    async def holds(self) -> Sequence[Live]:
        """Every hold there is."""
        ...

    async def journal(self, start_s: float, end_s: float, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        """Entries with start_s ≤ at_s < end_s, oldest first, those behind `after`."""
        ...

    async def snapshot(self, after: str | None = None, limit: int = 1000, names: Sequence[str] = ()) -> Snapshot:
        """A page of the counters and those of `names`, and where the journal begins and ends, at one instant.

        Pages follow each other in an order that does not change: the first is behind "". With None it is the first too,
        and all holds and slots with it, and the counters of these holds.
        """
        ...

    async def fold(self, entries: Sequence[Entry], sums: Mapping[str, int], folds: Sequence[Fold]) -> bool:
        """Let the journal's oldest `entries` go, whose costs by counter are `sums` and by group `folds`, in one atomic
        step. False, and nothing is done, when they are not (any more) the oldest."""
        ...

    async def folds(self, start_day: str, end_day: str) -> Sequence[Fold]:
        """What has left the journal, of the days start_day ≤ day < end_day (ISO 8601, UTC)."""
        ...

    # --- odds and ends that outlive a worker
    async def claim(self, name: str, value: str) -> str:
        """Set `name` to `value` unless it is set; what it is now."""
        ...

    async def lock(self, name: str, owner: str, ttl_s: float) -> bool:
        """Whether `owner` has the lock `name` for the next `ttl_s` seconds: it was free, or `owner`'s already.
        0 seconds gives it back."""
        ...

    async def remember(self, items: Mapping[str, bytes], ttl_s: float) -> None: ...

    async def recall(self, names: Sequence[str]) -> Mapping[str, bytes]: ...
