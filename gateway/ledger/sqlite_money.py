"""What the embedded store does with money: reserve, grow, renew, settle, reap. Each is one step of a transaction.

Sums are read and changed in `db.known`, which the transaction writes at its end (sqlite_known).
"""

from collections.abc import Sequence

import orjson

from gateway.ledger import rules
from gateway.ledger.sqlite_file import Connection
from gateway.ledger.sqlite_known import Billed, Filled, Metered, Sums
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

HOLD = (
    "INSERT INTO holds (request_id, nanousd, counters, meters, tokens, line, deadline_ms)"
    " SELECT ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM settled WHERE request_id = ?)"
    " ON CONFLICT DO NOTHING"
)
RELEASE = "DELETE FROM holds WHERE request_id = ? RETURNING nanousd, counters, meters, cost, line"
ENTRY = "INSERT INTO journal (at_ms, request_id, cost, overrun, adjusts, counters, line) VALUES (?, ?, ?, ?, ?, ?, ?)"
MARK = "INSERT OR REPLACE INTO settled (request_id, provisional, line, at_ms) VALUES (?, ?, ?, ?)"


# --- reserve and grow


def reserve(db: Connection, ask: Ask) -> Granted | Refused:
    """Decided first, and only then looked whether it was asked before: that is seldom."""
    now = now_ms()
    known = db.known
    billed, metered = known.billed(db, ask.counters), known.metered(ask.meters)
    answer = _decided(db, ask, billed, metered, now)
    if isinstance(answer, Refused):
        return _before(db, ask.request_id) or answer
    nanousd, _, tokens, _ = answer
    words: list[int | None] = []
    for fill, _ in metered.fills:
        words += (fill.here, tokens) if fill.of_tokens else (fill.here,)
    taken, deadline = metered.taken % tuple(words), now + int(ask.lease_s * 1000)
    row = ask.request_id, nanousd, billed.places, taken, tokens, ask.line.decode(), deadline, ask.request_id
    if db.execute(HOLD, row).rowcount < 1:
        return _before(db, ask.request_id) or answer
    for fill, _ in metered.fills:
        amount, owed, here = tokens if fill.of_tokens else 1, fill.owed, fill.here or 0
        fill.used += amount
        owed[here] = owed.get(here, 0) + amount
    known.filled.update(metered.each)
    _change(db, billed.sums, held=nanousd)
    return answer


def _before(db: Connection, request_id: str) -> Granted | None:
    """What a request that asked before was granted."""
    if live := db.execute("SELECT nanousd, tokens FROM holds WHERE request_id = ?", (request_id,)).fetchone():
        return Granted(live[0], tokens=live[1])
    if db.execute("SELECT 1 FROM settled WHERE request_id = ?", (request_id,)).fetchone():
        return Granted(0)
    return None


def _decided(db: Connection, ask: Ask, billed: Billed, metered: Metered, now: int) -> Granted | Refused:
    now_s = now / 1000
    refused = _standing(db, ask.standings, now_s)
    if refused is None and not billed.since_s <= now_s < billed.until_s:
        refused = _window(ask.counters, now_s)
    if refused is not None:
        return refused
    answer = rules.grant(ask, [(sums.spent, sums.held) for sums in billed.sums])
    if isinstance(answer, Refused) and answer.reason == "over_budget":
        return answer
    tokens = min(rules.countable(ask.tokens), metered.tokens)
    fits, levels = not metered.none and ask.least_tokens <= metered.tokens, list[Level]()
    for fill, limit in metered.fills:
        here, amount, size_s = now // fill.size_ms, tokens if fill.of_tokens else 1, fill.size_s
        if fill.here != here or fill.newest > here or amount == 0:
            fill.read(db, here)
        used = fill.used + amount
        if used > limit:
            fits = False
        newest = here if amount and fill.newest <= here else fill.newest
        full_s = (newest + rules.BUCKETS + 1) * size_s - now_s if size_s and newest >= 0 else 0.0
        levels.append((used, full_s))
    if not fits and (full := _full(db, ask, metered, tokens, now_s)):
        return full
    if isinstance(answer, Refused):
        return answer
    nanousd, afford, _, _ = answer
    if name := rules.uncountable(ask.counters, [sums.held for sums in billed.sums], nanousd):
        return Refused("held", name)
    return Granted(nanousd, afford, tokens, tuple(levels))


