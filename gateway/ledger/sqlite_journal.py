"""What the embedded store tells of itself: balances, holds, the journal, all of it at one instant. And how entries of
the journal are folded up. Each is one step."""

from collections.abc import Iterator, Mapping, Sequence

import orjson

from gateway.ledger import journal
from gateway.ledger.sqlite_file import Connection
from gateway.ledger.sqlite_records import now_ms
from gateway.ledger.store import Balance, Entry, Fold, Live, Snapshot, Sum

MOST = 2**63 - 1  # of one kind of tokens, where a provider counted nonsense


def balances(db: Connection, scopes: Sequence[str]) -> list[Balance]:
    query = (
        "SELECT scope, window, spent, held FROM counters WHERE scope = ? AND (end_s = 0 OR end_s > ?) ORDER BY window"
    )
    now_s = now_ms() / 1000
    return [Balance(*row) for scope in dict.fromkeys(scopes) for row in db.execute(query, (scope, now_s))]


def holds(db: Connection) -> list[Live]:
    query = "SELECT request_id, nanousd, cost, deadline_ms, counters, meters, line FROM holds ORDER BY deadline_ms"
    return [_live(*row)._replace(bill=journal.bill_of(line, row[0], row[2])) for *row, line in db.execute(query)]


def _bare_holds(db: Connection) -> Iterator[Live]:
    query = "SELECT request_id, nanousd, cost, deadline_ms, counters, meters FROM holds ORDER BY deadline_ms"
    return (_live(*row) for row in db.execute(query))


def _live(id: str, nanousd: int, cost: int, deadline_ms: int, counters: str, meters: str) -> Live:
    return Live(
        request_id=id,
        nanousd=nanousd,
        cost_nanousd=cost,
        deadline_s=deadline_ms / 1000,
        counters=tuple(f"{scope}|{window}" for scope, window, _ in orjson.loads(counters)),
        slots=tuple(scope for scope, measure, _, _ in orjson.loads(meters) if measure == "parallel"),
        bill={},
    )


def entries(db: Connection, start_ms: int, end_ms: int, after: int, limit: int) -> list[Entry]:
    query = "SELECT id FROM journal WHERE at_ms >= ? ORDER BY at_ms, id LIMIT 1"
    (first,) = db.execute(query, (start_ms,)).fetchone() or (0,)
    query = "SELECT id FROM journal WHERE at_ms < ? ORDER BY at_ms DESC, id DESC LIMIT 1"
    (last,) = db.execute(query, (end_ms,)).fetchone() or (0,)
    query = (  # by id, between bounds: times rise with them
        "SELECT id, at_ms, request_id, cost, overrun, adjusts, counters, line FROM journal"
        " WHERE id BETWEEN ? AND ? AND at_ms >= ? AND at_ms < ? ORDER BY id LIMIT ?"
    )
    return [
        journal.entry(
            str(id),
            at_ms,
            line,
            request_id=request_id,
            counters=orjson.loads(counters),
            overrun_nanousd=overrun,
            cost_nanousd=cost,
            adjusts=adjusts,
        )
        for id, at_ms, request_id, cost, overrun, adjusts, counters, line in db.execute(
            query, (max(first, after + 1), last, start_ms, end_ms, limit)
        )
    ]


def look(db: Connection, after: str | None, limit: int, names: Sequence[str]) -> Snapshot:
    first, last = db.execute("SELECT MIN(id), MAX(id) FROM journal").fetchone()
    scope, _, window = (after or "").rpartition("|")
    query = (
        "SELECT scope, window, spent, held, folded FROM counters WHERE (scope, window) > (?, ?)"
        " ORDER BY scope, window LIMIT ?"
    )
    page = db.execute(query, (scope, window, limit)).fetchall()
    lives = list(_bare_holds(db)) if after is None else []
    found = {f"{scope}|{window}": Sum(*sums) for scope, window, *sums in page}
    for name in {*names, *(name for live in lives for name in live.counters)} - found.keys():
        found |= _sum(db, name)
    return Snapshot(
        now_s=now_ms() / 1000,
        sums=found,
        holds=lives,
        slots={} if after is not None else dict(db.execute("SELECT scope, running FROM slots").fetchall()),
        first_id=str(first or ""),
        last_id=str(last or ""),
        after=f"{page[-1][0]}|{page[-1][1]}" if limit and len(page) == limit else None,
    )


def _sum(db: Connection, name: str) -> dict[str, Sum]:
    query = "SELECT spent, held, folded FROM counters WHERE scope = ? AND window = ?"
    row = db.execute(query, name.rsplit("|", 1)).fetchone()
    return {} if row is None else {name: Sum(*row)}


def fold(db: Connection, ids: Sequence[int], sums: Mapping[str, int], folds: Sequence[Fold]) -> bool:
    oldest = [id for (id,) in db.execute("SELECT id FROM journal ORDER BY id LIMIT ?", (len(ids),))]
    if oldest != list(ids):
        return False
    if ids:
        db.execute("DELETE FROM journal WHERE id <= ?", (ids[-1],))
    db.executemany(
        "UPDATE counters SET folded = folded + ? WHERE scope = ? AND window = ?",
        [(cost, *name.rsplit("|", 1)) for name, cost in sums.items()],  # no window has a bar in it, a user's name may
    )
    for one in folds:
        _add(db, one)
    return True


def _add(db: Connection, fold: Fold) -> None:
    day, called = fold.group["day"], orjson.dumps(dict(fold.group), option=orjson.OPT_SORT_KEYS).decode()
    row = db.execute("SELECT usage FROM folds WHERE day = ? AND called = ?", (day, called)).fetchone()
    before: Mapping[str, int] = orjson.loads(row[0]) if row else {}
    usage = {name: min(before.get(name, 0) + fold.usage.get(name, 0), MOST) for name in {**before, **fold.usage}}
    db.execute(
        "INSERT INTO folds (day, called, cost, requests, usage) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET cost = cost + excluded.cost, requests = requests + excluded.requests, usage = excluded.usage",
        (day, called, fold.cost_nanousd, fold.requests, orjson.dumps(usage).decode()),
    )


def folds(db: Connection, start_day: str, end_day: str) -> list[Fold]:
    query = "SELECT called, cost, requests, usage FROM folds WHERE day >= ? AND day < ? ORDER BY day, called"
    return [
        Fold(orjson.loads(called), cost, requests, orjson.loads(usage))
        for called, cost, requests, usage in db.execute(query, (start_day, end_day))
    ]
