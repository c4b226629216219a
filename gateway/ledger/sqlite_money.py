"""What the embedded store does with money: reserve, grow, renew, settle, reap. Each is one step of a transaction."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from gateway.ledger import rules
from gateway.ledger.sqlite_file import Connection
from gateway.ledger.sqlite_records import now_ms
from gateway.ledger.store import (
    Ask,
    Beat,
    Bill,
    Counter,
    Granted,
    Growth,
    Level,
    Measure,
    Meter,
    Refused,
    Settled,
    Standing,
)

SETTLED_MS = 7 * 86_400_000  # how long a request is known to be settled
LATER_MS = 60_000  # until a lost hold that cannot be settled is looked at again
SMALL = 2**40  # nano-USD
SWEEP = 1000  # marks of settled requests that one reap may let go


class _Held(NamedTuple):
    """A hold that has been taken out of the table."""

    nanousd: int = 0
    counters: Sequence[tuple[str, str, float]] = ()  # scope, window, end_s
    meters: Sequence[tuple[str, Measure, int, int]] = ()  # scope, measure, bucket, amount
    cost: int = 0
    line: str = ""


class _Fill(NamedTuple):
    """What stands in a meter: amounts by bucket, or how many run at once."""

    buckets: Mapping[int, int]
    running: int


# --- reserve and grow


def reserve(db: Connection, ask: Ask) -> Granted | Refused:
    now = now_ms()
    if live := db.execute("SELECT nanousd, tokens FROM holds WHERE request_id = ?", (ask.request_id,)).fetchone():
        return Granted(live[0], tokens=live[1])
    if db.execute("SELECT 1 FROM settled WHERE request_id = ?", (ask.request_id,)).fetchone():
        return Granted(0)
    refused = _standing(db, ask.standings, now / 1000) or _window(ask.counters, now / 1000)
    if refused is not None:
        return refused
    sums = [_sums(db, counter) for counter in ask.counters]
    answer = rules.grant(ask, sums)
    if isinstance(answer, Refused) and answer.reason == "over_budget":
        return answer
    tokens = rules.tokens_of(ask)
    fills = [_fill(db, meter, now, rules.amount_of(meter, tokens)) for meter in ask.meters]
    full = rules.meter_refusal(ask, [fill.buckets for fill in fills], [fill.running for fill in fills], now / 1000)
    if full is not None:
        return full
    if isinstance(answer, Refused):
        return answer
    if name := rules.uncountable(ask.counters, [held for _, held in sums], answer.nanousd):
        return Refused("held", name)
    return _hold(db, ask, answer, fills, now)


def _hold(db: Connection, ask: Ask, granted: Granted, fills: Sequence[_Fill], now: int) -> Granted:
    tokens = rules.tokens_of(ask)
    taken = [(meter, _bucket(meter, now), rules.amount_of(meter, tokens)) for meter in ask.meters]
    levels: list[Level] = []
    for (meter, bucket, amount), (buckets, running) in zip(taken, fills, strict=True):
        if meter.measure != "parallel" and bucket not in buckets:  # the first look at a new one
            _forget(db, meter, bucket)
        _take(db, meter.scope, meter.measure, bucket, amount)
        after = _Fill({**buckets, bucket: buckets.get(bucket, 0) + amount}, running + amount)
        levels.append(_level(meter, after, now / 1000))
    _add(db, [_placed(counter) for counter in ask.counters], held=granted.nanousd)
    db.execute(
        "INSERT INTO holds (request_id, nanousd, counters, meters, tokens, line, deadline_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(ask.request_id, granted.nanousd, _json([_placed(counter) for counter in ask.counters])),
            *(_json([(meter.scope, meter.measure, bucket, amount) for meter, bucket, amount in taken]), tokens),
            *(ask.line.decode(), now + int(ask.lease_s * 1000)),
        ),
    )
    return granted._replace(tokens=tokens, levels=tuple(levels))


def grow(db: Connection, growth: Growth) -> Granted | Refused:
    query = "SELECT nanousd, counters FROM holds WHERE request_id = ?"
    row = db.execute(query, (growth.request_id,)).fetchone()
    if row is None:
        return Refused("gone")
    nanousd, counters = row
    if nanousd != growth.held_nanousd:  # this step was taken before, and its answer lost
        return Granted(nanousd)
    if refused := _standing(db, growth.standings, now_ms() / 1000):
        return refused
    sums = [_sums(db, counter) for counter in growth.counters]
    answer = rules.grow(growth, sums)
    if isinstance(answer, Granted):
        if name := rules.uncountable(growth.counters, [held for _, held in sums], answer.nanousd - nanousd):
            return Refused("held", name)
        _add(db, orjson.loads(counters), held=answer.nanousd - nanousd)
        db.execute("UPDATE holds SET nanousd = ? WHERE request_id = ?", (answer.nanousd, growth.request_id))
    return answer


def _standing(db: Connection, standings: Sequence[Standing], now_s: float) -> Refused | None:
    query = "SELECT version, revoked, expires FROM records WHERE kind = ? AND id = ?"
    for kind, id, believed in standings:
        version, revoked, expires = db.execute(query, (kind, id)).fetchone() or (0, False, None)
        if kind in ("key", "team") and (version == 0 or revoked or (expires is not None and now_s >= expires)):
            return Refused("gone")
        if version != believed:
            return Refused("stale")
    return None


def _window(counters: Sequence[Counter], now_s: float) -> Refused | None:
    for counter in counters:
        if counter.end_s and not counter.start_s <= now_s < counter.end_s:
            return Refused("window", counter.name, now_s)
    return None


# --- renew


def renew(db: Connection, beats: Sequence[Beat], lease_s: float) -> list[str]:
    deadline = now_ms() + int(lease_s * 1000)
    ids = _json([beat.request_id for beat in beats])
    put_off = (
        "UPDATE holds SET deadline_ms = ? WHERE request_id IN (SELECT value FROM json_each(?)) RETURNING request_id"
    )
    live = {id for (id,) in db.execute(put_off, (deadline, ids)).fetchall()}
    db.executemany(
        "UPDATE holds SET cost = ?, line = ? WHERE request_id = ?",
        [(beat.cost_nanousd, beat.line.decode(), beat.request_id) for beat in beats if beat.line],
    )
    return [beat.request_id for beat in beats if beat.request_id not in live]


# --- settle and reap


def settle(db: Connection, bill: Bill, line: str) -> Settled:
    now = now_ms()
    counters = [_placed(counter) for counter in bill.counters]
    row = db.execute("SELECT provisional, line FROM settled WHERE request_id = ?", (bill.request_id,)).fetchone()
    if row is not None and row[0] is None:
        return Settled(first=False)
    if not _fits(db, counters, bill.cost_nanousd):
        raise ValueError(f"{bill.request_id}: its counters cannot count so much")
    if row is None:
        held = _released(db, bill.request_id)
        _give_back(db, held.meters, rules.countable(bill.tokens), now)
        overrun = _book(db, bill.request_id, counters, bill.cost_nanousd, held.nanousd, line, now)
    else:
        overrun = _book(db, bill.request_id, counters, bill.cost_nanousd - row[0], 0, line, now, adjusts=row[1])
    _mark(db, bill.request_id, None, now)
    return Settled(True, overrun, tuple(_sums(db, counter)[0] for counter in bill.counters))


def reap(db: Connection, limit: int, steady_s: float) -> int:
    now = now_ms()
    sweep = "DELETE FROM settled WHERE request_id IN (SELECT request_id FROM settled WHERE at_ms < ? LIMIT ?)"
    db.execute(sweep, (now - SETTLED_MS, SWEEP))
    if not _steady(db, now, steady_s):
        return 0
    query = "SELECT request_id FROM holds WHERE deadline_ms <= ? ORDER BY deadline_ms LIMIT ?"
    lost = [id for (id,) in db.execute(query, (now, limit))]
    return sum(_ended(db, id, now) for id in lost)


def _ended(db: Connection, request_id: str, now: int) -> bool:
    """Settle a lost hold at its checkpoint; what cannot be counted must not keep the others from their end."""
    counters, cost = db.execute("SELECT counters, cost FROM holds WHERE request_id = ?", (request_id,)).fetchone()
    if not _fits(db, orjson.loads(counters), cost):
        db.execute("UPDATE holds SET deadline_ms = ? WHERE request_id = ?", (now + LATER_MS, request_id))
        return False
    held = _released(db, request_id)
    _book(db, request_id, held.counters, held.cost, held.nanousd, held.line, now)
    _mark(db, request_id, held.cost, now, held.line or "{}")
    return True


def _steady(db: Connection, now: int, steady_s: float) -> bool:
    """Whether reaps have come for `steady_s` without a pause. While nothing is held nobody asks: nothing is written."""
    if db.execute("SELECT 1 FROM holds LIMIT 1").fetchone() is None:
        return False
    seen, steady = db.execute("SELECT seen_s, steady_s FROM reaper").fetchone() or (None, 0.0)
    since_s = rules.steady_since(seen, steady, now / 1000)
    db.execute("INSERT OR REPLACE INTO reaper (one, seen_s, steady_s) VALUES (1, ?, ?)", (now / 1000, since_s))
    return now / 1000 - since_s >= steady_s


def _released(db: Connection, request_id: str) -> _Held:
    """The hold, taken out, its money and its slots given back; what it took of tokens stays taken."""
    query = "DELETE FROM holds WHERE request_id = ? RETURNING nanousd, counters, meters, cost, line"
    row = db.execute(query, (request_id,)).fetchone()
    if row is None:
        return _Held()
    held = _Held(row[0], orjson.loads(row[1]), orjson.loads(row[2]), row[3], row[4])
    _add(db, held.counters, held=-held.nanousd)
    for scope, measure, bucket, amount in held.meters:
        if measure == "parallel":
            _take(db, scope, measure, bucket, -amount)
    return held


def _give_back(db: Connection, meters: Sequence[tuple[str, Measure, int, int]], tokens: int, now: int) -> None:
    """What was not used of the tokens, if the reserve's bucket still counts; what was used on top is taken now."""
    for scope, measure, bucket, amount in meters:
        if measure not in ("tpm", "tpd"):
            continue
        if tokens > amount:
            _take(db, scope, measure, rules.bucket(measure, now / 1000), tokens - amount)
        elif rules.counting({bucket: 1}, measure, now / 1000):
            _take(db, scope, measure, bucket, tokens - amount)