def _full(db: Connection, ask: Ask, metered: Metered, tokens: int, now_s: float) -> Refused | None:
    """Why the meters have no room, which were read. Where there is, all may stand in one bucket."""
    filled = [
        fill.buckets(db) if fill.used + (tokens if fill.of_tokens else 1) > limit else {fill.here or 0: fill.used}
        for fill, limit in metered.fills
    ]
    return rules.meter_refusal(ask, filled, [fill.used for fill, _ in metered.fills], now_s)


def grow(db: Connection, growth: Growth) -> Granted | Refused:
    query = "SELECT nanousd, counters FROM holds WHERE request_id = ?"
    row = db.execute(query, (growth.request_id,)).fetchone()
    if row is None:
        return Refused("gone")
    nanousd, places = row
    if nanousd != growth.held_nanousd:  # this step was taken before, and its answer lost
        return Granted(nanousd)
    if refused := _standing(db, growth.standings, now_ms() / 1000):
        return refused
    billed = db.known.billed(db, growth.counters)
    answer = rules.grow(growth, [(sums.spent, sums.held) for sums in billed.sums])
    if isinstance(answer, Granted):
        if name := rules.uncountable(growth.counters, [sums.held for sums in billed.sums], answer.nanousd - nanousd):
            return Refused("held", name)
        _change(db, _sums(db, places, billed), held=answer.nanousd - nanousd)
        db.execute("UPDATE holds SET nanousd = ? WHERE request_id = ?", (answer.nanousd, growth.request_id))
    return answer


def _standing(db: Connection, standings: Sequence[Standing], now_s: float) -> Refused | None:
    known, until_s = db.known.standing.get(id(standings), (None, 0.0))
    if known is standings and now_s < until_s:
        return None
    query = "SELECT version, revoked, expires FROM records WHERE kind = ? AND id = ?"
    until_s = float("inf")
    for kind, whose, believed in standings:
        version, revoked, expires = db.execute(query, (kind, whose)).fetchone() or (0, False, None)
        if kind in ("key", "team"):
            if version == 0 or revoked or (expires is not None and now_s >= expires):
                return Refused("gone")
            until_s = until_s if expires is None else min(until_s, expires)
        if version != believed:
            return Refused("stale")
    db.known.standing[id(standings)] = standings, until_s
    return None


def _window(counters: Sequence[Counter], now_s: float) -> Refused | None:
    for counter in counters:
        if counter.end_s and not counter.start_s <= now_s < counter.end_s:
            return Refused("window", counter.name, now_s)
    return None


# --- renew


def renew(db: Connection, beats: Sequence[Beat], lease_s: float) -> list[str]:
    deadline = now_ms() + int(lease_s * 1000)
    ids = orjson.dumps([beat.request_id for beat in beats]).decode()
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
    """Raises ValueError where a counter cannot count so much; what was done until then is undone with the step."""
    now = now_ms()
    billed = db.known.billed(db, bill.counters)
    cost, before, held = bill.cost_nanousd, "", 0
    row = db.execute(RELEASE, (bill.request_id,)).fetchone()
    if row is None:  # what is held has no mark yet
        mark = db.execute("SELECT provisional, line FROM settled WHERE request_id = ?", (bill.request_id,)).fetchone()
        if mark is not None:
            if mark[0] is None:
                db.execute("UPDATE settled SET at_ms = ? WHERE request_id = ?", (now, bill.request_id))
                return Settled(False, 0, tuple([sums.spent for sums in billed.sums]))
            cost, before = cost - mark[0], mark[1]
    if not _fits(billed.sums, bill.cost_nanousd):
        raise ValueError(f"{bill.request_id}: its counters cannot count so much")
    if row is None:
        _change(db, billed.sums, spent=cost)
    else:
        held, places, meters, _, _ = row
        if places == billed.places:
            _change(db, billed.sums, cost, -held)
        else:
            _change(db, _sums(db, places, billed), held=-held)
            _change(db, billed.sums, spent=cost)
        _give_back(db, meters, rules.countable(bill.tokens), now)
    overrun = max(0, cost - held)
    _journal(db, bill.request_id, cost, overrun, before, billed.names, line, now)
    db.execute(MARK, (bill.request_id, None, "", now))
    return Settled(True, overrun, tuple([sums.spent for sums in billed.sums]))


def reap(db: Connection, limit: int, steady_s: float) -> int:
    now = now_ms()
    sweep = "DELETE FROM settled WHERE request_id IN (SELECT request_id FROM settled WHERE at_ms < ? LIMIT ?)"
    db.execute(sweep, (now - SETTLED_MS, SWEEP))
    if not _steady(db, now, steady_s):
        return 0
    query = "SELECT request_id, counters, cost FROM holds WHERE deadline_ms <= ? ORDER BY deadline_ms LIMIT ?"
    lost = db.execute(query, (now, limit)).fetchall()
    return sum(_ended(db, id, places, cost, now) for id, places, cost in lost)


