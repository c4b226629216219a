"""The embedded store's file: how it is made, opened by many, and taken over from an older Headgate."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger import sqlite_file
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Counter, Granted, Settled, StoreDown, Sum
from tests.gateway.ledger.requests import DIGEST, ask, bill, cap, sums, with_key

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]


async def test_many_may_open_a_new_file_at_once(path: str) -> None:
    stores = [SqliteStore(path) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await with_key(stores[0])
    assert await stores[7].get("key", "k") is not None
    await asyncio.gather(*(store.close() for store in stores))


async def test_nobody_else_may_read_the_file(file: SqliteStore, path: str) -> None:
    await with_key(file)
    for name in Path(path).parent.glob("headgate.db*"):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name


async def test_what_is_acknowledged_is_through_fsync(file: SqliteStore) -> None:
    settings = await file._write(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    assert settings == ["wal", 2]  # 2 is FULL (sqlite.org/pragma.html#pragma_synchronous)


async def test_a_file_of_a_newer_headgate_is_left_alone(path: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {sqlite_file.SCHEMA + 1}")
    db.close()
    store = SqliteStore(path)
    with pytest.raises(StoreDown, match="newer Headgate"):
        await store.open()
    await store.close()


async def test_what_is_no_database_is_said_with_its_path(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at " * 20)
    for path in (text, tmp_path / "no folder" / "headgate.db", tmp_path):
        store = SqliteStore(str(path))
        with pytest.raises(StoreDown, match=str(path)):
            await store.open()
        await store.close()


def log_of(path: str) -> int | None:
    """Which file the log is, if there is one."""
    log = Path(f"{path}-wal")
    return log.stat().st_ino if log.exists() else None


async def test_a_process_that_leaves_takes_nothing_from_those_that_stay(path: str) -> None:
    """The last to close a database takes its log away; who thinks so wrongly spoils it for the others."""
    stores = [SqliteStore(path) for _ in range(2)]
    for store in stores:
        await store.open()  # the second one's opening must not cost the first one its locks
    await with_key(stores[0])
    await stores[0].reserve(ask("r", cap(None)))
    code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(db.execute('SELECT 1 FROM holds').fetchone())"
    before = log_of(path)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, path], check=True, capture_output=True)
    assert log_of(path) == before
    for store in stores:
        assert await sums(store, "key:k") == {"key:k|total": (0, 100)}
        await store.close()


async def test_counters_that_are_long_past_are_swept_out(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.settle(bill("r", 1, Counter("key:k", "1d:long ago", 1e9, 1e9 + 86_400), cap(None)))
    await store.close()
    again = SqliteStore(path)
    await again.open()
    assert (await again.snapshot()).sums == {"key:k|total": Sum(1, 0, 0)}
    await again.close()


# --- taken over from schema 1

SCHEMA_1 = """
CREATE TABLE records (kind TEXT NOT NULL, id TEXT NOT NULL, alias TEXT, version INTEGER NOT NULL,
    revoked INTEGER NOT NULL, expires REAL, team_id TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE UNIQUE INDEX records_by_alias ON records (kind, alias) WHERE alias IS NOT NULL AND NOT revoked;
CREATE TABLE tokens (digest TEXT PRIMARY KEY, key_id TEXT NOT NULL, ends_ms INTEGER) WITHOUT ROWID;
CREATE INDEX tokens_by_key ON tokens (key_id);
CREATE TABLE counters (scope TEXT NOT NULL, window TEXT NOT NULL, end_s REAL NOT NULL,
    spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (scope, window)) WITHOUT ROWID;
CREATE TABLE holds (request_id TEXT PRIMARY KEY, nanousd INTEGER NOT NULL, counters TEXT NOT NULL,
    at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, request_id TEXT NOT NULL UNIQUE,
    counters TEXT NOT NULL, line TEXT NOT NULL);
CREATE INDEX journal_by_time ON journal (at_ms);
CREATE TABLE claims (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE memories (name TEXT PRIMARY KEY, value BLOB NOT NULL, ends_s REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX memories_by_end ON memories (ends_s);
PRAGMA user_version = 1;
"""
KEY_1 = (
    '{"id":"k","kind":"key","alias":"a","team_id":"t","models":["m-*"],"unsupported":null,"budgets":[{"max_nanousd":1000,'
    '"duration":null,"on_cap":"clamp","soft":false,"main":true}],"expires":null,"revoked":false,"metadata":{},'
    '"created_at":1.5,"hint":"sk-a","version":1}'
)
LINE_1 = (
    '{"request_id":"old","key_id":"k","team_id":"t","cost_nanousd":30,"usage":{"input_tokens":3},"model":"m",'
    '"target":"p/m","ending":"done","estimated":false,"unpriced":false,"price":"p/m","latency_ms":5,'
    '"first_token_ms":null,"attempts":1,"key_alias":"a"}'
)


def write_schema_1(path: str) -> None:
    """A store as Headgate left it before leases and limits: one request settled, one running."""
    db = sqlite3.connect(path)
    db.executescript(SCHEMA_1)
    db.execute("INSERT INTO records VALUES ('key', 'k', 'a', 1, 0, NULL, 't', ?)", (KEY_1,))
    db.execute("INSERT INTO tokens VALUES (?, 'k', NULL)", (DIGEST,))
    end_s = time.time() + 3600
    rows = [("key:k", "total", 0.0, 30, 100), ("key:k", "1d:today", end_s, 30, 100), ("team:t", "total", 0.0, 0, 0)]
    db.executemany("INSERT INTO counters VALUES (?, ?, ?, ?, ?)", rows)
    counters = '[["key:k","total"],["key:k","1d:today"]]'
    db.execute("INSERT INTO holds VALUES ('running', 100, ?, 1795181749219)", (counters,))
    db.execute("INSERT INTO journal VALUES (41, 1795181749219, 'old', ?, ?)", (counters, LINE_1))
    db.execute("INSERT INTO claims VALUES ('admin_key', 'v')")
    db.execute("INSERT INTO memories VALUES ('m', x'01', ?)", (end_s,))
    db.commit()
    db.close()


async def test_what_an_older_headgate_wrote_is_kept(path: str) -> None:
    write_schema_1(path)
    stores = [SqliteStore(path) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    store = stores[1]
    holder = await store.holder(DIGEST)
    assert holder is not None
    assert (holder.key.alias, holder.key.budgets[0].max_nanousd, holder.key.limits) == ("a", 1000, ())
    assert await sums(store, "key:k", "team:t") == {
        "key:k|total": (30, 100),
        "key:k|1d:today": (30, 100),
        "team:t|total": (0, 0),
    }
    (entry,) = await store.journal(0, float("inf"))
    assert (entry.id, entry.at_s, entry.counters) == ("41", 1795181749.219, ("key:k|total", "key:k|1d:today"))
    assert (entry.bill["cost_nanousd"], entry.bill["model"], entry.bill["tags"]) == (30, "m", [])
    assert await store.claim("admin_key", "other") == "v"
    assert await store.recall(["m"]) == {"m": b"\x01"}
    for other in stores:
        await other.close()


async def test_a_file_in_which_an_older_headgate_still_holds_money_is_left_to_it(path: str) -> None:
    write_schema_1(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE holds SET at_ms = ?", (time.time_ns() // 1_000_000 - 60_000,))
        db.commit()
    store = SqliteStore(path)
    with pytest.raises(StoreDown, match=r"1 requests of an older Headgate .* stop that one first"):
        await store.open()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        db.execute("DELETE FROM holds")
        db.commit()
    await store.open()
    await store.close()


async def test_requests_of_an_older_headgate_end_as_ours_do(path: str) -> None:
    write_schema_1(path)
    store = SqliteStore(path)
    await store.open()
    counters = (cap(1000), Counter("key:k", "1d:today", time.time() - 60, time.time() + 3600))
    assert not (await store.settle(bill("old", 99, *counters))).first
    assert await store.reserve(ask("running", *counters)) == Granted(100)
    (live,) = await store.holds()
    assert live.counters == ("key:k|total", "key:k|1d:today")
    assert time.time() < live.deadline_s < time.time() + 11  # its lease begins now
    assert await store.reap() == 0
    assert await store.settle(bill("running", 50, *counters)) == Settled(True, 0, (80, 80))
    assert [entry.id for entry in await store.journal(0, float("inf"))] == ["41", "42"]
    await store.close()


async def test_a_lost_request_of_an_older_headgate_is_reaped(path: str) -> None:
    write_schema_1(path)
    store = SqliteStore(path)
    await store.open()
    await store._write(lambda db: db.execute("UPDATE holds SET deadline_ms = 0").rowcount)
    assert await store.reap() == 1
    assert await sums(store, "key:k") == {"key:k|total": (30, 0), "key:k|1d:today": (30, 0)}
    entry = (await store.journal(0, float("inf")))[-1]
    assert (entry.bill["request_id"], entry.bill["ending"], entry.bill["cost_nanousd"]) == ("running", "lost", 0)
    await store.close()


# --- near and far


MOUNTS = """\
overlay / overlay rw 0 0
/dev/sda1 /data ext4 rw 0 0
server:/x /data/shared nfs4 rw 0 0
host /mnt/with\\040space fuse.sshfs rw 0 0
/dev/sdb1 /data/shared/near xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/headgate.db", None),
        ("/data/headgate.db", None),
        ("/data/shared/headgate.db", "nfs4"),
        ("/data/shared2/headgate.db", None),
        ("/data/shared/near/headgate.db", None),
        ("/mnt/with space/a/headgate.db", "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_told_by_its_mount(tmp_path: Path, path: str, kind: str | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert sqlite_file.far_away(path, str(mounts)) == kind


def test_where_no_mounts_are_told_every_file_is_near(tmp_path: Path) -> None:
    assert sqlite_file.far_away("/headgate.db", str(tmp_path / "nothing")) is None
