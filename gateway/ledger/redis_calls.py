"""What the Lua scripts beside this file are given, and what they answer. Pure: values in, arguments out, and back.

A script is known to a server by the hash of its text, so that versions of Headgate run side by side on one store.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

from gateway.ledger import journal
from gateway.ledger.redis_place import Argument
from gateway.ledger.rules import countable
from gateway.ledger.store import (
    Ask,
    Beat,
    Bill,
    Counter,
    Entry,
    Fold,
    Granted,
    Growth,
    Level,
    Live,
    Meter,
    Record,
    Refused,
    Settled,
    Snapshot,
    Standing,
    StoreDown,
    Sum,
)

LAYOUT = 2  # of the keys and what is in them
MOST_SAME = 4096  # values whose arguments are kept

Given = TypeVar("Given")
Made = TypeVar("Made")


class Script(NamedTuple):
    """A Lua script and the name that the server knows it by."""

    text: str
    sha: str


def script(text: str) -> Script:
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _script(*names: str) -> Script:
    """The files of these names as one script."""
    return script("\n".join(files("gateway.ledger").joinpath("lua", f"{name}.lua").read_text() for name in names))


RESERVE = _script("sums", "standings", "meters", "reserve")
GROW = _script("sums", "standings", "grow")
RENEW = _script("sums", "renew")
SETTLE = _script("sums", "meters", "settle")
REAP = _script("sums", "meters", "reap")
RESTORE = _script("sums", "meters", "restore")
SNAPSHOT = _script("sums", "snapshot")
FOLD = _script("sums", "fold")
LAYOUT_CLAIM = _script("sums", "layout")
LOCK = _script("lock")
KEYS = _script("keys")
HOLDER = _script("holder")


@dataclass(frozen=True, slots=True)
class Call:
    """One script with its arguments. `durable`: it changes what must not be lost."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Argument]
    durable: bool = False

    def command(self, by_text: bool = False) -> Sequence[Argument]:
        """As the server takes it; with its text for one that does not know it yet."""
        how, what = ("EVAL", self.script.text) if by_text else ("EVALSHA", self.script.sha)
        return (how, what, len(self.keys), *self.keys, *self.arguments)


# --- money


class Same(Generic[Given, Made]):
    """What was made of values that come with one request after another: the same objects, so they are known by that."""

    def __init__(self, make: Callable[[Given], Made]) -> None:
        self._make = make
        self._made: dict[int, tuple[Given, Made]] = {}

    def of(self, given: Given) -> Made:
        found = self._made.get(id(given))
        if found is None or found[0] is not given:
            if len(self._made) >= MOST_SAME:
                self._made.clear()
            found = self._made[id(given)] = given, self._make(given)
        return found[1]


def _of_standings(standings: Sequence[Standing]) -> Sequence[Argument]:
    return [word for standing in standings for word in standing]


def _of_counters(counters: Sequence[Counter]) -> Sequence[Argument]:
    arguments: list[Argument] = []
    for c in counters:
        cap = "" if c.cap_nanousd is None else c.cap_nanousd
        arguments += (c.name, c.window, repr(c.start_s), repr(c.end_s), cap, c.on_cap)
    return arguments


def _of_meters(meters: Sequence[Meter]) -> Sequence[Argument]:
    return [word for m in meters for word in (m.scope, m.measure, m.limit)]


def _names_of(counters: Sequence[Counter]) -> bytes:
    return orjson.dumps([counter.name for counter in counters])


def _places_of(counters: Sequence[Counter]) -> Sequence[Argument]:
    return [word for counter in counters for word in (counter.name, counter.window, repr(counter.end_s))]


_STANDINGS, _COUNTERS, _METERS = Same(_of_standings), Same(_of_counters), Same(_of_meters)
_NAMES, _PLACES = Same(_names_of), Same(_places_of)
_names, _placed = _NAMES.of, _PLACES.of


