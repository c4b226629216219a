"""The fleet's store: Redis 7 or Valkey. What must be atomic is a Lua script beside this file, on the server's clock.

Every key is `{<prefix>:default}:…`: one organisation, one hash tag, so that a script's keys share a slot of a cluster.

    records:<kind>  states:<kind>  aliases:<kind>   hashes by id (aliases: by alias)
    ids:<kind>                                      every id at score 0, for lists in order
    tokens  digests                                 token digest → key id, and back
    sums:<scope>|<window>                           a counter: spent, held
    windows:<scope>                                 the scope's counters by the end of their window
    hold:<request>  settled:<request>  holds        a live hold, the mark of a settled one, the live ones by age
    journal                                         a stream
    claim:<name>  memory:<name>
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, RedisError

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
)

CONNECT_S = 1.0
COMMAND_S = 2.0
LINES = 2  # batches under way at once: one is on the wire while the next is packed
KEPT_S = 90 * 86_400  # how long a counter stays after its window's end
SETTLED_S = 7 * 86_400  # how long a second settle is known for one

Argument = str | bytes | int | float


class Script(NamedTuple):
    """A Lua script and the name that the server knows it by."""

    text: str
    sha: str


def script(text: str) -> Script:
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _script(name: str) -> Script:
    return script(files("gateway.ledger").joinpath(name).read_text())


RESERVE, SETTLE, KEYS, HOLDER = (_script(f"{name}.lua") for name in ("reserve", "settle", "keys", "holder"))


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[Argument]


class RedisStore:
    """Store on the server at `url` (redis://, rediss://, unix://)."""

    def __init__(self, url: str, prefix: str = "headgate") -> None:
        self._root = f"{{{prefix}:default}}:"
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=COMMAND_S,
            retry=Retry(NoBackoff(), 0),  # ours is in _pipeline: the client's own would keep callers for seconds
            protocol=2,
        )
        self._calls: Lane[_Call, Any] = Lane(self._send, LINES)

    async def open(self) -> None:
        await self.ping()

    async def close(self) -> None:
        await self._calls.drain()
        await self._redis.aclose()

    async def ping(self) -> None:
        await self._do("PING")

    # --- keys and teams
    async def create(self, record: Record, digest: str | None = None) -> None:
        await self._keep("create", record, digest or "")

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

    async def _keep(self, what: str, record: Record, digest: str = "", grace_ms: int = 0) -> None:
        kind, alias, expires = record.kind, record.alias or "", record.expires
        answer = await self._calls.put(
            _Call(
                KEYS,
                [
                    *(self._key(name, kind) for name in ("records", "states", "ids", "aliases")),
                    self._key("tokens"),
                    self._key("digests"),
                ],
                [
                    *(what, record.id, record.model_dump_json(), record.version, int(record.revoked)),
                    *("" if expires is None else repr(expires), record.team_id or "", alias, digest, grace_ms),
                ],
            )
        )
        match answer:
            case b"id":
                raise Conflict(f"there is a {kind} {record.id} already")
            case b"version":
                raise Conflict(f"the {kind} {record.id} has changed since it was read")
            case b"alias":
                raise Conflict(f"the alias {alias!r} is taken by another {kind}")
            case b"digest":
                raise Conflict("the token is bound already")

    async def holder(self, digest: str) -> Holder | None:
        """As the contract says. A revoked or expired key is returned as it is: the record tells."""
        keys = [
            self._key("tokens"),
            self._key("records", "key"),
            self._key("states", "key"),
            self._key("records", "team"),
        ]
        answer = await self._calls.put(_Call(HOLDER, keys, [digest]))
        if answer is None:
            return None
        key, team, ends_ms = answer
        return Holder(Record.model_validate_json(key), _record(team), int(ends_ms) / 1000 if ends_ms else None)

    # --- money
    async def reserve(self, ask: Ask) -> Granted | Refused:
        """As the contract says. A request that is already settled is granted 0: it may not hold a second time."""
        keys = [
            *self._of_request(ask.request_id),
            self._key("states", "key"),
            self._key("states", "team"),
            *self._of_counters(ask.counters),
        ]
        arguments: list[Argument] = [
            *(ask.request_id, ask.key_id, ask.key_version, ask.team_id or "", ask.team_version),
            *(ask.least_nanousd, ask.usual_nanousd, ask.most_nanousd, int(ask.whole), int(ask.patient)),
            *(orjson.dumps([counter.name for counter in ask.counters]), KEPT_S),
        ]
        for c in ask.counters:
            cap = "" if c.cap_nanousd is None else c.cap_nanousd
            arguments += (c.name, c.window, repr(c.start_s), repr(c.end_s), cap, c.on_cap)
        match await self._calls.put(_Call(RESERVE, keys, arguments)):
            case [b"granted", amount]:
                return Granted(int(amount))
            case [b"window", counter, seconds, microseconds]:
                return Refused("window", counter.decode(), int(seconds) + int(microseconds) / 1e6)
            case [reason, counter, _, _]:
                return Refused(reason.decode(), counter.decode())
        raise StoreDown("Redis gave an answer that reserve.lua does not give")

    async def settle(self, bill: Bill) -> Settled:
        """As the contract says. Raises ValueError for a negative cost."""
        line = journal.line(bill)
        names = [counter.name for counter in bill.counters]
        further: list[str] = []
        while True:
            match await self._calls.put(self._settling(bill, line, names, further)):
                case [b"settled", held]:
                    return Settled(first=True, overrun_nanousd=max(0, bill.cost_nanousd - int(held)))
                case [b"counters", held_on]:  # the hold stands on counters that the bill does not name
                    further = [name for name in orjson.loads(held_on) if name not in names]
                case _:
                    return Settled(first=False, overrun_nanousd=0)

    def _settling(self, bill: Bill, line: bytes, names: Sequence[str], further: Sequence[str]) -> _Call:
        keys = [
            *self._of_request(bill.request_id),
            self._key("journal"),
            *self._of_counters(bill.counters),
            *(self._key("sums", name) for name in further),
        ]
        arguments: list[Argument] = [
            *(bill.request_id, bill.cost_nanousd, line, orjson.dumps(names), KEPT_S, SETTLED_S, len(names)),
            *(text for c in bill.counters for text in (c.name, c.window, repr(c.end_s))),
            *further,
        ]
        return _Call(SETTLE, keys, arguments)

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

    async def journal(self, start_s: float, end_s: float, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        start_ms, end_ms = journal.span_ms(start_s, end_s)
        if end_ms <= start_ms:
            return []
        last_ms, _, last = after.partition("-")
        start = f"({int(last_ms)}-{int(last)}" if after and int(last_ms) >= start_ms else str(start_ms)
        found = await self._do("XRANGE", self._key("journal"), start, end_ms - 1, "COUNT", limit)
        return [journal.entry(id.decode(), int(id.split(b"-")[0]), fields[b"line"]) for id, fields in found]

    # --- odds and ends that outlive a worker
    async def claim(self, name: str, value: str) -> str:
        key = self._key("claim", name)
        _, claimed = await self._all([("SET", key, value, "NX"), ("GET", key)])
        return str(claimed, "utf-8")

    async def remember(self, items: Mapping[str, bytes], ttl_s: float) -> None:
        ttl_ms = max(1, int(ttl_s * 1000))
        await self._all([("SET", self._key("memory", name), value, "PX", ttl_ms) for name, value in items.items()])

    async def recall(self, names: Sequence[str]) -> Mapping[str, bytes]:
        if not names:
            return {}
        values = await self._do("MGET", *(self._key("memory", name) for name in names))
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    # --- keys of the store
    def _key(self, *parts: str) -> str:
        return self._root + ":".join(parts)

    def _of_request(self, request_id: str) -> tuple[str, str, str]:
        return self._key("hold", request_id), self._key("settled", request_id), self._key("holds")

    def _of_counters(self, counters: Sequence[Counter]) -> Iterator[str]:
        for counter in counters:
            yield self._key("sums", counter.name)
            yield self._key("windows", counter.scope)

    # --- the way to the server
    async def _do(self, *command: Argument) -> Any:
        (answer,) = await self._all([command])
        return answer

    async def _all(self, commands: Sequence[Sequence[Argument]]) -> Sequence[Any]:
        answers = await self._pipeline(commands)
        for answer in answers:
            if isinstance(answer, RedisError):
                raise _store_down(answer)
        return answers

    async def _send(self, calls: Sequence[_Call]) -> Sequence[Any]:
        """A batch of script calls; a server that does not know a script yet (new, restarted) gets its text."""
        answers = list(await self._pipeline([_evaluate("EVALSHA", call, call.script.sha) for call in calls]))
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self._pipeline([_evaluate("EVAL", calls[at], calls[at].script.text) for at in unknown])
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        return [_store_down(answer) if isinstance(answer, RedisError) else answer for answer in answers]

    async def _pipeline(self, commands: Sequence[Sequence[Argument]]) -> Sequence[Any]:
        """Each command's answer, or the error in its place; sent once more after a lost connection.

        Reserve and settle are idempotent by request id. A change of a key whose answer was lost ends as a Conflict.
        """
        if not commands:
            return ()
        try:
            try:
                return await self._pipelined(commands)
            except Disconnected:
                return await self._pipelined(commands)
        except RedisError as error:
            raise _store_down(error) from error

    async def _pipelined(self, commands: Sequence[Sequence[Argument]]) -> Sequence[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.pipeline_execute_command(*command)  # type: ignore[no-untyped-call]  # redis 8.1 has no types here
        return await pipeline.execute(raise_on_error=False)


def _evaluate(command: str, call: _Call, script: str) -> Sequence[Argument]:
    return command, script, len(call.keys), *call.keys, *call.arguments


def _store_down(error: RedisError) -> StoreDown:
    return StoreDown(f"Redis: {error}")


def _record(body: bytes | None) -> Record | None:
    return Record.model_validate_json(body) if body else None
