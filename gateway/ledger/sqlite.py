"""The embedded store: one SQLite file on a local disk, shared by every worker process of one machine.

A worker has one thread that writes, in transactions that carry all that was asked for meanwhile (one fsync for many
requests), and one that reads. `BEGIN IMMEDIATE` lets one process write at a time; what is acknowledged has been through
fsync and survives a power cut. The steps of a transaction stand in `sqlite_records`, `sqlite_money`, `sqlite_journal`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from gateway.ledger import journal, sqlite_money
from gateway.ledger import sqlite_journal as told
from gateway.ledger import sqlite_records as records
from gateway.ledger.batches import Lane
from gateway.ledger.sqlite_file import (
    Connection,
    Step,
    Worker,
    alone,
    far_away,
    for_reading,
    for_writing,
    snapshot,
    transaction,
)
from gateway.ledger.store import (
    Ask,
    Balance,
    Beat,
    Bill,
    Entry,
    Fold,
    Granted,
    Growth,
    Holder,
    Kind,
    Level,
    Live,
    Meter,
    Promise,
    Record,
    Refused,
    Settled,
    Snapshot,
)

Answer = TypeVar("Answer")


class SqliteStore:
    """Store on the file at `path`, which is made if it is not there (readable by its owner only)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer = Worker(path, for_writing)
        self._reader = Worker(path, for_reading)
        self._writes: Lane[Step, Any] = Lane(partial(self._writer.go, transaction), width=1)
        self._reads: Lane[Step, Any] = Lane(partial(self._reader.go, snapshot), width=1)

    async def open(self) -> None:
        """Raises StoreDown when the file cannot be opened, is no database, or was written by a newer Headgate."""
        await self._writer.open()
        await self._reader.open()

    async def close(self) -> None:
        await self._writes.drain()
        await self._reads.drain()
        for worker in (self._reader, self._writer):
            await worker.close()

    async def ping(self) -> None:
        await self._write(records.nothing)

    async def warnings(self) -> Sequence[str]:
        kind = await asyncio.to_thread(far_away, self._path)
        if kind is None:
            return ()
        return (
            f"{self._path} is on a network file system ({kind}), where SQLite's locks and its write-ahead log cannot be"
            " relied on: put HEADGATE_DATA on a local disk, or set REDIS_URL.",
        )

    async def _write(self, step: Callable[[Connection], Answer]) -> Answer:
        """What `step` comes to, which may write anything."""
        return cast(Answer, await self._writes.put(partial(alone, step)))

    async def _count(self, step: Callable[[Connection], Answer]) -> Answer:
        """The same for one of sqlite_money's, which keep to what is known."""
        return cast(Answer, await self._writes.put(step))

    async def _read(self, step: Callable[[Connection], Answer]) -> Answer:
        return cast(Answer, await self._reads.put(step))

    # --- keys, teams and the other holders of caps
    async def create(self, record: Record, digest: str | None = None) -> None:
        await self._write(partial(records.create, record=record, digest=digest))

    async def get(self, kind: Kind, id: str) -> Record | None:
        return records.record_of(await self._read(partial(records.body, kind=kind, id=id)))

    async def find(self, kind: Kind, alias: str) -> Record | None:
        return records.record_of(await self._read(partial(records.body_by_alias, kind=kind, alias=alias)))

    async def list(self, kind: Kind, after: str = "", limit: int = 100) -> Sequence[Record]:
        bodies = await self._read(partial(records.bodies, kind=kind, after=after, limit=limit))
        return [Record.model_validate_json(body) for body in bodies]

    async def replace(self, record: Record) -> None:
        await self._write(partial(records.replace, record=record))

    async def rotate(self, id: str, version: int, digest: str, hint: str, grace_s: float) -> Record:
        return await self._write(
            partial(records.rotate, id=id, version=version, digest=digest, hint=hint, grace_ms=int(grace_s * 1000))
        )

    async def holder(self, digest: str) -> Holder | None:
        """As the contract says. A revoked or expired key is returned as it is: the record tells."""
        row = await self._read(partial(records.holder, digest=digest))
        if row is None:
            return None
        key, team, ends_ms = row
        ends_s = None if ends_ms is None else ends_ms / 1000
        return Holder(Record.model_validate_json(key), records.record_of(team), ends_s)

    # --- money
    def reserve(self, ask: Ask) -> Promise[Granted | Refused]:
        """As the contract says. A request that is already settled is granted 0: it may not hold a second time."""
        return self._writes.promise(partial(sqlite_money.reserve, ask=ask))

    async def grow(self, growth: Growth) -> Granted | Refused:
        return await self._count(partial(sqlite_money.grow, growth=growth))

    async def renew(self, beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        return await self._count(partial(sqlite_money.renew, beats=beats, lease_s=lease_s)) if beats else ()

    def settle(self, bill: Bill) -> Promise[Settled]:
        """As the contract says. Raises ValueError for a negative cost."""
        return self._writes.promise(partial(sqlite_money.settle, bill=bill, line=journal.line(bill).decode()))

    async def reap(self, limit: int = 100, steady_s: float = 0.0) -> int:
        return await self._count(partial(sqlite_money.reap, limit=limit, steady_s=steady_s))

    async def balances(self, scopes: Sequence[str]) -> Sequence[Balance]:
        return await self._read(partial(told.balances, scopes=scopes))

    async def levels(self, meters: Sequence[Meter]) -> Sequence[Level]:
        return await self._read(partial(sqlite_money.levels, meters=meters))

    async def holds(self) -> Sequence[Live]:
        return await self._read(told.holds)

    async def journal(self, start_s: float, end_s: float, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        start_ms, end_ms = journal.span_ms(start_s, end_s)
        page = partial(told.entries, start_ms=start_ms, end_ms=end_ms, after=int(after or 0), limit=limit)
        return await self._read(page)

    async def snapshot(self, after: str | None = None, limit: int = 1000, names: Sequence[str] = ()) -> Snapshot:
        return await self._read(partial(told.look, after=after, limit=limit, names=names))

    async def fold(self, entries: Sequence[Entry], sums: Mapping[str, int], folds: Sequence[Fold]) -> bool:
        ids = [int(entry.id) for entry in entries]
        return await self._write(partial(told.fold, ids=ids, sums=sums, folds=folds))

    async def folds(self, start_day: str, end_day: str) -> Sequence[Fold]:
        return await self._read(partial(told.folds, start_day=start_day, end_day=end_day))

    # --- odds and ends that outlive a worker
    async def claim(self, name: str, value: str) -> str:
        return await self._write(partial(records.claim, name=name, value=value))

    async def lock(self, name: str, owner: str, ttl_s: float) -> bool:
        return await self._write(partial(records.lock, name=name, owner=owner, ttl_s=ttl_s))

    async def remember(self, items: Mapping[str, bytes], ttl_s: float) -> None:
        if items:
            await self._write(partial(records.remember, items=items, ttl_s=ttl_s))

    async def recall(self, names: Sequence[str]) -> Mapping[str, bytes]:
        return await self._read(partial(records.recall, names=names)) if names else {}