def reserve(root: str, ask: Ask) -> Call:
    arguments: list[Argument] = [
        *(ask.request_id, ask.least_nanousd, ask.usual_nanousd, ask.most_nanousd, int(ask.whole), int(ask.patient)),
        *(countable(ask.tokens), ask.least_tokens, ask.lease_s, ask.line, _names(ask.counters)),
        *(len(ask.standings), len(ask.counters), len(ask.meters)),
        *(*_STANDINGS.of(ask.standings), *_COUNTERS.of(ask.counters), *_METERS.of(ask.meters)),
    ]
    return Call(RESERVE, (root,), arguments, durable=True)


def reserved(answer: Any) -> tuple[Granted | Refused, str]:
    """What a reserve comes to, and what it took of the meters, as the script writes it."""
    match answer:
        case [b"granted", amount, afford, tokens, taken, *levels]:
            pairs = zip(levels[::2], levels[1::2], strict=True)
            full = tuple(Level(int(used), float(full_s)) for used, full_s in pairs)
            return Granted(int(amount), int(afford) if afford else None, int(tokens), full), taken.decode()
        case [b"window", counter, seconds, microseconds, _]:
            return Refused("window", counter.decode(), int(seconds) + int(microseconds) / 1e6), ""
        case [reason, name, _, _, wait_s]:
            return Refused(reason.decode(), name.decode(), retry_after_s=float(wait_s)), ""
    raise StoreDown("Redis gave an answer that reserve.lua does not give")


def grow(root: str, growth: Growth) -> Call:
    arguments: list[Argument] = [growth.request_id, growth.held_nanousd, growth.least_nanousd, growth.more_nanousd]
    arguments += (len(growth.standings), len(growth.counters))
    for standing in growth.standings:
        arguments += standing
    for c in growth.counters:
        arguments += (c.name, "" if c.cap_nanousd is None else c.cap_nanousd)
    return Call(GROW, (root,), arguments, durable=True)


def grown(answer: Any) -> Granted | Refused:
    if answer[0] == b"granted":
        return Granted(int(answer[1]), int(answer[2]) if answer[2] else None)
    return Refused(answer[0].decode(), answer[1].decode())


def renew(root: str, beats: Sequence[Beat], lease_s: float) -> Call:
    plain = [beat.request_id for beat in beats if not beat.line]
    arguments: list[Argument] = [lease_s, len(plain), *plain]
    for beat in beats:
        if beat.line:
            arguments += (beat.request_id, beat.cost_nanousd, beat.line)
    return Call(RENEW, (root,), arguments)


def settle(root: str, bill: Bill) -> Call:
    """Raises ValueError for a cost that no bill can have."""
    line = journal.line(bill)
    arguments: list[Argument] = [
        bill.request_id,
        bill.cost_nanousd,
        line,
        _names(bill.counters),
        countable(bill.tokens),
    ]
    return Call(SETTLE, (root,), [*arguments, *_placed(bill.counters)], durable=True)


def settled(answer: Any) -> Settled:
    """Raises ValueError where a counter cannot count so much."""
    match answer:
        case [b"uncountable", counter]:
            raise ValueError(f"{counter.decode()} cannot count so much")
        case [b"settled", overrun, *spent]:
            return Settled(True, int(overrun), tuple(spent))
        case _:
            return Settled(False)


class Known(NamedTuple):
    """A live hold of this worker, as a server that has forgotten it is told."""

    ask: Ask
    nanousd: int
    tokens: int
    taken: str
    cost_nanousd: int
    line: bytes


def restore(root: str, known: Known, lease_s: float) -> Call:
    ask = known.ask
    arguments: list[Argument] = [ask.request_id, known.nanousd, _names(ask.counters), known.taken, known.cost_nanousd]
    return Call(RESTORE, (root,), [*arguments, known.line, lease_s, known.tokens, *_placed(ask.counters)])


# --- keys, teams and the other holders of caps


