"""What only the Redis store must do: scripts that are not there yet, servers that go away, replies that are lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
import redis

from gateway.ledger import redis as door
from gateway.ledger.redis import RedisStore
from gateway.ledger.store import Counter, Granted, Settled, StoreDown
from tests.gateway.ledger.requests import DIGEST, around_now, ask, bill, cap, sums, with_key
from tests.redis_server import redis_prefix

pytestmark = pytest.mark.anyio


class Link:
    """A cable to the server that can be cut, can go silent, and can lose one reply."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._joined: set[asyncio.Future[tuple[None, None]]] = set()
        self.port = 0
        self.silent = False
        self.lose_a_reply = False

    @property
    def url(self) -> str:
        user = self._server.netloc.rpartition("@")[0]
        return self._server._replace(netloc=f"{user}@127.0.0.1:{self.port}".lstrip("@")).geturl()

    async def plug_in(self) -> None:
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._listener:
            self._listener.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._joined)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await asyncio.open_connection(self._server.hostname, self._server.port or 6379)
        writers = {writer, server[1]}
        ways = asyncio.gather(self._pass_on(reader, server[1]), self._pass_on(server[0], writer, replies=True))
        self._writers |= writers
        self._joined.add(ways)
        await ways
        self._joined.discard(ways)
        self._writers -= writers

    async def _pass_on(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, replies: bool = False) -> None:
        try:
            while data := await source.read(65536):
                if replies and self.lose_a_reply:
                    self.lose_a_reply = False
                    break
                if not (replies and self.silent):
                    to.write(data)
        except ConnectionError:
            pass  # the other side hung up first
        to.close()


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    with redis_prefix(redis_url) as prefix:
        yield prefix


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = Link(redis_url)
    await link.plug_in()
    yield link
    await link.cut()


@pytest.fixture
async def far(link: Link, prefix: str) -> AsyncIterator[RedisStore]:
    """A store at the other end of the link."""
    store = RedisStore(link.url, prefix)
    await store.open()
    yield store
    await store.close()


async def test_a_server_that_does_not_know_the_scripts_is_told_them(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESERVE", "SETTLE", "KEYS", "HOLDER"):
        known = getattr(door, name)
        monkeypatch.setattr(door, name, door.script(f"{known.text}\n-- {secrets.token_hex(8)}"))
    store = RedisStore(redis_url, prefix)
    await store.open()
    await with_key(store)
    assert await store.holder(DIGEST) is not None
    reserves = await asyncio.gather(*(store.reserve(ask(f"r{at}", cap(None))) for at in range(20)))
    assert reserves == [Granted(100)] * 20
    settles = await asyncio.gather(*(store.settle(bill(f"r{at}", 1, cap(None))) for at in range(20)))
    assert all(settled.first for settled in settles)
    await store.close()


async def test_a_lost_server_is_a_store_that_is_down_until_it_is_back(link: Link, far: RedisStore) -> None:
    await with_key(far)
    await link.cut()
    for attempt in (
        far.reserve(ask("r", cap(None))),
        far.settle(bill("r", 1, cap(None))),
        far.ping(),
        far.get("key", "k"),
    ):
        with pytest.raises(StoreDown):
            await attempt
    with pytest.raises(StoreDown):
        await far.journal(0, 1)
    await link.plug_in()
    assert await far.reserve(ask("r", cap(None))) == Granted(100)


async def test_a_server_that_is_not_there_cannot_be_opened(link: Link, prefix: str) -> None:
    await link.cut()
    store = RedisStore(link.url, prefix)
    with pytest.raises(StoreDown):
        await store.open()
    await store.close()


async def test_a_silent_server_is_waited_for_no_longer_than_a_command_may_take(
    link: Link, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "COMMAND_S", 0.1)
    store = RedisStore(link.url, prefix)
    await store.open()
    await with_key(store)
    link.silent = True
    asked = [store.reserve(ask(f"r{at}", cap(None))) for at in range(10)]
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, StoreDown)
    link.silent = False
    assert await store.reserve(ask("r0", cap(None))) == Granted(100)
    await store.close()


async def test_a_lost_reply_is_asked_for_again_and_counts_once(link: Link, far: RedisStore) -> None:
    await with_key(far)
    link.lose_a_reply = True
    assert await far.reserve(ask("r", cap(None))) == Granted(100)
    assert not link.lose_a_reply
    assert await sums(far, "key:k") == {"key:k|total": (0, 100)}
    link.lose_a_reply = True
    await far.settle(bill("r", 7, cap(None)))
    assert await sums(far, "key:k") == {"key:k|total": (7, 0)}
    assert len(await far.journal(0, float("inf"))) == 1


async def test_every_key_has_the_hash_tag_and_only_what_may_go_has_an_end(redis_url: str, prefix: str) -> None:
    store = RedisStore(redis_url, prefix)
    await store.open()
    await with_key(store, alias="a")
    today = around_now(None)
    await store.reserve(ask("held", cap(1000), today))
    await store.reserve(ask("spent", cap(1000), today))
    await store.settle(bill("spent", 1, cap(1000), today))
    await store.claim("c", "v")
    await store.remember({"m": b"1"}, 1000)
    await store.close()

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = sorted(client.scan_iter(match=f"*{prefix}*", count=1000))
        tag = f"{{{prefix}:default}}:"
        assert [key for key in keys if not key.startswith(tag)] == []
        assert client.zrange(f"{tag}holds", 0, -1) == ["held"]
        mortal = {key.removeprefix(tag) for key in keys if client.ttl(key) > 0}
        assert mortal == {"sums:key:k|1d:today", "settled:spent", "memory:m"}
        assert client.expiretime(f"{tag}sums:key:k|1d:today") == round(today.end_s + door.KEPT_S)


async def test_counters_that_are_long_past_leave_the_index(redis_url: str, prefix: str) -> None:
    store = RedisStore(redis_url, prefix)
    await store.open()
    old = Counter("key:k", "1d:long ago", 1e9, 1e9 + 86_400)
    assert await store.settle(bill("r", 1, old, around_now(None))) == Settled(first=True, overrun_nanousd=1)
    await store.close()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.zrange(f"{{{prefix}:default}}:windows:key:k", 0, -1) == ["1d:today"]
        assert not client.exists(f"{{{prefix}:default}}:sums:{old.name}")


async def test_two_prefixes_know_nothing_of_each_other(redis_url: str, prefix: str) -> None:
    store, other = RedisStore(redis_url, prefix), RedisStore(redis_url, f"{prefix}:other")
    await with_key(store)
    assert await other.get("key", "k") is None
    await other.close()
    await store.close()
