"""What a connection that writes knows of the file, and what it owes to it.

Within a transaction nobody else writes, and `PRAGMA data_version` tells whether anybody has since the last one: until
then the sums that were read still stand. What steps add to them is written once, at the transaction's end: many
requests on one counter are one write to it. It is written as a difference, so that the books are right whatever else.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import orjson

from gateway.ledger.rules import BUCKET_S, BUCKETS
from gateway.ledger.store import MAX_TOKENS, Counter, Measure, Meter, Standing

MANY = 4096  # things of a kind that are kept in mind from one transaction to the next
EVER_MS = 2**62  # how long the one bucket of requests at once is, in which they all stand

Place = tuple[str, str, float]  # of a counter: scope, window, end_s


class Runs(Protocol):
    """A connection, so far as it is needed here."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...
    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any: ...


class Sums:
    """One counter, as it will stand at the transaction's end; `was_…` as it stands in the file, if it is `there`."""

    __slots__ = ("held", "place", "spent", "there", "was_held", "was_spent")

    def __init__(self, db: Runs, place: Place) -> None:
        query = "SELECT spent, held FROM counters WHERE scope = ? AND window = ?"
        row: tuple[int, int] | None = db.execute(query, place[:2]).fetchone()
        self.place = place
        self.there = row is not None
        self.spent, self.held = self.was_spent, self.was_held = row or (0, 0)


class Filled:
    """One meter: `used` is what counts in bucket `here` (None: nobody has looked yet), `newest` the last bucket with
    anything in it when it was read, `owed` what is to be added to the file, by bucket. Of requests at once `used` is
    all, and `was` what the file has."""

    __slots__ = ("here", "measure", "newest", "of_tokens", "owed", "scope", "size_ms", "size_s", "swept", "used", "was")

    def __init__(self, scope: str, measure: Measure) -> None:
        self.scope = scope
        self.measure = measure
        self.of_tokens = measure in ("tpm", "tpd")
        self.size_s = BUCKET_S.get(measure, 0)
        self.size_ms = self.size_s * 1000 or EVER_MS
        self.here: int | None = None
        self.newest = -1
        self.swept: int | None = None
        self.used = self.was = 0
        self.owed: dict[int, int] = {}

    def read(self, db: Runs, here: int) -> None:
        """As it is in the file, with what is owed to it."""
        if not self.size_s:
            row = db.execute("SELECT running FROM slots WHERE scope = ?", (self.scope,)).fetchone()
            self.used = self.was = row[0] if row else 0
        else:
            if self.owed:
                _write_meters(db, [self])
            self.newest, self.used = db.execute(
                "SELECT ifnull(max(bucket), -1), ifnull(sum(amount), 0)" + COUNTING, self.counting(here)
            ).fetchone()
            if self.newest == here:  # else this is the first look at a new one
                self.swept = here
        self.here = here

    def buckets(self, db: Runs) -> dict[int, int]:
        """What counts `here`, amounts by bucket."""
        if self.here is None or not self.size_s:
            return {}
        if self.owed:
            _write_meters(db, [self])
        return dict(db.execute("SELECT bucket, amount" + COUNTING, self.counting(self.here)).fetchall())

    def counting(self, here: int) -> tuple[str, Measure, int]:
        return self.scope, self.measure, here - BUCKETS

    def take(self, bucket: int, amount: int) -> None:
        """Count `amount` more in `bucket`, or less."""
        if self.here is not None and bucket >= self.here - BUCKETS:
            self.used += amount
        self.owed[bucket] = self.owed.get(bucket, 0) + amount


COUNTING = " FROM meters WHERE scope = ? AND measure = ? AND bucket >= ? AND amount <> 0"


class Billed(NamedTuple):
    """What follows from a request's counters, the same from one request to the next."""

    of: Sequence[Counter]
    sums: tuple[Sums, ...]
    places: str  # JSON, as a hold has them
    names: str  # JSON, as the journal has them
    since_s: float  # these windows are all, from then
    until_s: float


class Metered(NamedTuple):
    """What follows from a request's meters."""

    of: Sequence[Meter]
    fills: tuple[tuple[Filled, int], ...]  # with its limit
    each: tuple[Filled, ...]
    tokens: int  # the least limit on them
    none: bool  # whether one of them lets nothing through
    taken: str  # JSON, as a hold has them, for `%`: of each bucket, and of tokens how many


