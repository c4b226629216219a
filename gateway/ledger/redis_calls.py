"""What the Lua scripts are given, and what they answer. Pure: values in, arguments out, and back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import truediv
from typing import Any, NamedTuple, TypeVar

import orjson

from gateway import bounded
from gateway.ledger import journal, redis_scripts
from gateway.ledger.redis_place import Argument, packed
from gateway.ledger.redis_scripts import Call, Keys, call, head, keys
from gateway.ledger.rules import countable
from gateway.ledger.store import (
    MAX_TOKENS,
    Ask,
    Beat,
    Bill,
    Counter,
    Entry,
    Fold,
    Granted,
    Growth,
    Live,
    Measure,
    Meter,
    Record,
    Refused,
    Settled,
    Snapshot,
    Standing,
    StoreDown,
    Sum,
)

Made = TypeVar("Made", bound=tuple[Any, ...])
_MICRO = repeat(1e6)

LAYOUT = 2  # of the keys and what is in them
MOST_SAME = 4096  # values whose arguments are kept

_new: Callable[[type[Made], tuple[Any, ...]], Made] = tuple.__new__  # a named tuple's own is written in Python

# --- money


# What one request after another says in the same words is packed once. Numbers have the width that is written before
# them: a server counts a number's zeros in front for nothing.
_NUMBER = b"$20\r\n%020d\r\n"
_WORD = b"$%d\r\n%b\r\n"
_MOST_NUMBER = 10**19  # more than any sum can take, in 20 digits
_RESERVE = b"%b" + _WORD + 3 * _NUMBER + 2 * b"$1\r\n%d\r\n" + 2 * _NUMBER + b"$20\r\n%020f\r\n" + _WORD + b"%b"
_RESERVE_WORDS = 10
_SETTLE = b"%b" + 2 * _WORD + _NUMBER + _WORD + b"%b"
_SETTLE_WORDS = 4
_LETTERS: Mapping[Measure, str] = {"rpm": "r", "tpm": "t", "rpd": "R", "tpd": "T", "parallel": "p"}


@dataclass(slots=True)
class _Same:
    """What is the same in one call after another, and whose it is: compared with those, who mostly are these very
    objects."""

    whose: tuple[object, ...]
    head: bytes
    rest: bytes


_asked: dict[int, _Same] = {}  # by the counters' id
_billed: dict[int, _Same] = {}


def _names(counters: Sequence[Counter]) -> bytes:
    return orjson.dumps([counter.name for counter in counters])


def _windows(counters: Sequence[Counter]) -> bytes:
    return orjson.dumps([(c.window, repr(c.start_s), repr(c.end_s)) for c in counters])


def _sums(root: Keys, counter: Counter) -> str:
    return f"{root.first}sums:{counter.name}"


def _to_ask(root: Keys, ask: Ask) -> _Same:
    """What there is to say for all that ask for the same."""
    counters, meters, standings = ask.counters, ask.meters, ask.standings
    ends = [c.end_s for c in counters if c.end_s]
    since = [c.start_s for c in counters if c.end_s]
    limits = [meter.limit for meter in meters if meter.measure in ("tpm", "tpd")]
    slots = [meter.scope for meter in meters if meter.measure == "parallel"]
    refuses = any(c.on_cap == "refuse" and c.cap_nanousd is not None for c in counters)
    said: list[Argument] = [_names(counters), _windows(counters)]
    said += [repr(max(since)) if since else "", repr(min(ends)) if ends else "", int(refuses)]
    said += [min(limits) if limits else "", _taken(meters)]
    said.append(int(len({meter.name for meter in meters}) < len(meters)))
    said += (len(standings), len(counters), len(slots), len(meters))
    for standing in standings:
        said += _standing(root, standing)
    for c in counters:
        said += (_sums(root, c), "" if c.cap_nanousd is None else c.cap_nanousd)
    said += slots
    for m in meters:
        key = m.scope if m.measure == "parallel" else f"{root.first}meters:{m.name}"
        said += (key, _LETTERS[m.measure], m.limit)
    begins = head(redis_scripts.RESERVE, root, _RESERVE_WORDS + len(said))
    made = _Same((counters, meters, standings, root), begins, packed(said))
    bounded.keep(_asked, id(counters), made, MOST_SAME)
    return made


def _standing(root: Keys, standing: Standing) -> Sequence[Argument]:
    """As standings.lua takes it."""
    kind, id, version = standing
    usual = "" if version == 0 and kind not in ("key", "team") else f'["{version}","0","",'
    return f"{root.first}states:{kind}", id, usual


def _taken(meters: Sequence[Meter]) -> bytes:
    """What a hold takes of its meters, as JSON: with %s for a bucket, and for how many tokens."""
    blanks = {"parallel": ("", "1"), "rpm": ("%s", "1"), "rpd": ("%s", "1"), "tpm": ("%s", "%s"), "tpd": ("%s", "%s")}
    taken = [(m.scope.replace("%", "%%"), m.measure, *blanks[m.measure]) for m in meters]
    return orjson.dumps(taken) if taken else b""


def _to_bill(root: Keys, counters: Sequence[Counter]) -> _Same:
    said: list[Argument] = [_names(counters), _windows(counters), *(_sums(root, c) for c in counters)]
    begins = head(redis_scripts.SETTLE, root, _SETTLE_WORDS + len(said))
    made = _Same((counters, root), begins, packed(said))
    bounded.keep(_billed, id(counters), made, MOST_SAME)
    return made


def reserve(root: Keys, ask: Ask) -> Call:
    """`root`, here and below: the root of all names, as the one key."""
    counters, least, usual, most = ask.counters, ask.least_nanousd, ask.usual_nanousd, ask.most_nanousd
    whose, tokens, least_tokens = (counters, ask.meters, ask.standings, root), ask.tokens, ask.least_tokens
    same = _asked.get(id(counters))
    if same is None or same.whose != whose:
        same = _to_ask(root, ask)
    if max(least, usual, most, least_tokens) > _MOST_NUMBER:
        least, usual, most, least_tokens = (min(n, _MOST_NUMBER) for n in (least, usual, most, least_tokens))
    request_id, line = ask.request_id.encode(), ask.line
    said = _RESERVE % (
        same.head,
        len(request_id),
        request_id,
        least,
        usual,
        most,
        ask.whole,
        ask.patient,
        tokens if 0 <= tokens <= MAX_TOKENS else countable(tokens),
        least_tokens,
        ask.lease_s,
        len(line),
        line,
        same.rest,
    )
    return _new(Call, (redis_scripts.RESERVE, said, True))


def reserved(answer: Any) -> tuple[Granted | Refused, bytes]:
    """What a reserve comes to, and what it took of the meters, as the script writes it."""
    match answer:
        case [b"granted", amount, afford, tokens, taken, *levels]:
            full_s = map(truediv, levels[1::2], _MICRO)
            return _new(Granted, (amount, afford, tokens, tuple(zip(levels[::2], full_s, strict=True)))), taken
        case [b"window", counter, seconds, microseconds, _, _]:
            return Refused("window", counter.decode(), int(seconds) + int(microseconds) / 1e6), b""
        case [reason, name, _, _, wait_s, left]:
            return Refused(reason.decode(), name.decode(), retry_after_s=float(wait_s), left_nanousd=left), b""
    raise StoreDown("Redis gave an answer that reserve.lua does not give")


def grow(root: Keys, growth: Growth) -> Call:
    arguments: list[Argument] = [growth.request_id, growth.held_nanousd, growth.least_nanousd, growth.more_nanousd]
    arguments += (len(growth.standings), len(growth.counters))
    for standing in growth.standings:
        arguments += _standing(root, standing)
    for c in growth.counters:
        arguments += (c.name, "" if c.cap_nanousd is None else c.cap_nanousd)
    return call(redis_scripts.GROW, root, arguments, durable=True)


def grown(answer: Any) -> Granted | Refused:
    if answer[0] == b"granted":
        return Granted(int(answer[1]), int(answer[2]) if answer[2] else None)
    return Refused(answer[0].decode(), answer[1].decode())


def renew(root: Keys, beats: Sequence[Beat], lease_s: float) -> Call:
    plain = [beat.request_id for beat in beats if not beat.line]
    arguments: list[Argument] = [lease_s, len(plain), *plain]
    for beat in beats:
        if beat.line:
            arguments += (beat.request_id, beat.cost_nanousd, beat.line)
    return call(redis_scripts.RENEW, root, arguments)


def settle(root: Keys, bill: Bill) -> Call:
    """Raises ValueError for a cost that no bill can have."""
    counters, tokens = bill.counters, bill.tokens
    same = _billed.get(id(counters))
    if same is None or same.whose != (counters, root):
        same = _to_bill(root, counters)
    request_id, cost, line = bill.request_id.encode(), str(bill.cost_nanousd).encode(), journal.line(bill)
    said = _SETTLE % (
        same.head,
        len(request_id),
        request_id,
        len(cost),
        cost,
        tokens if 0 <= tokens <= MAX_TOKENS else countable(tokens),
        len(line),
        line,
        same.rest,
    )
    return _new(Call, (redis_scripts.SETTLE, said, True))


def settled(answer: Any) -> Settled:
    """Raises ValueError where a counter cannot count so much."""
    match answer:
        case [b"settled", overrun, *spent]:
            return _new(Settled, (True, int(overrun), tuple(spent)))
        case [b"uncountable", counter]:
            raise ValueError(f"{counter.decode()} cannot count so much")
        case [b"again", *spent]:
            return Settled(False, 0, tuple(spent))
    raise StoreDown("Redis gave an answer that settle.lua does not give")


class Known(NamedTuple):
    """A live hold of this worker, as a server that has forgotten it is told."""

    ask: Ask
    nanousd: int
    tokens: int
    taken: bytes
    cost_nanousd: int
    line: bytes


def restore(root: Keys, known: Known, lease_s: float) -> Call:
    ask = known.ask
    placed = [word for counter in ask.counters for word in (counter.name, counter.window, repr(counter.end_s))]
    arguments: list[Argument] = [ask.request_id, known.nanousd, _names(ask.counters), known.taken, known.cost_nanousd]
    return call(redis_scripts.RESTORE, root, [*arguments, known.line, lease_s, known.tokens, *placed])


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


def look(root: Keys, after: str | None, limit: int, names: Sequence[str]) -> Call:
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


def fold(root: Keys, entries: Sequence[Entry], sums: Mapping[str, int], folds: Sequence[Fold]) -> Call:
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