def _book(
    db: Connection,
    request_id: str,
    counters: Sequence[tuple[str, str, float]],
    cost: int,
    held: int,
    line: str,
    now: int,
    adjusts: str = "",
) -> int:
    """Add the cost to the counters and write the entry; by how much it exceeds what was held."""
    overrun = max(0, cost - held)
    _add(db, counters, spent=cost)
    (last,) = db.execute("SELECT at_ms FROM journal ORDER BY id DESC LIMIT 1").fetchone() or (0,)
    names = _json([f"{scope}|{window}" for scope, window, _ in counters])
    db.execute(
        "INSERT INTO journal (at_ms, request_id, cost, overrun, adjusts, counters, line) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (max(now, last), request_id, cost, overrun, adjusts, names, line),
    )
    return overrun


def _mark(db: Connection, request_id: str, provisional: int | None, now: int, line: str = "") -> None:
    row = (request_id, provisional, line, now)
    db.execute("INSERT OR REPLACE INTO settled (request_id, provisional, line, at_ms) VALUES (?, ?, ?, ?)", row)


# --- counters and meters


def _placed(counter: Counter) -> tuple[str, str, float]:
    return counter.scope, counter.window, counter.end_s


def _sums(db: Connection, counter: Counter) -> tuple[int, int]:
    query = "SELECT spent, held FROM counters WHERE scope = ? AND window = ?"
    row: tuple[int, int] | None = db.execute(query, (counter.scope, counter.window)).fetchone()
    return row or (0, 0)


