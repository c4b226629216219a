"""The fleet's store: Redis 7 or Valkey. What must be atomic is a Lua script beside this file, on the server's clock.

Every key is `{<prefix>:default}:…`: one organisation, one hash tag, so that all of them share a slot of a cluster. The
scripts are given that root, and make the names of keys themselves.

    records:<kind>  states:<kind>  aliases:<kind>   hashes by id (aliases: by alias)
    ids:<kind>                                      every id at score 0, for lists in order
    tokens  digests                                 token digest → key id, and back
    sums:<scope>|<window>                           a counter: spent, held, folded; listed, once it is in `counters`
    windows:<scope>  counters                       the scope's windows by their end; every counter by when it goes
    meters:<scope>|<measure>  slots                 a meter's buckets; requests at once by scope
    hold:<request>  settled:<request>  leases       a live hold, the mark of a settled one, the live ones by deadline
    reaper                                          when it last came, and since when without a pause
    journal  folds:<day>  days                      a stream; what has left it, and of which days
    claim:<name>  memory:<name>  lock:<name>
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import orjson

from gateway.ledger import journal
from gateway.ledger import redis_calls as calls
from gateway.ledger import redis_scripts as scripts
from gateway.ledger.batches import AGAIN, Lane, Waiting
from gateway.ledger.redis_calls import LAYOUT
from gateway.ledger.redis_door import Door, Speak, failed, unknown_script
from gateway.ledger.redis_durability import check, wait, warnings
from gateway.ledger.redis_place import Argument, Lost
from gateway.ledger.redis_recent import Recent
from gateway.ledger.redis_scripts import Call, call, keys
from gateway.ledger.rules import level
from gateway.ledger.store import (
    Ask,
    Balance,
    Beat,
    Bill,
    Conflict,
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
    StoreDown,
)

LINES = 2  # batches under way at once: one is on the wire while the next is packed
BEATS = 500  # in one script: bounds how long it keeps the server from others
SCANNED = 1000  # keys looked at in one step, where a store of layout 1 is taken over


_Asked = tuple[Call, Callable[[Any, Any], Any], Any]  # how its answer is read, and of what


class RedisStore:
    """Store on the server, the master or the cluster at `url` (redis_place.py says which there are)."""

    def __init__(self, url: str, prefix: str = "headgate", demand: str = "") -> None:
        """`demand`: what every write must have reached, `aof` or `replicas:N`; so does the URL's parameter `wait`.

        Raises ValueError when either is not understood.
        """
        self._root = f"{{{prefix}:default}}:"
        self._door = Door(url, self._root, self._tell)
        self._wait = wait(self._door.address.parameters.get("wait", demand))
        self._at = keys(self._root)
        self._recent = Recent(self._at)
        self._calls: Lane[_Asked, Any] = Lane(self._send, LINES, None if self._wait else self._begin, _said)

    async def open(self) -> None:
        """Raises StoreDown also when the server cannot do what is demanded, or a newer Headgate has been here."""
        await self.ping()
        check(self._wait, self._door.version)
        found = ""
        while (layout := await self._claim_layout(found)) == b"look":
            found = orjson.dumps(await self._counters()).decode()
        if int(layout) > LAYOUT:
            raise StoreDown(
                f"the store was written by a newer Headgate (layout {int(layout)}, this one knows {LAYOUT}):"
                " upgrade, or set HEADGATE_REDIS_PREFIX to another prefix"
            )

    async def close(self) -> None:
        await self._calls.drain()
        await self._door.close()

    async def ping(self) -> None:
        await self._do("PING")

    async def warnings(self) -> Sequence[str]:
        names = ("appendonly", "appendfsync", "maxmemory-policy")
        answers = await self._door.pipeline([("CONFIG", "GET", name) for name in names])
        if not any(failed(answer) for answer in answers):
            settings = {name: answer[1].decode() for name, answer in zip(names, answers, strict=True) if answer}
            return warnings(settings, self._wait is not None)
        told = await self._door.pipeline([("INFO", "persistence"), ("INFO", "memory")])
        if any(failed(answer) for answer in told):
            return ("this user may ask Redis neither CONFIG nor INFO: whether it may lose money is not known",)
        said = b"".join(told).decode()
        pairs = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        settings = {"appendonly": "no" if pairs.get("aof_enabled") == "0" else "yes"}
        return warnings(settings | {"maxmemory-policy": pairs.get("maxmemory_policy", "noeviction")}, False)

    # --- keys, teams and the other holders of caps
    async def create(self, record: Record, digest: str | None = None) -> None:
        while version := await self._keep("create", record, digest or ""):  # of a revoked one, whose place is free
            record = record.model_copy(update={"version": version + 1})

    async def get(self, kind: Kind, id: str) -> Record | None:
        return _record(await self._do("HGET", self._key("records", kind), id))

    async def find(self, kind: Kind, alias: str) -> Record | None:
        id = await self._do("HGET", self._key("aliases", kind), alias)
        record = await self.get(kind, id.decode()) if id else None
        return record if record and record.alias == alias and not record.revoked else None  # it may have changed since

    async def list(self, kind: Kind, after: str = "", limit: int = 100) -> Sequence[Record]:
        start = f"({after}" if after else "-"
        ids = await self._do("ZRANGEBYLEX", self._key("ids", kind), start, "+", "LIMIT", 0, limit)
        bodies = await self._do("HMGET", self._key("records", kind), *ids) if ids else ()
        return [Record.model_validate_json(body) for body in bodies]

    async def replace(self, record: Record) -> None:
        await self._keep("replace", record)

    async def rotate(self, id: str, version: int, digest: str, hint: str, grace_s: float) -> Record:
        record = await self.get("key", id)
        if record is None or record.version != version:
            raise Conflict(f"the key {id} has changed since it was read")
        rotated = record.model_copy(update={"version": version + 1, "hint": hint})
        await self._keep("rotate", rotated, digest, grace_ms=int(grace_s * 1000))
        return rotated

    async def _keep(self, what: str, record: Record, digest: str = "", grace_ms: int = 0) -> int:
        """0 when it is done, else the version of the revoked record that is in the way.

        A change whose answer was lost is sent again, and counts once.
        """
        match await self._ask(calls.keep(self._key, what, record, digest, grace_ms)):
            case b"done":
                return 0
            case b"id":
                raise Conflict(f"there is a {record.kind} {record.id} already")
            case b"version":
                raise Conflict(f"the {record.kind} {record.id} has changed since it was read")
            case b"alias":
                raise Conflict(f"the alias {record.alias!r} is taken by another {record.kind}")
            case b"digest":
                raise Conflict("the token is bound already")
            case version:
                return int(version)

    async def holder(self, digest: str) -> Holder | None:
        """As the contract says. A revoked or expired key is returned as it is: the record tells."""
        places = (
            self._key("tokens"),
            self._key("records", "key"),
            self._key("states", "key"),
            self._key("records", "team"),
        )
        answer = await self._ask(call(scripts.HOLDER, keys(*places), [digest]))
        if answer is None:
            return None
        key, team, ends_ms = answer
        return Holder(Record.model_validate_json(key), _record(team), int(ends_ms) / 1000 if ends_ms else None)

    # --- money
    def reserve(self, ask: Ask) -> Promise[Granted | Refused]:
        return self._calls.promise((calls.reserve(self._at, ask), self._reserved, ask))

    def _reserved(self, ask: Ask, said: Any) -> Granted | Refused:
        answer, taken = calls.reserved(said)
        if isinstance(answer, Granted):
            self._recent.held(ask, answer.nanousd, answer.tokens, taken)
        return answer

    async def grow(self, growth: Growth) -> Granted | Refused:
        answer = calls.grown(await self._ask(calls.grow(self._at, growth)))
        if isinstance(answer, Granted):
            self._recent.grown(growth.request_id, answer.nanousd)
        return answer

    async def renew(self, beats: Sequence[Beat], lease_s: float) -> Sequence[str]:
        parts = [beats[at : at + BEATS] for at in range(0, len(beats), BEATS)]
        answers = await asyncio.gather(*(self._ask(calls.renew(self._at, part, lease_s)) for part in parts))
        gone = {id.decode() for answer in answers for id in answer}
        self._recent.renewed(beats, tuple(gone))
        return [beat.request_id for beat in beats if beat.request_id in gone]

    def settle(self, bill: Bill) -> Promise[Settled]:
        """As the contract says. Raises ValueError for a negative cost."""
        return self._calls.promise((calls.settle(self._at, bill), self._settled, bill))

    def _settled(self, bill: Bill, said: Any) -> Settled:
        answer = calls.settled(said)
        self._recent.settled(bill)
        return answer

    async def reap(self, limit: int = 100, steady_s: float = 0.0) -> int:
        return int(await self._ask(call(scripts.REAP, self._at, [limit, steady_s], durable=True)))

    async def balances(self, scopes: Sequence[str]) -> Sequence[Balance]:
        seconds, microseconds = await self._do("TIME")
        now = f"({int(seconds)}.{int(microseconds):06d}"
        scopes = tuple(dict.fromkeys(scopes))
        windows = await self._all([("ZRANGEBYSCORE", self._key("windows", scope), now, "+inf") for scope in scopes])
        counters = [
            (scope, window.decode()) for scope, found in zip(scopes, windows, strict=True) for window in sorted(found)
        ]
        sums = await self._all(
            [("HMGET", self._key("sums", f"{scope}|{window}"), "spent", "held") for scope, window in counters]
        )
        return [
            Balance(scope, window, int(spent or 0), int(held or 0))
            for (scope, window), (spent, held) in zip(counters, sums, strict=True)
        ]

    async def levels(self, meters: Sequence[Meter]) -> Sequence[Level]:
        (seconds, microseconds), *found = await self._all([("TIME",), *(self._look(meter) for meter in meters)])
        now_s = int(seconds) + int(microseconds) / 1e6
        return [_level(meter, answer, now_s) for meter, answer in zip(meters, found, strict=True)]

    def _look(self, meter: Meter) -> Sequence[Argument]:
        if meter.measure == "parallel":
            return "HGET", self._key("slots"), meter.scope
        return "HGETALL", self._key("meters", meter.name)

    async def holds(self) -> Sequence[Live]:
        return calls.snapshot(await self._ask(call(scripts.SNAPSHOT, self._at, ["holds"]))).holds

    async def journal(self, start_s: float, end_s: float, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        start_ms, end_ms = journal.span_ms(start_s, end_s)
        if end_ms <= start_ms:
            return []
        last_ms, _, last = after.partition("-")
        start = f"({int(last_ms)}-{int(last)}" if after and int(last_ms) >= start_ms else str(start_ms)
        found = await self._do("XRANGE", self._key("journal"), start, end_ms - 1, "COUNT", limit)
        return [calls.entry(id, fields) for id, fields in found]

    async def snapshot(self, after: str | None = None, limit: int = 1000, names: Sequence[str] = ()) -> Snapshot:
        return calls.snapshot(await self._ask(calls.look(self._at, after, limit, names)))

    async def fold(self, entries: Sequence[Entry], sums: Mapping[str, int], folds: Sequence[Fold]) -> bool:
        return not entries or bool(await self._ask(calls.fold(self._at, entries, sums, folds)))

    async def folds(self, start_day: str, end_day: str) -> Sequence[Fold]:
        days = await self._do("ZRANGEBYLEX", self._key("days"), f"[{start_day}", f"({end_day}")
        found = await self._all([("HGETALL", self._key("folds", day.decode())) for day in days])
        return [fold for fields in found for fold in calls.folded(fields)]

    # --- odds and ends that outlive a worker
    async def claim(self, name: str, value: str) -> str:
        key = self._key("claim", name)
        _, claimed = await self._all([("SET", key, value, "NX"), ("GET", key)])
        self._recent.claimed(key, claimed)
        return str(claimed, "utf-8")

    async def lock(self, name: str, owner: str, ttl_s: float) -> bool:
        places = keys(self._root, self._key("lock", name))
        return bool(await self._ask(call(scripts.LOCK, places, [owner, ceil(ttl_s * 1000)])))

    async def remember(self, items: Mapping[str, bytes], ttl_s: float) -> None:
        ttl_ms = max(1, int(ttl_s * 1000))
        await self._all([("SET", self._key("memory", name), value, "PX", ttl_ms) for name, value in items.items()])

    async def recall(self, names: Sequence[str]) -> Mapping[str, bytes]:
        if not names:
            return {}
        values = await self._do("MGET", *(self._key("memory", name) for name in names))
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    # --- the layout
    async def _claim_layout(self, found: str) -> bytes:
        claim = call(scripts.LAYOUT_CLAIM, self._at, [LAYOUT, found], durable=True)
        answer: bytes = await self._ask(claim)
        return answer

    async def _counters(self) -> Sequence[str]:
        """The counters of a store of layout 1, which has no list of them."""
        pattern = "".join(f"[{c}]" if c in "*?[" else f"\\{c}" if c == "\\" else c for c in self._key("sums", ""))
        names: list[str] = []
        cursor = b"0"
        while True:
            cursor, keys = await self._do("SCAN", cursor, "MATCH", f"{pattern}*", "COUNT", SCANNED)
            names += [key.decode().removeprefix(self._key("sums", "")) for key in keys]
            if int(cursor) == 0:
                return names

    # --- the way to the server
    def _key(self, *parts: str) -> str:
        return self._root + ":".join(parts)

    async def _do(self, *command: Argument) -> Any:
        (answer,) = await self._all([command])
        return answer

    async def _all(self, commands: Sequence[Sequence[Argument]]) -> Sequence[Any]:
        answers = await self._door.pipeline(commands)
        for answer in answers:
            if error := failed(answer):
                raise error
        return answers

    def _ask(self, asked: Call) -> asyncio.Future[Any]:
        return self._calls.put((asked, _as_it_is, None))

    def _begin(self, batch: Waiting[_Asked, Any]) -> bool:
        """A batch of script calls on a connection that is there."""
        commands = b"".join([asked[0].command for asked, _ in batch]) if len(batch) > 1 else batch[0][0][0].command
        return self._door.begin(commands, len(batch), self._calls.returned, batch)

    async def _send(self, batch: Sequence[_Asked]) -> Sequence[Any]:
        """A batch of script calls; a server that does not know a script yet (new, restarted) gets its text."""
        demanded = self._wait if self._wait and any(asked.durable for asked, _, _ in batch) else None
        answers = list(await self._door.pipeline([asked.command for asked, _, _ in batch], demanded))
        unknown = [at for at, answer in enumerate(answers) if unknown_script(answer)]
        again = await self._door.pipeline([batch[at][0].by_text() for at in unknown], demanded)
        for at, answer in zip(unknown, again, strict=True):
            answers[at] = answer
        return [_read(asked, answer) for asked, answer in zip(batch, answers, strict=False)]

    async def _tell(self, speak: Speak) -> None:
        """A server that may have forgotten it: claims, the settles of the last minute, this worker's live holds."""
        await speak([("SCRIPT", "LOAD", script.text) for script in (scripts.SETTLE, scripts.RESTORE)])
        await speak([("SET", key, value, "NX") for key, value in self._recent.claims.items()])
        for answer in await speak([each.command for each in self._recent.calls()]):
            if error := failed(answer):
                raise Lost(str(error))


def _as_it_is(_: None, answer: Any) -> Any:
    return answer


def _said(asked: _Asked, answer: Any) -> Any:
    """What the answer says; AGAIN for a script that the server does not know. Raises StoreDown where it is an error, or
    ValueError.
    """
    if isinstance(answer, Exception):
        if unknown_script(answer):
            return AGAIN
        raise failed(answer) or answer
    _, read, of = asked
    return read(of, answer)


def _read(asked: _Asked, answer: Any) -> Any:
    """What the answer says, or the error that it is."""
    if isinstance(answer, Exception):
        return failed(answer) or answer
    try:
        return _said(asked, answer)
    except (StoreDown, ValueError) as error:
        return error


def _level(meter: Meter, found: Any, now_s: float) -> Level:
    if meter.measure == "parallel":
        return int(found or 0), 0.0
    buckets = {int(at): int(amount) for at, amount in zip(found[::2], found[1::2], strict=True) if at[:1].isdigit()}
    return level(buckets, meter.measure, now_s)


def _record(body: bytes | None) -> Record | None:
    return Record.model_validate_json(body) if body else None
