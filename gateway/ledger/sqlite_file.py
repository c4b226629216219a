"""The one door to SQLite: a connection with its thread, transactions that carry many steps, the file and its schema."""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import orjson

from gateway.ledger.sqlite_known import Known
from gateway.ledger.store import KEPT_S, Conflict, StoreDown

SCHEMA = 2
BUSY_S = 5.0  # how long to wait for another process's transaction
RUNNING_S = 600  # a hold of schema 1 that is older is taken for a dead worker's
MOUNTS = "/proc/self/mounts"  # Linux alone has it
FAR = {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
BROKEN = {  # sqlite.org/rescode.html: the file may be another by now; the connection is made anew
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB),
    sqlite3.SQLITE_READONLY,
}

SPOILT = (Conflict, ValueError, OverflowError, orjson.JSONEncodeError, sqlite3.Error)  # by what one step cannot do

# To the tables of schema 1: what schema.sql makes anew is set aside, filled from what there was, and let go.
SET_ASIDE = (
    "ALTER TABLE counters ADD COLUMN folded INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE holds RENAME TO holds_1",
    "ALTER TABLE journal RENAME TO journal_1",
    "DROP INDEX journal_by_time",
)
TAKEN_OVER = (
    "INSERT INTO holds (request_id, nanousd, counters, meters, tokens, line, deadline_ms)"
    " SELECT request_id, nanousd, (SELECT json_group_array(json_array(counters.scope, counters.window, counters.end_s))"
    " FROM json_each(holds_1.counters) named JOIN counters ON counters.scope = json_extract(named.value, '$[0]')"
    " AND counters.window = json_extract(named.value, '$[1]')), '[]', 0, '', :now_ms + 10000 FROM holds_1",
    "INSERT INTO journal (id, at_ms, request_id, cost, counters, line)"
    " SELECT id, at_ms, request_id, json_extract(line, '$.cost_nanousd'), (SELECT json_group_array("
    "json_extract(value, '$[0]') || '|' || json_extract(value, '$[1]')) FROM json_each(journal_1.counters)), line"
    " FROM journal_1 ORDER BY id",
    "INSERT INTO settled (request_id, at_ms) SELECT request_id, at_ms FROM journal_1",
    "DROP TABLE holds_1",
    "DROP TABLE journal_1",
)