class Known:
    """Of one connection."""

    def __init__(self) -> None:
        self._version = -1
        self.last_ms: int | None = None  # when the journal's last entry is of
        self.standing: dict[int, tuple[Sequence[Standing], float]] = {}  # which are as believed, until when
        self._counters: dict[tuple[str, str], Sums] = {}
        self._meters: dict[tuple[str, str], Filled] = {}
        self._billed: dict[int, Billed] = {}  # by the identity of what they are of
        self._metered: dict[int, Metered] = {}
        self._kept: Sequence[dict[Any, Any]] = self.standing, self._counters, self._meters, self._billed, self._metered
        self.changed: set[tuple[Sums, ...]] = set()  # which are to be written
        self.filled: set[Filled] = set()

    def begin(self, version: int) -> None:
        """A transaction begins, on this version of the file."""
        if version != self._version or max(map(len, self._kept)) > MANY:
            self.forget()
            self._version = version

    def forget(self) -> None:
        """Nothing is known any more, nor owed: it was written, or is not to be."""
        self.last_ms = None
        for kept in self._kept:
            kept.clear()
        self.changed.clear()
        self.filled.clear()

    def counter(self, db: Runs, scope: str, window: str, end_s: float) -> Sums:
        sums = self._counters.get((scope, window))
        if sums is None:
            sums = self._counters[scope, window] = Sums(db, (scope, window, end_s))
        return sums

    def meter(self, scope: str, measure: Measure) -> Filled:
        fill = self._meters.get((scope, measure))
        if fill is None:
            fill = self._meters[scope, measure] = Filled(scope, measure)
        return fill

    def billed(self, db: Runs, counters: Sequence[Counter]) -> Billed:
        found = self._billed.get(id(counters))
        if found is None or found.of is not counters:
            ends = [each for each in counters if each.end_s]
            places = [(each.scope, each.window, each.end_s) for each in counters]
            found = self._billed[id(counters)] = Billed(
                counters,
                tuple([self.counter(db, *place) for place in places]),
                orjson.dumps(places).decode(),
                orjson.dumps([each.name for each in counters]).decode(),
                max([each.start_s for each in ends], default=float("-inf")),
                min([each.end_s for each in ends], default=float("inf")),
            )
        return found

    def metered(self, meters: Sequence[Meter]) -> Metered:
        found = self._metered.get(id(meters))
        if found is None or found.of is not meters:
            fills = tuple([(self.meter(each.scope, each.measure), each.limit) for each in meters])
            tokens = min([limit for fill, limit in fills if fill.of_tokens], default=MAX_TOKENS)
            none = any(limit < 1 for _, limit in fills)
            taken = f"[{','.join([_taken(fill) for fill, _ in fills])}]"
            found = self._metered[id(meters)] = Metered(
                meters, fills, tuple([fill for fill, _ in fills]), tokens, none, taken
            )
        return found

    def flush(self, db: Runs) -> None:
        """Write what is owed."""
        if self.changed:
            changed = dict.fromkeys(chain.from_iterable(self.changed))
            self.changed.clear()
            rows = [
                (*sums.place, sums.spent - sums.was_spent, sums.held - sums.was_held)
                for sums in changed
                if not sums.there or sums.spent != sums.was_spent or sums.held != sums.was_held
            ]
            if rows:
                db.executemany(
                    "INSERT INTO counters (scope, window, end_s, spent, held) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET spent = spent + excluded.spent, held = held + excluded.held",
                    rows,
                )
            for sums in changed:
                sums.there, sums.was_spent, sums.was_held = True, sums.spent, sums.held
        if self.filled:
            _write_meters(db, self.filled)
            self.filled.clear()


def _taken(fill: Filled) -> str:
    scope = orjson.dumps(fill.scope).decode().replace("%", "%%")
    return f'[{scope},"{fill.measure}",%d,{"%d" if fill.of_tokens else "1"}]'


def _write_meters(db: Runs, fills: Iterable[Filled]) -> None:
    rows, past, running, free = [], [], [], []
    for fill in fills:
        if fill.size_s:
            rows += [(fill.scope, fill.measure, bucket, amount) for bucket, amount in fill.owed.items() if amount]
            fill.owed.clear()
            if fill.here is not None and fill.swept != fill.here:  # let go of what no longer counts
                past.append(fill.counting(fill.here))
                fill.swept = fill.here
        elif fill.used <= 0 < fill.was:
            free.append((fill.scope,))
        elif fill.used != fill.was:
            running.append((fill.scope, fill.used - fill.was))
        fill.was = fill.used
    if rows:
        db.executemany(
            "INSERT INTO meters (scope, measure, bucket, amount) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
            rows,
        )
    if past:
        db.executemany("DELETE FROM meters WHERE scope = ? AND measure = ? AND bucket < ?", past)
    if running:
        db.executemany(
            "INSERT INTO slots (scope, running) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET running = running + excluded.running",
            running,
        )
    if free:
        db.executemany("DELETE FROM slots WHERE scope = ?", free)
