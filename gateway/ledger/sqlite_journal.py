"""What the embedded store tells of itself: balances, holds, the journal, all of it at one instant. And how entries of
the journal are folded up. Each is one step."""

from collections.abc import Mapping, Sequence

import orjson

from gateway.ledger import journal
from gateway.ledger.sqlite_file import Connection
from gateway.ledger.sqlite_records import now_ms
from gateway.ledger.store import Balance, Entry, Fold, Live, Snapshot, Sum


def balances(db: Connection, scopes: Sequence[str]) -> list[Balance]:
    query = (
        "SELECT scope, window, spent, held FROM counters WHERE scope = ? AND (end_s = 0 OR end_s > ?) ORDER BY window"
    )
    now_s = now_ms() / 1000
    return [Balance(*row) for scope in dict.fromkeys(scopes) for row in db.execute(query, (scope, now_s))]


def holds(db: Connection) -> list[Live]:
    query = "SELECT request_id, nanousd, cost, deadline_ms, counters, meters, line FROM holds ORDER BY deadline_ms"
    return [
        Live(
            request_id=id,
            nanousd=nanousd,
            cost_nanousd=cost,
            deadline_s=deadline_ms / 1000,
            counters=tuple(f"{scope}|{window}" for scope, window, _ in orjson.loads(counters)),
            slots=tuple(scope for scope, measure, _, _ in orjson.loads(meters) if measure == "parallel"),
            bill=journal.bill_of(line, id, cost),
        )
        for id, nanousd, cost, deadline_ms, counters, meters, line in db.execute(query)
    ]


def entries(db: Connection, start_ms: int, end_ms: int, after: int, limit: int) -> list[Entry]:
    query = "SELECT id FROM journal WHERE at_ms >= ? ORDER BY at_ms, id LIMIT 1"
    (first,) = db.execute(query, (start_ms,)).fetchone() or (0,)
    query = (
        "SELECT id, at_ms, request_id, cost, overrun, adjusts, counters, line FROM journal"
        " WHERE id >= ? AND at_ms >= ? AND at_ms < ? ORDER BY id LIMIT ?"
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
            query, (max(first, after + 1), start_ms, end_ms, limit)
        )
    ]


def everything(db: Connection) -> Snapshot:
    first, last = db.execute("SELECT MIN(id), MAX(id) FROM journal").fetchone()
    return Snapshot(
        now_s=now_ms() / 1000,
        sums={
            f"{scope}|{window}": Sum(spent, held, folded)
            for scope, window, spent, held, folded in db.execute(
                "SELECT scope, window, spent, held, folded FROM counters"
            )
        },
        holds=holds(db),
        slots=dict(db.execute("SELECT scope, running FROM slots").fetchall()),
        first_id=str(first or ""),
        last_id=str(last or ""),
    )


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
    usage = {name: before.get(name, 0) + fold.usage.get(name, 0) for name in {**before, **fold.usage}}
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
