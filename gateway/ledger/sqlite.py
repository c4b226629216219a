"""The embedded store: one SQLite file on a local disk, shared by every worker process of one machine.

A worker has one thread that writes, in transactions that carry all that was asked for meanwhile (one fsync for many
requests), and one that reads. `BEGIN IMMEDIATE` lets one process write at a time; what is acknowledged has been through
fsync and survives a power cut.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar, cast

import orjson

from gateway.ledger import journal
from gateway.ledger.batches import Lane
from gateway.ledger.store import (
    Ask,
    Balance,
    Bill,
    Conflict,
    Counter,
    Entry,
    Granted,
    Holder,
    Kind,
    Record,
    Refused,
    Settled,
    StoreDown,
    grant,
)

SCHEMA = 1
BUSY_S = 5.0  # how long to wait for another process's transaction
KEPT_S = 90 * 86_400  # how long a counter stays after its window's end

Answer = TypeVar("Answer")
Step = Callable[[sqlite3.Connection], Any]


class SqliteStore:
    """Store on the file at `path`, which is made if it is not there (readable by its owner only)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer = _Worker(path)
        self._reader = _Worker(path)
        self._writes: Lane[Step, Any] = Lane(partial(self._send, self._writer, _transaction), width=1)
        self._reads: Lane[Step, Any] = Lane(partial(self._send, self._reader, _snapshot), width=1)

    async def open(self) -> None:
        """Raises StoreDown when the file cannot be opened, is no database, or was written by a newer Headgate."""
        await self._writer.run(self._writer.open, _prepare)
        await self._reader.run(self._reader.open, _read_only)

    async def close(self) -> None:
        await self._writes.drain()
        await self._reads.drain()
        for worker in (self._reader, self._writer):
            await worker.run(worker.close)
            worker.thread.shutdown()

    async def ping(self) -> None:
        await self._write(_nothing)

    async def _send(self, worker: "_Worker", way: "Way", steps: Sequence[Step]) -> Sequence[Any]:
        return await worker.run(worker.go, way, steps)

    async def _write(self, step: Callable[[sqlite3.Connection], Answer]) -> Answer:
        return cast(Answer, await self._writes.put(step))

    async def _read(self, step: Callable[[sqlite3.Connection], Answer]) -> Answer:
        return cast(Answer, await self._reads.put(step))

    # --- keys and teams
    async def create(self, record: Record, digest: str | None = None) -> None:
        await self._write(partial(_create, record=record, body=record.model_dump_json(), digest=digest))

    async def get(self, kind: Kind, id: str) -> Record | None:
        return _record(await self._read(partial(_body, kind=kind, id=id)))

    async def find(self, kind: Kind, alias: str) -> Record | None:
        return _record(await self._read(partial(_body_by_alias, kind=kind, alias=alias)))

    async def list(self, kind: Kind, after: str = "", limit: int = 100) -> Sequence[Record]:
        bodies = await self._read(partial(_bodies, kind=kind, after=after, limit=limit))
        return [Record.model_validate_json(body) for body in bodies]

    async def replace(self, record: Record) -> None:
        await self._write(partial(_replace, record=record, body=record.model_dump_json()))

    async def rotate(self, id: str, version: int, digest: str, hint: str, grace_s: float) -> Record:
        return await self._write(
            partial(_rotate, id=id, version=version, digest=digest, hint=hint, grace_ms=int(grace_s * 1000))
        )

    async def holder(self, digest: str) -> Holder | None:
        """As the contract says. A revoked or expired key is returned as it is: the record tells."""
        row = await self._read(partial(_holder, digest=digest))
        if row is None:
            return None
        key, team, ends_ms = row
        return Holder(Record.model_validate_json(key), _record(team), None if ends_ms is None else ends_ms / 1000)

    # --- money
    async def reserve(self, ask: Ask) -> Granted | Refused:
        """As the contract says. A request that is already settled is granted 0: it may not hold a second time."""
        return await self._write(partial(_reserve, ask=ask))

    async def settle(self, bill: Bill) -> Settled:
        """As the contract says. Raises ValueError for a negative cost."""
        return await self._write(partial(_settle, bill=bill, line=journal.line(bill).decode()))

    async def balances(self, scopes: Sequence[str]) -> Sequence[Balance]:
        return await self._read(partial(_balances, scopes=scopes))

    async def journal(self, start_s: float, end_s: float, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        start_ms, end_ms = journal.span_ms(start_s, end_s)
        rows = await self._read(partial(_journal, start_ms=start_ms, end_ms=end_ms, after=int(after or 0), limit=limit))
        return [journal.entry(str(id), at_ms, line) for id, at_ms, line in rows]

    # --- odds and ends that outlive a worker
    async def claim(self, name: str, value: str) -> str:
        return await self._write(partial(_claim, name=name, value=value))

    async def remember(self, items: Mapping[str, bytes], ttl_s: float) -> None:
        if items:
            await self._write(partial(_remember, items=items, ttl_s=ttl_s))

    async def recall(self, names: Sequence[str]) -> Mapping[str, bytes]:
        return await self._read(partial(_recall, names=names)) if names else {}


# --- threads, transactions, the file


class _Worker:
    """A connection and the one thread that uses it. Foreign errors become StoreDown here."""

    def __init__(self, path: str) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="headgate-sqlite")
        self._path = path
        self._db: sqlite3.Connection | None = None

    async def run(self, call: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, call, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise StoreDown(f"{self._path}: {error}") from error

    def open(self, prepare: Callable[[sqlite3.Connection], None]) -> None:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        prepare(self._db)

    def go(self, way: "Way", steps: Sequence[Step]) -> Sequence[Any]:
        if self._db is None:
            raise StoreDown(f"{self._path} is not open")
        return way(self._db, steps)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


Way = Callable[[sqlite3.Connection, Sequence[Step]], Sequence[Any]]


def _transaction(db: sqlite3.Connection, steps: Sequence[Step]) -> Sequence[Any]:
    """Every step in a savepoint of its own within one transaction: what one cannot do does not spoil the others."""
    answers: list[Any] = []
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in steps:
            db.execute("SAVEPOINT step")
            try:
                answers.append(step(db))
            except (Conflict, ValueError, OverflowError) as error:
                db.execute("ROLLBACK TO step")
                answers.append(error)
            db.execute("RELEASE step")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return answers


def _snapshot(db: sqlite3.Connection, steps: Sequence[Step]) -> Sequence[Any]:
    """All steps on one state of the file."""
    db.execute("BEGIN")
    try:
        return [step(db) for step in steps]
    finally:
        db.execute("COMMIT")


def _prepare(db: sqlite3.Connection) -> None:
    """The file's settings and tables; several workers may do this at once."""
    _switch_to_wal(db)
    db.execute("PRAGMA synchronous = FULL")  # fsync at each commit, not only at a checkpoint (sqlite.org/pragma.html)
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise StoreDown(
                f"the store was written by a newer Headgate (schema {version}, this one knows {SCHEMA}):"
                " upgrade, or use another file"
            )
        if version == 0:
            for statement in files("gateway.ledger").joinpath("schema.sql").read_text().split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("DELETE FROM counters WHERE end_s > 0 AND end_s < ?", (time.time() - KEPT_S,))
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """SQLite does not wait for its busy time-out here when two processes switch at once, so this does."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _read_only(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA query_only = ON")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _nothing(db: sqlite3.Connection) -> None:
    """To take the write lock and give it back is what a ping must show."""


# --- steps: keys and teams


def _record(body: str | None) -> Record | None:
    return None if body is None else Record.model_validate_json(body)


def _body(db: sqlite3.Connection, kind: Kind, id: str) -> str | None:
    row = db.execute("SELECT body FROM records WHERE kind = ? AND id = ?", (kind, id)).fetchone()
    return row[0] if row else None


def _body_by_alias(db: sqlite3.Connection, kind: Kind, alias: str) -> str | None:
    query = "SELECT body FROM records WHERE kind = ? AND alias = ? AND NOT revoked"
    row = db.execute(query, (kind, alias)).fetchone()
    return row[0] if row else None


def _bodies(db: sqlite3.Connection, kind: Kind, after: str, limit: int) -> list[str]:
    query = "SELECT body FROM records WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
    return [body for (body,) in db.execute(query, (kind, after, limit))]


def _create(db: sqlite3.Connection, record: Record, body: str, digest: str | None) -> None:
    if _body(db, record.kind, record.id) is not None:
        raise Conflict(f"there is a {record.kind} {record.id} already")
    _write_record(db, record, body)
    if digest is not None:
        _bind(db, digest, record.id)


def _replace(db: sqlite3.Connection, record: Record, body: str) -> None:
    query = "SELECT version FROM records WHERE kind = ? AND id = ?"
    row = db.execute(query, (record.kind, record.id)).fetchone()
    if row is None or row[0] != record.version - 1:
        raise Conflict(f"the {record.kind} {record.id} has changed since it was read")
    _write_record(db, record, body)


def _write_record(db: sqlite3.Connection, record: Record, body: str) -> None:
    alias = record.alias or None
    taken = "SELECT 1 FROM records WHERE kind = ? AND alias = ? AND NOT revoked AND id <> ?"
    if alias and not record.revoked and db.execute(taken, (record.kind, alias, record.id)).fetchone():
        raise Conflict(f"the alias {alias!r} is taken by another {record.kind}")
    db.execute(
        "INSERT OR REPLACE INTO records (kind, id, alias, version, revoked, expires, team_id, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (record.kind, record.id, alias, record.version, record.revoked, record.expires, record.team_id or None, body),
    )


def _bind(db: sqlite3.Connection, digest: str, key_id: str) -> None:
    if db.execute("SELECT 1 FROM tokens WHERE digest = ?", (digest,)).fetchone():
        raise Conflict("the token is bound already")
    db.execute("INSERT INTO tokens (digest, key_id) VALUES (?, ?)", (digest, key_id))


def _rotate(db: sqlite3.Connection, id: str, version: int, digest: str, hint: str, grace_ms: int) -> Record:
    record = _record(_body(db, "key", id))
    if record is None or record.revoked or record.version != version:
        raise Conflict(f"the key {id} has changed since it was read")
    now_ms = _now_ms()
    db.execute(
        "UPDATE tokens SET ends_ms = MIN(COALESCE(ends_ms, :ends), :ends) WHERE key_id = :id",
        {"ends": now_ms + grace_ms, "id": id},
    )
    db.execute("DELETE FROM tokens WHERE key_id = ? AND ends_ms <= ?", (id, now_ms))
    _bind(db, digest, id)
    rotated = record.model_copy(update={"version": version + 1, "hint": hint})
    _write_record(db, rotated, rotated.model_dump_json())
    return rotated


def _holder(db: sqlite3.Connection, digest: str) -> tuple[str, str | None, int | None] | None:
    row: tuple[str, str | None, int | None] | None = db.execute(
        "SELECT key.body, team.body, token.ends_ms FROM tokens token"
        " JOIN records key ON key.kind = 'key' AND key.id = token.key_id"
        " LEFT JOIN records team ON team.kind = 'team' AND team.id = key.team_id"
        " WHERE token.digest = ? AND (token.ends_ms IS NULL OR token.ends_ms > ?)",
        (digest, _now_ms()),
    ).fetchone()
    return row


# --- steps: money


def _reserve(db: sqlite3.Connection, ask: Ask) -> Granted | Refused:
    now_s = time.time()
    if live := db.execute("SELECT nanousd FROM holds WHERE request_id = ?", (ask.request_id,)).fetchone():
        return Granted(live[0])
    if db.execute("SELECT 1 FROM journal WHERE request_id = ?", (ask.request_id,)).fetchone():
        return Granted(0)
    for kind, id, version in (("key", ask.key_id, ask.key_version), ("team", ask.team_id, ask.team_version)):
        if id is not None and (refused := _standing(db, kind, id, version, now_s)):
            return refused
    for counter in ask.counters:
        if counter.end_s and not counter.start_s <= now_s < counter.end_s:
            return Refused("window", counter.name, now_s)
    answer = grant(ask, [_sums(db, counter) for counter in ask.counters])
    if isinstance(answer, Granted):
        _add(db, ask.counters, held=answer.nanousd)
        row = (ask.request_id, answer.nanousd, _names(ask.counters), int(now_s * 1000))
        db.execute("INSERT INTO holds (request_id, nanousd, counters, at_ms) VALUES (?, ?, ?, ?)", row)
    return answer


def _standing(db: sqlite3.Connection, kind: str, id: str, version: int, now_s: float) -> Refused | None:
    query = "SELECT version, revoked, expires FROM records WHERE kind = ? AND id = ?"
    row = db.execute(query, (kind, id)).fetchone()
    if row is None or row[1] or (row[2] is not None and now_s >= row[2]):
        return Refused("gone")
    return None if row[0] == version else Refused("stale")


def _sums(db: sqlite3.Connection, counter: Counter) -> tuple[int, int]:
    query = "SELECT spent, held FROM counters WHERE scope = ? AND window = ?"
    row: tuple[int, int] | None = db.execute(query, (counter.scope, counter.window)).fetchone()
    return row or (0, 0)


def _add(db: sqlite3.Connection, counters: Sequence[Counter], spent: int = 0, held: int = 0) -> None:
    db.executemany(
        "INSERT INTO counters (scope, window, end_s, spent, held) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET spent = spent + excluded.spent, held = held + excluded.held",
        [(counter.scope, counter.window, counter.end_s, spent, held) for counter in counters],
    )


def _names(counters: Sequence[Counter]) -> str:
    return orjson.dumps([(counter.scope, counter.window) for counter in counters]).decode()


def _settle(db: sqlite3.Connection, bill: Bill, line: str) -> Settled:
    if db.execute("SELECT 1 FROM journal WHERE request_id = ?", (bill.request_id,)).fetchone():
        return Settled(first=False, overrun_nanousd=0)
    query = "DELETE FROM holds WHERE request_id = ? RETURNING nanousd, counters"
    held, names = db.execute(query, (bill.request_id,)).fetchone() or (0, "[]")
    release = "UPDATE counters SET held = held - ? WHERE scope = ? AND window = ?"
    db.executemany(release, [(held, scope, window) for scope, window in orjson.loads(names)])
    _add(db, bill.counters, spent=bill.cost_nanousd)
    (last_ms,) = db.execute("SELECT at_ms FROM journal ORDER BY id DESC LIMIT 1").fetchone() or (0,)
    db.execute(
        "INSERT INTO journal (at_ms, request_id, counters, line) VALUES (?, ?, ?, ?)",
        (max(_now_ms(), last_ms), bill.request_id, _names(bill.counters), line),
    )
    return Settled(first=True, overrun_nanousd=max(0, bill.cost_nanousd - held))


def _balances(db: sqlite3.Connection, scopes: Sequence[str]) -> list[Balance]:
    query = (
        "SELECT scope, window, spent, held FROM counters WHERE scope = ? AND (end_s = 0 OR end_s > ?) ORDER BY window"
    )
    now_s = time.time()
    return [Balance(*row) for scope in dict.fromkeys(scopes) for row in db.execute(query, (scope, now_s))]


def _journal(db: sqlite3.Connection, start_ms: int, end_ms: int, after: int, limit: int) -> list[tuple[int, int, str]]:
    query = "SELECT id FROM journal WHERE at_ms >= ? ORDER BY at_ms, id LIMIT 1"
    (first,) = db.execute(query, (start_ms,)).fetchone() or (0,)
    query = "SELECT id, at_ms, line FROM journal WHERE id >= ? AND at_ms >= ? AND at_ms < ? ORDER BY id LIMIT ?"
    return db.execute(query, (max(first, after + 1), start_ms, end_ms, limit)).fetchall()


# --- steps: odds and ends


def _claim(db: sqlite3.Connection, name: str, value: str) -> str:
    db.execute("INSERT INTO claims (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, value))
    row: tuple[str] = db.execute("SELECT value FROM claims WHERE name = ?", (name,)).fetchone()
    return row[0]


def _remember(db: sqlite3.Connection, items: Mapping[str, bytes], ttl_s: float) -> None:
    now_s = time.time()
    db.execute("DELETE FROM memories WHERE ends_s <= ?", (now_s,))
    rows = [(name, value, now_s + ttl_s) for name, value in items.items()]
    db.executemany("INSERT OR REPLACE INTO memories (name, value, ends_s) VALUES (?, ?, ?)", rows)


def _recall(db: sqlite3.Connection, names: Sequence[str]) -> dict[str, bytes]:
    query = "SELECT name, value FROM memories WHERE name IN (SELECT value FROM json_each(?)) AND ends_s > ?"
    return dict(db.execute(query, (orjson.dumps(list(names)).decode(), time.time())))
