"""Where the Redis server is: one that stands at a URL, the master that sentinels name, or the cluster's node for us.

    redis://  rediss://  unix://                           one server (redis.io/docs, "URI scheme")
    redis+sentinel://host:port,host:port/master[/db]       the master of that name; `sentinel_password` as a parameter
    redis+cluster://host:port,host:port                    any nodes of a cluster

`rediss+…` is the same with TLS; user, password and the client's parameters stand where a redis:// URL has them.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import hiredis
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as Silent

CONNECT_S = 1.0
ELSEWHERE = (AskError, ClusterDownError, ReadOnlyError, TryAgainError)  # MovedError is an AskError
PORTS = {"cluster": 6379, "sentinel": 26379}

Argument = str | bytes | int | float
Command = Sequence[Argument] | bytes  # bytes: as it stands on the wire
Node = tuple[str, int]
Settings = Mapping[str, Any]


class Lost(Exception):
    """The server cannot be reached, or its answer is not to be had. `again`: another try may go to another server."""

    def __init__(self, why: str, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


class Failure(Exception):
    """A server's error in the place of an answer."""

    def __init__(self, error: RedisError) -> None:
        super().__init__(str(error))
        self.unknown_script = isinstance(error, NoScriptError)
        self.forbidden = isinstance(error, NoPermissionError)
        self.elsewhere = isinstance(error, ELSEWHERE)


_NO_MORE = object()


def packed(words: Sequence[Argument]) -> bytes:
    """`words` as they stand in a command. redis-py packs in Python, at twenty times the cost."""
    command: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # any number of words
    return command.partition(b"\r\n")[2]  # behind their number


def _whole(command: Command) -> bytes:
    return command if isinstance(command, bytes) else b"*%d\r\n%b" % (len(command), packed(command))


