"""What the embedded store does with keys, teams and other records, and with odds and ends: steps of a transaction."""

import time
from collections.abc import Mapping, Sequence

import orjson

from gateway.ledger.sqlite_file import Connection
from gateway.ledger.store import Conflict, Kind, Record


def now_ms() -> int:
    """Unix milliseconds: the store's clock."""
    return time.time_ns() // 1_000_000


def record_of(body: str | None) -> Record | None:
    return None if body is None else Record.model_validate_json(body)


def body(db: Connection, kind: Kind, id: str) -> str | None:
    row = db.execute("SELECT body FROM records WHERE kind = ? AND id = ?", (kind, id)).fetchone()
    return row[0] if row else None


def body_by_alias(db: Connection, kind: Kind, alias: str) -> str | None:
    query = "SELECT body FROM records WHERE kind = ? AND alias = ? AND NOT revoked"
    row = db.execute(query, (kind, alias)).fetchone()
    return row[0] if row else None


def bodies(db: Connection, kind: Kind, after: str, limit: int) -> list[str]:
    query = "SELECT body FROM records WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
    return [body for (body,) in db.execute(query, (kind, after, limit))]


def create(db: Connection, record: Record, digest: str | None) -> None:
    row = db.execute(
        "SELECT version, revoked FROM records WHERE kind = ? AND id = ?", (record.kind, record.id)
    ).fetchone()
    if row is not None:
        version, revoked = row
        if not revoked or record.kind in ("key", "team"):
            raise Conflict(f"there is a {record.kind} {record.id} already")
        record = record.model_copy(update={"version": version + 1})
    _write(db, record)
    if digest is not None:
        _bind(db, digest, record.id)


def replace(db: Connection, record: Record) -> None:
    row = db.execute("SELECT version FROM records WHERE kind = ? AND id = ?", (record.kind, record.id)).fetchone()
    if row is None or row[0] != record.version - 1:
        raise Conflict(f"the {record.kind} {record.id} has changed since it was read")
    _write(db, record)


def rotate(db: Connection, id: str, version: int, digest: str, hint: str, grace_ms: int) -> Record:
    record = record_of(body(db, "key", id))
    if record is None or record.revoked or record.version != version:
        raise Conflict(f"the key {id} has changed since it was read")
    now = now_ms()
    db.execute(
        "UPDATE tokens SET ends_ms = MIN(COALESCE(ends_ms, :ends), :ends) WHERE key_id = :id",
        {"ends": now + grace_ms, "id": id},
    )
    db.execute("DELETE FROM tokens WHERE key_id = ? AND ends_ms <= ?", (id, now))
    _bind(db, digest, id)
    rotated = record.model_copy(update={"version": version + 1, "hint": hint})
    _write(db, rotated)
    return rotated


def holder(db: Connection, digest: str) -> tuple[str, str | None, int | None] | None:
    """The key's record, its team's, and when the token ends (Unix ms)."""
    row: tuple[str, str | None, int | None] | None = db.execute(
        "SELECT key.body, team.body, token.ends_ms FROM tokens token"
        " JOIN records key ON key.kind = 'key' AND key.id = token.key_id"
        " LEFT JOIN records team ON team.kind = 'team' AND team.id = key.team_id"
        " WHERE token.digest = ? AND (token.ends_ms IS NULL OR token.ends_ms > ?)",
        (digest, now_ms()),
    ).fetchone()
    return row


def _write(db: Connection, record: Record) -> None:
    alias = record.alias or None
    taken = "SELECT 1 FROM records WHERE kind = ? AND alias = ? AND NOT revoked AND id <> ?"
    if alias and not record.revoked and db.execute(taken, (record.kind, alias, record.id)).fetchone():
        raise Conflict(f"the alias {alias!r} is taken by another {record.kind}")
    db.execute(
        "INSERT OR REPLACE INTO records (kind, id, alias, version, revoked, expires, team_id, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(record.kind, record.id, alias, record.version, record.revoked, record.expires, record.team_id or None),
            record.model_dump_json(),
        ),
    )


def _bind(db: Connection, digest: str, key_id: str) -> None:
    if db.execute("SELECT 1 FROM tokens WHERE digest = ?", (digest,)).fetchone():
        raise Conflict("the token is bound already")
    db.execute("INSERT INTO tokens (digest, key_id) VALUES (?, ?)", (digest, key_id))


# --- odds and ends


def nothing(db: Connection) -> None:
    """To take the write lock and give it back is what a ping must show."""


def claim(db: Connection, name: str, value: str) -> str:
    db.execute("INSERT INTO claims (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, value))
    row: tuple[str] = db.execute("SELECT value FROM claims WHERE name = ?", (name,)).fetchone()
    return row[0]


def lock(db: Connection, name: str, owner: str, ttl_s: float) -> bool:
    now_s = time.time()
    db.execute("DELETE FROM locks WHERE ends_s <= ? OR (name = ? AND owner = ?)", (now_s, name, owner))
    if db.execute("SELECT 1 FROM locks WHERE name = ?", (name,)).fetchone():
        return False
    if ttl_s > 0:
        db.execute("INSERT INTO locks (name, owner, ends_s) VALUES (?, ?, ?)", (name, owner, now_s + ttl_s))
    return True


def remember(db: Connection, items: Mapping[str, bytes], ttl_s: float) -> None:
    now_s = time.time()
    db.execute("DELETE FROM memories WHERE ends_s <= ?", (now_s,))
    rows = [(name, value, now_s + ttl_s) for name, value in items.items()]
    db.executemany("INSERT OR REPLACE INTO memories (name, value, ends_s) VALUES (?, ?, ?)", rows)


def recall(db: Connection, names: Sequence[str]) -> dict[str, bytes]:
    query = "SELECT name, value FROM memories WHERE name IN (SELECT value FROM json_each(?)) AND ends_s > ?"
    return dict(db.execute(query, (orjson.dumps(list(names)).decode(), time.time())))