def keep(key: Any, what: str, record: Record, digest: str, grace_ms: int) -> Call:
    """`key(name, …)` is the name of a key of the store."""
    expires = "" if record.expires is None else repr(record.expires)
    return Call(
        KEYS,
        [*(key(name, record.kind) for name in ("records", "states", "ids", "aliases")), key("tokens"), key("digests")],
        [
            *(what, record.id, record.model_dump_json(), record.version, int(record.revoked), expires),
            *(record.team_id or "", record.alias or "", digest, grace_ms, int(record.kind not in ("key", "team"))),
        ],
        durable=True,
    )


# --- the journal, and all there is


def entry(id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry of the journal, of the stream's id and its flat list of fields. Layout 1 wrote but line and counters."""
    has = dict(zip(fields[::2], fields[1::2], strict=True))
    return journal.entry(
        id.decode(),
        int(id.split(b"-")[0]),
        has[b"line"],
        request_id=has.get(b"request_id", b"").decode(),
        counters=orjson.loads(has.get(b"counters", b"[]")),
        overrun_nanousd=int(has.get(b"overrun", 0)),
        cost_nanousd=int(has[b"cost"]) if b"cost" in has else None,
        adjusts=has.get(b"adjusts", b""),
    )


def look(root: str, after: str | None, limit: int, names: Sequence[str]) -> Call:
    arguments = ["all" if after is None else "page", after or "", limit, orjson.dumps(list(names))]
    return Call(SNAPSHOT, (root,), arguments)


def snapshot(answer: Any) -> Snapshot:
    seconds, microseconds, sums, holds, slots, first, last, after = answer
    return Snapshot(
        now_s=int(seconds) + int(microseconds) / 1e6,
        sums={name.decode(): Sum(int(spent), int(held), int(folded)) for name, spent, held, folded in _by(4, sums)},
        holds=[_live(*hold) for hold in _by(7, holds)],
        slots={scope.decode(): int(running) for scope, running in _by(2, slots)},
        first_id=first.decode(),
        last_id=last.decode(),
        after=after.decode() or None,
    )


def _live(
    id: bytes,
    deadline: bytes,
    nanousd: bytes,
    cost: bytes,
    counters: bytes,
    meters: bytes | None,
    line: bytes | None,
) -> Live:
    taken = orjson.loads(meters) if meters else []
    return Live(
        request_id=id.decode(),
        nanousd=int(nanousd),
        cost_nanousd=int(cost),
        deadline_s=float(deadline),
        counters=tuple(orjson.loads(counters)),
        slots=tuple(scope for scope, measure, _, _ in taken if measure == "parallel"),
        bill={} if line is None else journal.bill_of(line, id.decode(), int(cost)),
    )


def _by(size: int, flat: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (flat[at : at + size] for at in range(0, len(flat), size))


def fold(root: str, entries: Sequence[Entry], sums: Mapping[str, int], folds: Sequence[Fold]) -> Call:
    ms, _, number = entries[-1].id.partition("-")
    arguments: list[Argument] = [len(entries), len(sums), f"{ms}-{int(number) + 1}", *(entry.id for entry in entries)]
    for name, cost in sums.items():
        arguments += (name, cost)
    for one in folds:
        day = one.group["day"] or ""
        group = orjson.dumps(dict(one.group), option=orjson.OPT_SORT_KEYS).decode()
        grows = {"cost": one.cost_nanousd, "requests": one.requests} | {f"usage {k}": v for k, v in one.usage.items()}
        for what, amount in grows.items():
            arguments += (day, f"{what}\n{group}", amount)
    return Call(FOLD, (root,), arguments, durable=True)


def folded(fields: Sequence[bytes]) -> Sequence[Fold]:
    """A day's folds of its flat list of fields: `<what>`, a new line and the group as JSON; and how much."""
    found: dict[str, dict[str, int]] = {}
    for name, amount in _by(2, fields):
        what, _, group = name.decode().rpartition("\n")
        found.setdefault(group, {})[what] = int(amount)
    return [
        Fold(
            orjson.loads(group),
            amounts.pop("cost"),
            amounts.pop("requests"),
            {what.removeprefix("usage "): amount for what, amount in amounts.items()},
        )
        for group, amounts in sorted(found.items())
    ]