class Line(asyncio.Protocol):
    """One connection, logged in, its database chosen. Foreign errors end here.

    redis-py connects, and logs in; from then on its socket is ours: its streams cost as much as all else on the way.
    """

    def __init__(self, connection: Connection) -> None:
        self.over: Lost | None = None  # why it is of no more use
        self.age = 0  # of the door's lines, when this one was made
        self.failed = False  # whether there are failures among the answers to what was last begun
        self.since: float | None = None  # loop time at which what is under way was begun, for who watches
        self.watch: asyncio.TimerHandle | None = None
        self.loop = asyncio.get_running_loop()
        self._connection = connection
        writer = connection._writer
        assert writer is not None  # noqa: S101 - it is connected
        self._transport = writer.transport
        plain = self._transport.get_extra_info("sslcontext") is None
        self._socket = self._transport.get_extra_info("socket").fileno() if plain else None
        reader = hiredis.Reader(replyError=self._heard, notEnoughData=_NO_MORE)
        self._feed, self._gets = reader.feed, reader.gets
        self._answers: list[Any] = []
        self._ill: Lost | None = None
        self._wanted = 0
        self._done: Done | None = None
        self._of: Any = None
        self._transport.set_protocol(self)

    def begin(self, commands: bytes, wanted: int, done: "Done", of: Any) -> None:
        """Send so many commands. `done` is called with this line, `of`, and each one's answer, or its Failure; or with
        why the line is over.

        Only where it is not, and nothing else is under way.
        """
        self._wanted, self._done, self._of, self.failed = wanted, done, of, False
        if self._socket is not None and not self._transport.is_closing():  # then nobody else has its number
            try:
                sent = os.write(self._socket, commands)  # nothing is before it: what was sent has been answered
            except OSError:  # the transport meets it too, and tells
                sent = 0
            if sent == len(commands):  # uvloop's would wait for the end of the loop's turn
                return
            commands = commands[sent:]
        self._transport.write(commands)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Each command's answer, or its Failure. Raises Lost; the line is of no more use then, or when this is
        cancelled."""
        if self.over is not None:
            raise self.over
        answered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        text = b"".join([_whole(command) for command in commands])
        self.begin(text, len(commands), _tell, answered)
        return await answered

    def data_received(self, data: bytes) -> None:
        answers = self._answers
        try:
            self._feed(data)
            answers.extend(iter(self._gets, _NO_MORE))
        except hiredis.ProtocolError as error:  # this is no Redis
            self.end(Lost(str(error)))
            self._transport.abort()
            return
        if self._ill is not None:
            self.end(self._ill)
        elif len(answers) >= self._wanted and self._done is not None:
            self._answers = []
            done, self._done = self._done, None
            done(self, self._of, answers)

    def _heard(self, text: Any) -> Failure:
        """A server's error, as it stands among the answers."""
        error = self._connection._parser.parse_error(text)  # type: ignore[no-untyped-call]  # redis 8.1 has no types here
        if isinstance(error, (Disconnected, Silent)):  # a server that is still loading, and the like
            self._ill = self._ill or _lost(error)
        self.failed = True
        return Failure(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(Lost(f"Connection closed by server{f': {exc}' if exc else ''}.", again=True))

    def end(self, why: Lost) -> None:
        """It is of no more use from here."""
        self.over = self.over or why
        if self._done is not None:
            done, self._done = self._done, None
            done(self, self._of, self.over)

    def abort(self) -> None:
        """Cut it at once."""
        if self.watch is not None:
            self.watch.cancel()
        self._connection._close()  # type: ignore[no-untyped-call]  # as its `disconnect`, without a wait

    async def close(self) -> None:
        if self.watch is not None:
            self.watch.cancel()
        await self._connection.disconnect(nowait=True)


Done = Callable[[Line, Any, list[Any] | Lost], None]


def _tell(line: Line, answered: asyncio.Future[list[Any]], outcome: list[Any] | Lost) -> None:
    if answered.done():
        return
    if isinstance(outcome, Lost):
        answered.set_exception(outcome)
    else:
        answered.set_result(outcome)


def _lost(error: Exception) -> Lost:
    return Lost(str(error) or "no answer in time", again=isinstance(error, (Disconnected, OSError, *ELSEWHERE)))


class Place(Protocol):
    """Makes lines to the server that is the right one now."""

    async def connect(self) -> Line:
        """Raises Lost."""
        ...

    async def close(self) -> None: ...


class Address(NamedTuple):
    """A URL taken apart. `settings` are the arguments of redis-py's connection."""

    kind: str  # one, sentinel, cluster
    nodes: Sequence[Node]
    master: str
    settings: Settings
    parameters: Mapping[str, str]  # ours


def address(url: str) -> Address:
    """What `url` says. Raises ValueError that says what would be right."""
    scheme, _, kind = url.partition("://")[0].partition("+")
    if scheme not in ("redis", "rediss", "unix") or kind not in ("", "sentinel", "cluster"):
        raise ValueError(
            "REDIS_URL begins with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
            f" (rediss+… for TLS), not {url.partition('://')[0]!r}"
        )
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    master, _, db = parts.path.lstrip("/").partition("/")
    if kind:
        plain = parts._replace(scheme=scheme, netloc=f"{user}@" if user else "", path=f"/{db}").geturl()
    else:
        plain, hosts, master = url, "", ""
    if kind == "sentinel" and not master:
        raise ValueError("REDIS_URL names the master behind the sentinels: redis+sentinel://host:26379/mymaster")
    settings: dict[str, Any] = {**parse_url(plain)}
    settings.setdefault("connection_class", Connection)
    settings.pop("max_connections", None)  # of redis-py's pool, which is not used
    parameters: dict[str, str] = {
        name: settings.pop(name) for name in ("wait", "sentinel_password") if name in settings
    }
    nodes = [_node(host, PORTS[kind]) for host in hosts.split(",")] if kind else []
    return Address(kind or "one", nodes, unquote(master), settings, parameters)


def place(of: Address, key: str) -> Place:
    """Where `key` is kept, and with it all that has its hash tag."""
    match of.kind:
        case "sentinel":
            return Sentinels(of)
        case "cluster":
            return Cluster(of, key_slot(key.encode()))
        case _:
            return Server(of.settings)


class Server:
    """One server that stands where it stands."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def connect(self) -> Line:
        return await connected(self._settings)

    async def close(self) -> None: ...


class Sentinels:
    """The master, as the first sentinel that knows says at each connection."""

    def __init__(self, of: Address) -> None:
        self._of = of
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis 8.1 has no types here
            of.nodes,
            sentinel_kwargs={
                "password": of.parameters.get("sentinel_password"),
                "socket_connect_timeout": CONNECT_S,
                "socket_timeout": CONNECT_S,
                "retry": Retry(NoBackoff(), 0),
                "protocol": 2,
            },
        )

    async def connect(self) -> Line:
        try:
            host, port = await self._sentinel.discover_master(self._of.master)
        except (RedisError, OSError) as error:
            raise Lost(str(error)) from error
        return await connected({**self._of.settings, "host": host, "port": port})

    async def close(self) -> None:
        for client in self._sentinel.sentinels:
            await client.aclose()


class Cluster:
    """The master of one slot, as any node of the cluster says at each connection."""

    def __init__(self, of: Address, slot: int) -> None:
        self._of = of
        self._slot = slot
        self._nodes = list(of.nodes)

    async def connect(self) -> Line:
        failure = Lost("no node of the cluster says where our slot is")
        for node in tuple(self._nodes):
            try:
                host, port = await self._master(node)
                return await connected({**self._of.settings, "host": host, "port": port})
            except Lost as error:
                failure = error
                self._nodes.append(self._nodes.pop(0))  # the next try begins with another
        raise failure

    async def _master(self, node: Node) -> Node:
        """Who serves our slot, asked of `node` (redis.io/docs/latest/commands/cluster-slots)."""
        line = await connected({**self._of.settings, "host": node[0], "port": node[1]})
        try:
            async with asyncio.timeout(CONNECT_S):
                (ranges,) = await line.exchange([("CLUSTER", "SLOTS")])
        except TimeoutError as error:
            raise Lost(f"{node[0]}:{node[1]} does not answer in time") from error
        finally:
            await line.close()
        if isinstance(ranges, Failure):
            raise Lost(str(ranges))
        found: Node | None = None
        seen = [*self._of.nodes]
        for first, last, *serving in ranges:
            seen += [_heard(one, node) for one in serving]
            if first <= self._slot <= last:
                found = _heard(serving[0], node)
        self._nodes = [*dict.fromkeys([*self._nodes, *seen])]
        if found is None:
            raise Lost(f"no node of the cluster serves slot {self._slot}")
        return found

    async def close(self) -> None: ...


async def connected(settings: Settings) -> Line:
    """A line by these settings of redis-py's connection. Raises Lost."""
    made: Connection = settings["connection_class"](
        **{name: value for name, value in settings.items() if name != "connection_class"}
        | {"retry": Retry(NoBackoff(), 0), "protocol": 2}  # ours is the door's: the client's would hold callers up
    )
    made.socket_timeout = made.socket_connect_timeout = CONNECT_S
    try:
        await made.connect()  # type: ignore[no-untyped-call]  # nor here
    except (RedisError, OSError) as error:
        raise _lost(error) from error
    made.socket_timeout = None  # from here a batch has its time, not each answer
    return Line(made)


def _node(text: str, port: int) -> Node:
    host, _, last = text.rpartition(":")
    try:
        return (host.strip("[]"), int(last)) if host and not text.endswith("]") else (text.strip("[]"), port)
    except ValueError:
        raise ValueError(f"REDIS_URL: {text!r} is not host:port") from None


def _heard(named: Sequence[Any], by: Node) -> Node:
    """A node as CLUSTER SLOTS names it; one that does not know its own address is where it was asked."""
    host = named[0].decode() if named[0] else ""
    return (by[0] if host in ("", "?") else host, int(named[1]))