def _fits(db: Connection, counters: Sequence[tuple[str, str, float]], cost: int) -> bool:
    """Whether each can take `cost` more: past 2**63 SQLite goes on in floating point. Small ones do not get there."""
    query = "SELECT 1 FROM counters WHERE scope = ? AND window = ? AND spent >= ?"
    most = (rules.MOST_SUM - cost,)
    return cost < SMALL or not any(db.execute(query, (*counter[:2], *most)).fetchone() for counter in counters)


def _add(db: Connection, counters: Sequence[tuple[str, str, float]], spent: int = 0, held: int = 0) -> None:
    db.executemany(
        "INSERT INTO counters (scope, window, end_s, spent, held) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET spent = spent + excluded.spent, held = held + excluded.held",
        [(*counter, spent, held) for counter in counters],
    )


def levels(db: Connection, meters: Sequence[Meter]) -> list[Level]:
    """How full these are now."""
    now = now_ms()
    return [_level(meter, _fill(db, meter, now), now / 1000) for meter in meters]


def _level(meter: Meter, fill: _Fill, now_s: float) -> Level:
    """When a slot will be free nobody knows."""
    return Level(fill.running, 0.0) if meter.measure == "parallel" else rules.level(fill.buckets, meter.measure, now_s)


def _fill(db: Connection, meter: Meter, now: int, amount: int = 0) -> _Fill:
    """What stands in it. Where `amount` more fits, all of it as if it stood in the newest bucket: rules.py tells them
    apart only to say when there is room."""
    if meter.measure == "parallel":
        row = db.execute("SELECT running FROM slots WHERE scope = ?", (meter.scope,)).fetchone()
        return _Fill({}, row[0] if row else 0)
    of = meter.scope, meter.measure, _bucket(meter, now) - rules.BUCKETS
    which = " FROM meters WHERE scope = ? AND measure = ? AND bucket >= ? AND amount <> 0"
    newest, used = db.execute("SELECT max(bucket), sum(amount)" + which, of).fetchone()
    if newest is None:
        return _Fill({}, 0)
    if used + amount > meter.limit:
        return _Fill(dict(db.execute("SELECT bucket, amount" + which, of).fetchall()), 0)
    return _Fill({newest: used}, 0)


def _bucket(meter: Meter, now: int) -> int:
    return 0 if meter.measure == "parallel" else rules.bucket(meter.measure, now / 1000)


def _forget(db: Connection, meter: Meter, bucket: int) -> None:
    """Let go of what no longer counts."""
    past = "DELETE FROM meters WHERE scope = ? AND measure = ? AND bucket < ?"
    db.execute(past, (meter.scope, meter.measure, bucket - rules.BUCKETS))


def _take(db: Connection, scope: str, measure: Measure, bucket: int, amount: int) -> None:
    """Count `amount` more, or less."""
    if measure == "parallel":
        db.execute(
            "INSERT INTO slots (scope, running) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET running = running + excluded.running",
            (scope, amount),
        )
        if amount < 0:
            db.execute("DELETE FROM slots WHERE scope = ? AND running <= 0", (scope,))
        return
    db.execute(
        "INSERT INTO meters (scope, measure, bucket, amount) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        (scope, measure, bucket, amount),
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