class Connection(sqlite3.Connection):
    """One that remembers."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.known = Known()


Step = Callable[[Connection], Any]
Way = Callable[[Connection, Sequence[Step]], Sequence[Any]]
Answer = TypeVar("Answer")


class Worker:
    """A connection and the one thread that uses it. Foreign errors become StoreDown here."""

    def __init__(self, path: str, prepare: Callable[[Connection], None]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headgate-sqlite")
        self._path = path
        self._prepare = prepare
        self._db: Connection | None = None
        self._open = False

    async def open(self) -> None:
        """Raises StoreDown when the file cannot be opened, is no database, or was written by a newer Headgate."""
        await self._run(self._connected)
        self._open = True

    async def go(self, way: Way, steps: Sequence[Step]) -> Sequence[Any]:
        """The answer of each step, or the error in its place. Raises StoreDown when all have failed."""
        if not self._open:
            raise StoreDown(f"{self._path} is not open")
        return await self._run(self._gone, way, steps)

    async def close(self) -> None:
        self._open = False
        await self._run(self._closed)
        self._thread.shutdown()

    async def _run(self, call: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise StoreDown(f"{self._path}: {error}") from error

    def _connected(self) -> Connection:
        if self._db is None:
            _make(self._path)
            db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, factory=Connection)
            try:
                self._prepare(db)
            except BaseException:  # whatever it is goes on; an open file must not
                db.close()
                raise
            self._db = db
        return self._db

    def _gone(self, way: Way, steps: Sequence[Step]) -> Sequence[Any]:
        try:
            return way(self._connected(), steps)
        except sqlite3.Error as error:
            if _broken(error):
                self._closed()
            raise

    def _closed(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _make(path: str) -> None:
    """An empty file that only its owner may read, unless there is one.

    It is never opened under its own name: to close any descriptor of a database gives up every lock that this process
    has on it (sqlite.org/howtocorrupt.html, 2.2), and another would then take away the log that it still reads.
    """
    if os.path.exists(path):
        return
    descriptor, new = tempfile.mkstemp(prefix="headgate-", dir=os.path.dirname(path) or ".")
    os.close(descriptor)
    try:
        os.link(new, path)
    except FileExistsError:  # somebody was quicker
        pass
    finally:
        os.unlink(new)


def _broken(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in BROKEN  # the low byte is the primary code


def transaction(db: Connection, steps: Sequence[Step]) -> Sequence[Any]:
    """Every step within one transaction: what one cannot do does not spoil the others.

    Where one fails, all is undone and they are taken again, each in a savepoint of its own: a step that was undone does
    the same once more.
    """
    try:
        _begin(db)
        try:
            answers = [step(db) for step in steps]
            db.known.flush(db)
        except SPOILT as error:
            if _ended(db, error):
                raise
            _undo(db)
            if len(steps) == 1:
                return [_told(error)]
            _begin(db)
            answers = [_saved(db, step) for step in steps]
        db.execute("COMMIT")
    except BaseException:  # whatever it is goes on; what is known must be true
        db.known.forget()
        raise
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return answers


def _begin(db: Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA data_version").fetchone()  # another where anybody else wrote meanwhile
    db.known.begin(version)


def _undo(db: Connection, to: str = "") -> None:
    db.known.forget()
    db.execute("ROLLBACK" + to)


def _saved(db: Connection, step: Step) -> Any:
    db.execute("SAVEPOINT step")
    try:
        answer = step(db)
        db.known.flush(db)
        return answer
    except SPOILT as error:
        if _ended(db, error):
            raise
        _undo(db, " TO step")
        return _told(error)
    finally:
        if db.in_transaction:
            db.execute("RELEASE step")


def _ended(db: Connection, error: Exception) -> bool:
    """Whether it ends the transaction: a full disk may (sqlite.org/lang_transaction.html)."""
    return isinstance(error, sqlite3.Error) and (not db.in_transaction or _broken(error))


def _told(error: Exception) -> Exception:
    return StoreDown(str(error)) if isinstance(error, sqlite3.Error) else error


def alone(step: Step, db: Connection) -> Any:
    """`step`, for one that reads and writes the file behind the back of what is known of it."""
    db.known.flush(db)
    try:
        return step(db)
    finally:
        db.known.forget()


def snapshot(db: Connection, steps: Sequence[Step]) -> Sequence[Any]:
    """All steps on one state of the file; what one cannot read does not spoil the others."""
    db.execute("BEGIN")
    try:
        return [_read(db, step) for step in steps]
    finally:
        if db.in_transaction:
            db.execute("COMMIT")


def _read(db: Connection, step: Step) -> Any:
    try:
        return step(db)
    except (ValueError, OverflowError, orjson.JSONEncodeError) as error:
        return error
    except sqlite3.Error as error:
        if not db.in_transaction or _broken(error):
            raise
        return StoreDown(str(error))


def for_writing(db: Connection) -> None:
    """The file's settings and tables; several workers may do this at once."""
    _switch_to_wal(db)
    db.execute("PRAGMA synchronous = FULL")  # fsync at each commit, not only at a checkpoint (sqlite.org/pragma.html)
    db.execute("BEGIN IMMEDIATE")
    try:
        _to_this_schema(db)
        db.execute("DELETE FROM counters WHERE end_s > 0 AND end_s < ?", (time.time() - KEPT_S,))
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def for_reading(db: Connection) -> None:
    db.execute("PRAGMA query_only = ON")


def _to_this_schema(db: Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        raise StoreDown(
            f"the store was written by a newer Headgate (schema {version}, this one knows {SCHEMA}):"
            " upgrade, or use another file"
        )
    if version == 1:
        _nobody_runs(db)
    for statement in SET_ASIDE if version == 1 else ():
        db.execute(statement)
    for statement in files("gateway.ledger").joinpath("schema.sql").read_text().split(";\n"):
        db.execute(statement)
    for statement in TAKEN_OVER if version == 1 else ():
        db.execute(statement, {"now_ms": time.time_ns() // 1_000_000})
    if version != SCHEMA:
        db.execute(f"PRAGMA user_version = {SCHEMA}")


def _nobody_runs(db: Connection) -> None:
    """A worker of schema 1 can book nothing after the change, and its holds have no leases: whether it still runs is
    told by how old they are. Raises StoreDown."""
    since_ms = time.time_ns() // 1_000_000 - RUNNING_S * 1000
    (running,) = db.execute("SELECT COUNT(*) FROM holds WHERE at_ms > ?", (since_ms,)).fetchone()
    if running:
        raise StoreDown(
            f"{running} requests of an older Headgate hold money in this file: stop that one first"
            f" (if it was killed, this one begins when they are {RUNNING_S // 60} minutes old)"
        )


def _switch_to_wal(db: Connection) -> None:
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


def far_away(path: str, mounts: str = MOUNTS) -> str | None:
    """The kind of network file system that `path` is on; None when it is near, or `mounts` is not there to tell.

    WAL needs memory that all its processes share (sqlite.org/wal.html), which such a file system has not.
    """
    if not Path(mounts).exists():
        return None
    place, found, kind = Path(path).resolve(), Path("/"), ""
    for line in Path(mounts).read_text().splitlines():
        _, point, its_kind, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " "))
        if place.is_relative_to(mounted) and len(mounted.parts) >= len(found.parts):
            found, kind = mounted, its_kind
    return kind if kind in FAR else None
