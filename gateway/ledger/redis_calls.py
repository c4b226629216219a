"""What the Lua scripts are given, and what they answer. Pure: values in, arguments out, and back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple

import orjson

from gateway import bounded
from gateway.ledger import journal, redis_scripts
from gateway.ledger.redis_place import Argument
from gateway.ledger.redis_scripts import Call, Words, call, keys, words
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

# --- money


# What one request after another says in the same words is packed once. Numbers have the width that is written before
# them: a server counts a number's zeros in front for nothing.
_NUMBER = b"$20\r\n%020d\r\n"
_WORD = b"$%d\r\n%b\r\n"
_MOST_NUMBER = 10**19  # more than any sum can take, in 20 digits
_RESERVE = b"%b" + _WORD + 3 * _NUMBER + 2 * b"$1\r\n%d\r\n" + 2 * _NUMBER + 2 * _WORD + b"%b"
_RESERVE_WORDS = 10
_SETTLE = b"%b" + 2 * _WORD + _NUMBER + _WORD + b"%b"
_SETTLE_WORDS = 4


class Same:
    """What `make` makes of values that come with one request after another: the same objects, known by that."""

    def __init__(self, make: Callable[..., Sequence[Argument]]) -> None:
        self._make = make
        self._made: dict[int, tuple[Sequence[object], Words]] = {}

    def of(self, *values: Sequence[object]) -> Words:
        found = self._made.get(id(values[0]))
        if found is None or not all(map(is_, found[0], values)):
            found = values, words(self._make(*values))
            bounded.keep(self._made, id(values[0]), found, MOST_SAME)
        return found[1]


def _asked(counters: Sequence[Counter], meters: Sequence[Meter], standings: Sequence[Standing]) -> Sequence[Argument]:
    words: list[Argument] = [_names(counters), len(standings), len(counters), len(meters)]
    for standing in standings:
        words += standing
    for c in counters:
        cap = "" if c.cap_nanousd is None else c.cap_nanousd
        words += (c.name, c.window, repr(c.start_s), repr(c.end_s), cap, c.on_cap)
    for m in meters:
        words += (m.scope, m.measure, m.limit)
    return words


def _billed(counters: Sequence[Counter]) -> Sequence[Argument]:
    return [_names(counters), *_placed(counters)]


def _names(counters: Sequence[Counter]) -> bytes:
    return orjson.dumps([counter.name for counter in counters])


def _placed(counters: Sequence[Counter]) -> Sequence[Argument]:
    return [word for counter in counters for word in (counter.name, counter.window, repr(counter.end_s))]


_ASKED, _BILLED = Same(_asked), Same(_billed)


def reserve(root: Words, ask: Ask) -> Call:
    """`root`, here and below: the root of all names, as the one key."""
    id, line, lease_s = ask.request_id.encode(), ask.line, b"%f" % ask.lease_s
    least, usual, most, least_tokens = ask.least_nanousd, ask.usual_nanousd, ask.most_nanousd, ask.least_tokens
    if max(least, usual, most, least_tokens) > _MOST_NUMBER:
        least, usual, most, least_tokens = (min(n, _MOST_NUMBER) for n in (least, usual, most, least_tokens))
    same = _ASKED.of(ask.counters, ask.meters, ask.standings)
    said = _RESERVE % (
        *(root.packed, len(id), id, least, usual, most, ask.whole, ask.patient, countable(ask.tokens), least_tokens),
        *(len(lease_s), lease_s, len(line), line, same.packed),
    )
    return Call(redis_scripts.RESERVE, Words(root.number + _RESERVE_WORDS + same.number, said), durable=True)


def reserved(answer: Any) -> tuple[Granted | Refused, str]:
    """What a reserve comes to, and what it took of the meters, as the script writes it."""
    match answer:
        case [b"granted", amount, afford, tokens, taken, *levels]:
            pairs = zip(levels[::2], levels[1::2], strict=True)
            full = tuple([Level(used, full_us / 1e6) for used, full_us in pairs])
            return Granted(amount, afford, tokens, full), taken.decode()
        case [b"window", counter, seconds, microseconds, _]:
            return Refused("window", counter.decode(), int(seconds) + int(microseconds) / 1e6), ""
        case [reason, name, _, _, wait_s]:
            return Refused(reason.decode(), name.decode(), retry_after_s=float(wait_s)), ""
    raise StoreDown("Redis gave an answer that reserve.lua does not give")


def grow(root: Words, growth: Growth) -> Call:
    arguments: list[Argument] = [growth.request_id, growth.held_nanousd, growth.least_nanousd, growth.more_nanousd]
    arguments += (len(growth.standings), len(growth.counters))
    for standing in growth.standings:
        arguments += standing
    for c in growth.counters:
        arguments += (c.name, "" if c.cap_nanousd is None else c.cap_nanousd)
    return call(redis_scripts.GROW, root, arguments, durable=True)


def grown(answer: Any) -> Granted | Refused:
    if answer[0] == b"granted":
        return Granted(int(answer[1]), int(answer[2]) if answer[2] else None)
    return Refused(answer[0].decode(), answer[1].decode())


def renew(root: Words, beats: Sequence[Beat], lease_s: float) -> Call:
    plain = [beat.request_id for beat in beats if not beat.line]
    arguments: list[Argument] = [lease_s, len(plain), *plain]
    for beat in beats:
        if beat.line:
            arguments += (beat.request_id, beat.cost_nanousd, beat.line)
    return call(redis_scripts.RENEW, root, arguments)


def settle(root: Words, bill: Bill) -> Call:
    """Raises ValueError for a cost that no bill can have."""
    id, cost, line = bill.request_id.encode(), b"%d" % bill.cost_nanousd, journal.line(bill)
    same = _BILLED.of(bill.counters)
    said = _SETTLE % (
        *(root.packed, len(id), id, len(cost), cost, countable(bill.tokens)),
        *(len(line), line, same.packed),
    )
    return Call(redis_scripts.SETTLE, Words(root.number + _SETTLE_WORDS + same.number, said), durable=True)


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


def restore(root: Words, known: Known, lease_s: float) -> Call:
    ask = known.ask
    arguments: list[Argument] = [ask.request_id, known.nanousd, _names(ask.counters), known.taken, known.cost_nanousd]
    return call(redis_scripts.RESTORE, root, [*arguments, known.line, lease_s, known.tokens, *_placed(ask.counters)])


# --- keys, teams and the other holders of caps


def keep(key: Any, what: str, record: Record, digest: str, grace_ms: int) -> Call:
    """`key(name, …)` is the name of a key of the store."""
    expires = "" if record.expires is None else repr(record.expires)
    kinds = (key(name, record.kind) for name in ("records", "states", "ids", "aliases"))
    return call(
        redis_scripts.KEYS,
        keys(*kinds, key("tokens"), key("digests")),
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


def look(root: Words, after: str | None, limit: int, names: Sequence[str]) -> Call:
    arguments = ["all" if after is None else "page", after or "", limit, orjson.dumps(list(names))]
    return call(redis_scripts.SNAPSHOT, root, arguments)


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


def fold(root: Words, entries: Sequence[Entry], sums: Mapping[str, int], folds: Sequence[Fold]) -> Call:
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
    return call(redis_scripts.FOLD, root, arguments, durable=True)


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