def _ended(db: Connection, request_id: str, places: str, cost: int, now: int) -> bool:
    """Settle a lost hold at its checkpoint; what cannot be counted must not keep the others from their end."""
    sums = _sums(db, places)
    if not _fits(sums, cost):
        db.execute("UPDATE holds SET deadline_ms = ? WHERE request_id = ?", (now + LATER_MS, request_id))
        return False
    held, _, meters, _, line = db.execute(RELEASE, (request_id,)).fetchone()
    _change(db, sums, cost, -held)
    _give_back(db, meters, None, now)
    names = orjson.dumps([f"{one.place[0]}|{one.place[1]}" for one in sums]).decode()
    _journal(db, request_id, cost, max(0, cost - held), "", names, line, now)
    db.execute(MARK, (request_id, cost, line or "{}", now))
    return True


def _steady(db: Connection, now: int, steady_s: float) -> bool:
    """Whether reaps have come for `steady_s` without a pause. While nothing is held nobody asks: nothing is written."""
    if db.execute("SELECT 1 FROM holds LIMIT 1").fetchone() is None:
        return False
    seen, steady = db.execute("SELECT seen_s, steady_s FROM reaper").fetchone() or (None, 0.0)
    since_s = rules.steady_since(seen, steady, now / 1000)
    db.execute("INSERT OR REPLACE INTO reaper (one, seen_s, steady_s) VALUES (1, ?, ?)", (now / 1000, since_s))
    return now / 1000 - since_s >= steady_s


def _give_back(db: Connection, meters: str, tokens: int | None, now: int) -> None:
    """The slots; and what was not used of the tokens, if the reserve's bucket still counts. What was used on top is
    taken now. None: what was taken of tokens stays taken."""
    known = db.known
    taken: list[tuple[str, Measure, int, int]] = orjson.loads(meters)
    for scope, measure, bucket, amount in taken:
        if measure == "parallel":
            fill = known.meter(scope, measure)
            if fill.here is None:
                fill.read(db, 0)
            fill.used = max(0, fill.used - amount)
            known.filled.add(fill)
        elif tokens is not None and tokens != amount and measure in ("tpm", "tpd"):
            fill = known.meter(scope, measure)
            here = now // fill.size_ms
            if tokens > amount or bucket >= here - rules.BUCKETS:
                fill.take(here if tokens > amount else bucket, tokens - amount)
                known.filled.add(fill)


def _journal(
    db: Connection, request_id: str, cost: int, overrun: int, adjusts: str, names: str, line: str, now: int
) -> None:
    """Write the entry, never before the one ahead of it."""
    known = db.known
    if known.last_ms is None:
        (known.last_ms,) = db.execute("SELECT at_ms FROM journal ORDER BY id DESC LIMIT 1").fetchone() or (0,)
    known.last_ms = at_ms = max(now, known.last_ms)
    db.execute(ENTRY, (at_ms, request_id, cost, overrun, adjusts, names, line))


# --- counters and meters


def _sums(db: Connection, places: str, billed: Billed | None = None) -> tuple[Sums, ...]:
    """The counters that a hold stands on: most often those of its bill."""
    if billed is not None and places == billed.places:
        return billed.sums
    return tuple([db.known.counter(db, *place) for place in orjson.loads(places)])


def _fits(counters: Sequence[Sums], cost: int) -> bool:
    """Whether each can take `cost` more: past 2**63 SQLite goes on in floating point. Small ones do not get there."""
    return cost < SMALL or all(sums.spent < rules.MOST_SUM - cost for sums in counters)


def _change(db: Connection, counters: tuple[Sums, ...], spent: int = 0, held: int = 0) -> None:
    for sums in counters:
        sums.spent += spent
        sums.held += held
    db.known.changed.add(counters)


def levels(db: Connection, meters: Sequence[Meter]) -> list[Level]:
    """How full these are now."""
    now, found = now_ms(), list[Level]()
    for meter in meters:
        fill = Filled(meter.scope, meter.measure)
        fill.read(db, now // fill.size_ms)
        full_s = 0.0 if fill.newest < 0 else rules.leaves_s(fill.newest, meter.measure, now / 1000)
        found.append((fill.used, full_s))
    return found
