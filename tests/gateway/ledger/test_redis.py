"""What only the Redis store must do: scripts that are not there yet, older layouts, servers that go away and forget."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest
import redis

from gateway.ledger import redis_calls as calls
from gateway.ledger import redis_door as door
from gateway.ledger import redis_scripts as scripts
from gateway.ledger.redis import RedisStore
from gateway.ledger.store import KEPT_S, Beat, Conflict, Counter, Granted, Meter, Record, Settled, StoreDown
from tests.gateway.ledger.cable import Cable
from tests.gateway.ledger.requests import DIGEST, around_now, ask, bill, cap, growth, sums, with_key
from tests.redis_server import caught_up, own_server, redis_cluster, redis_prefix, redis_sentinel, until

pytestmark = pytest.mark.anyio
METERS = (Meter("key:k", "rpm", 9), Meter("key:k", "tpm", 900), Meter("key:k", "parallel", 9))


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    with redis_prefix(redis_url) as prefix:
        yield prefix


@pytest.fixture
async def cable(redis_url: str) -> AsyncIterator[Cable]:
    cable = Cable(redis_url)
    await cable.plug_in()
    yield cable
    await cable.cut()


@pytest.fixture
async def far(cable: Cable, prefix: str) -> AsyncIterator[RedisStore]:
    """A store at the other end of the cable."""
    store = RedisStore(cable.url, prefix)
    await store.open()
    yield store
    await store.close()


async def back(store: RedisStore) -> None:
    """Wait until the store answers again."""
    async with asyncio.timeout(15):
        while True:
            try:
                await store.ping()
                return
            except StoreDown:
                await asyncio.sleep(0.02)


# --- scripts and keys


async def test_a_server_that_does_not_know_the_scripts_is_told_them(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESERVE", "GROW", "RENEW", "SETTLE", "REAP", "SNAPSHOT", "KEYS", "HOLDER", "LOCK", "LAYOUT_CLAIM"):
        known = getattr(scripts, name)
        monkeypatch.setattr(scripts, name, scripts.script(f"{known.text}\n-- {secrets.token_hex(8)}"))
    store = RedisStore(redis_url, prefix)
    await store.open()
    await with_key(store)
    assert await store.holder(DIGEST) is not None
    reserves = await asyncio.gather(*(store.reserve(ask(f"r{at}", cap(None))) for at in range(20)))
    assert reserves == [Granted(100)] * 20
    assert await store.grow(growth("r0", 100, 50, cap(None))) == Granted(150)
    assert await store.renew([Beat("r0"), Beat("nobody")], 10) == ["nobody"]
    settles = await asyncio.gather(*(store.settle(bill(f"r{at}", 1, cap(None))) for at in range(20)))
    assert all(settled.first for settled in settles)
    assert await store.reap() == 0
    assert (await store.snapshot()).sums["key:k|total"].spent_nanousd == 20
    assert await store.lock("l", "me", 1)
    await store.close()


async def test_every_key_has_the_hash_tag_and_only_what_may_go_has_an_end(redis_url: str, prefix: str) -> None:
    store = RedisStore(redis_url, prefix)
    await store.open()
    await with_key(store, alias="a")
    today = around_now(None)
    await store.reserve(ask("held", cap(1000), today, meters=METERS, tokens=5))
    await store.reserve(ask("spent", cap(1000), today))
    await store.settle(bill("spent", 1, cap(1000), today))
    await store.claim("c", "v")
    await store.lock("l", "me", 1000)
    await store.remember({"m": b"1"}, 1000)
    await store.close()

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = sorted(client.scan_iter(match=f"*{prefix}*", count=1000))
        tag = f"{{{prefix}:default}}:"
        assert [key for key in keys if not key.startswith(tag)] == []
        assert tag not in keys  # the scripts' first key never exists
        assert client.zrange(f"{tag}leases", 0, -1) == ["held"]
        mortal = {key.removeprefix(tag) for key in keys if client.ttl(key) > 0}
        kept = {"sums:key:k|1d:today", "meters:key:k|rpm", "meters:key:k|tpm"}
        assert mortal == kept | {"settled:spent", "memory:m", "lock:l"}
        assert client.expiretime(f"{tag}sums:key:k|1d:today") == round(today.end_s + KEPT_S)


async def test_counters_that_are_long_past_leave_the_index(redis_url: str, prefix: str) -> None:
    store = RedisStore(redis_url, prefix)
    await store.open()
    old = Counter("key:k", "1d:long ago", 1e9, 1e9 + 86_400)
    settled = await store.settle(bill("r", 1, old, around_now(None)))
    assert (settled.first, settled.overrun_nanousd) == (True, 1)
    assert list((await store.snapshot()).sums) == ["key:k|1d:today"]
    await store.close()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.zrange(f"{{{prefix}:default}}:windows:key:k", 0, -1) == ["1d:today"]
        assert client.zrange(f"{{{prefix}:default}}:counters", 0, -1) == ["key:k|1d:today"]
        assert not client.exists(f"{{{prefix}:default}}:sums:{old.name}")


async def test_two_prefixes_know_nothing_of_each_other(redis_url: str, prefix: str) -> None:
    store, other = RedisStore(redis_url, prefix), RedisStore(redis_url, f"{prefix}:other")
    await with_key(store)
    assert await other.get("key", "k") is None
    await other.close()
    await store.close()


async def test_buckets_that_no_longer_count_leave_their_meter(redis_url: str, prefix: str) -> None:
    store = RedisStore(redis_url, prefix)
    await with_key(store)
    key = f"{{{prefix}:default}}:meters:key:k|tpm"
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        now = int(client.time()[0])
        client.hset(key, mapping={"at": now - 70, "sum": 907, str(now - 70): 900, str(now - 30): 7})
        answer = await store.reserve(ask("r", cap(None), meters=METERS, tokens=5))
        assert isinstance(answer, Granted)
        assert answer.levels[1][0] == 12
        left = client.hgetall(key)
    assert sorted(left.values())[:2] == ["12", str(left["at"])]
    assert str(now - 70) not in left
    await store.close()


# --- layouts


async def test_a_store_that_a_newer_headgate_laid_out_is_not_opened(redis_url: str, prefix: str) -> None:
    store = RedisStore(redis_url, prefix)
    await store.open()
    await store.open()  # its own layout is none of that
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{{{prefix}:default}}:claim:layout", calls.LAYOUT + 1)
    with pytest.raises(StoreDown, match="newer Headgate"):
        await store.open()
    await store.close()


async def test_what_layout_1_wrote_is_taken_over(redis_url: str, prefix: str) -> None:
    tag = f"{{{prefix}:default}}:"
    key = Record(id="k", kind="key")
    line: dict[str, object] = {
        "request_id": "old",
        "key_id": "k",
        "team_id": None,
        "cost_nanousd": 7,
        "usage": {},
        "ending": "done",
    }
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"{tag}records:key", "k", key.model_dump_json())
        client.hset(f"{tag}states:key", "k", '["1","0","","",""]')
        client.zadd(f"{tag}ids:key", {"k": 0})
        client.hset(f"{tag}tokens", DIGEST, "k")
        client.hset(f"{tag}sums:key:k|total", mapping={"spent": 7, "held": 100})
        client.zadd(f"{tag}windows:key:k", {"total": "+inf"})
        client.hset(f"{tag}hold:live", mapping={"nanousd": 100, "counters": '["key:k|total"]'})
        client.zadd(f"{tag}holds", {"live": 1})
        client.set(f"{tag}settled:old", "1")
        client.xadd(f"{tag}journal", {"line": orjson.dumps(line), "counters": '["key:k|total"]'})
    store = RedisStore(redis_url, prefix)
    await store.open()
    holder = await store.holder(DIGEST)
    assert holder is not None
    assert holder.key == key
    now = await store.snapshot()
    assert {name: sum[:2] for name, sum in now.sums.items()} == {"key:k|total": (7, 100)}
    assert [(hold.request_id, hold.nanousd) for hold in await store.holds()] == [("live", 100)]
    (entry,) = await store.journal(0, float("inf"))
    assert (entry.bill["cost_nanousd"], entry.counters, entry.overrun_nanousd) == (7, ("key:k|total",), 0)
    assert not (await store.settle(bill("old", 9, cap(None)))).first
    assert await store.settle(bill("live", 9, cap(None))) == Settled(True, 0, (16,))
    assert await sums(store, "key:k") == {"key:k|total": (16, 0)}
    await store.close()


def hold_as_layout_1(client: "redis.Redis", tag: str, request_id: str) -> None:
    client.hincrby(f"{tag}sums:key:k|total", "held", 100)
    client.hincrby(f"{tag}sums:key:k|total", "spent", 0)
    client.zadd(f"{tag}windows:key:k", {"total": "+inf"})
    client.hset(f"{tag}hold:{request_id}", mapping={"nanousd": 100, "counters": '["key:k|total"]'})
    client.zadd(f"{tag}holds", {request_id: 1})


async def test_holds_of_a_worker_of_layout_1_that_still_runs_end_by_its_bill_or_by_a_lease(
    redis_url: str, prefix: str
) -> None:
    tag = f"{{{prefix}:default}}:"
    store = RedisStore(redis_url, prefix)
    with redis.Redis.from_url(redis_url) as client:
        for request_id in ("settled", "dead", "late"):
            hold_as_layout_1(client, tag, request_id)
        await store.open()  # nothing was settled yet
        assert list((await store.snapshot()).sums) == ["key:k|total"]
        hold_as_layout_1(client, tag, "more")
        await store.open()
        assert len(await store.holds()) == 4
        client.delete(f"{tag}hold:settled")  # as its settle does
        client.hincrby(f"{tag}sums:key:k|total", "held", -100)
        assert len(await store.holds()) == 3
        assert await store.reap() == 0
        for request_id in ("settled", "dead", "late"):
            client.zadd(f"{tag}leases", {request_id: 1})
        assert await store.reap() == 2
        assert await sums(store, "key:k") == {"key:k|total": (0, 100)}
        assert not client.exists(f"{tag}settled:late")  # so it books its bill in full
        assert (await store.settle(bill("late", 9, cap(None)))).spent == (9,)
    await store.close()


async def test_a_counter_that_a_worker_of_layout_1_made_is_listed_when_it_is_next_used(
    redis_url: str, prefix: str
) -> None:
    tag = f"{{{prefix}:default}}:"
    store = RedisStore(redis_url, prefix)
    await store.open()
    await with_key(store)
    with redis.Redis.from_url(redis_url) as client:
        for scope in ("key:k", "team:t"):
            client.hset(f"{tag}sums:{scope}|total", mapping={"spent": 7, "held": 0})
    await store.reserve(ask("r", cap(None)))
    assert list((await store.snapshot()).sums) == ["key:k|total"]
    await store.settle(bill("s", 9, cap(None, "team:t")))
    now = await store.snapshot()
    assert {name: sum[:2] for name, sum in now.sums.items()} == {"key:k|total": (7, 100), "team:t|total": (16, 0)}
    await store.close()


# --- a server that is lost


async def test_a_lost_server_is_a_store_that_is_down_until_it_is_back(cable: Cable, far: RedisStore) -> None:
    await with_key(far)
    await cable.cut()
    for attempt in (
        far.reserve(ask("r", cap(None))),
        far.settle(bill("r", 1, cap(None))),
        far.grow(growth("r", 100, 1, cap(None))),
        far.renew([Beat("r")], 10),
        far.reap(),
        far.snapshot(),
        far.ping(),
        far.get("key", "k"),
    ):
        with pytest.raises(StoreDown):
            await attempt
    with pytest.raises(StoreDown):
        await far.journal(0, 1)
    await cable.plug_in()
    await back(far)
    assert await far.reserve(ask("r", cap(None))) == Granted(100)


async def test_a_server_that_is_not_there_cannot_be_opened(cable: Cable, prefix: str) -> None:
    await cable.cut()
    store = RedisStore(cable.url, prefix)
    with pytest.raises(StoreDown):
        await store.open()
    await store.close()


async def test_a_silent_server_is_waited_for_no_longer_than_a_command_may_take(
    cable: Cable, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "COMMAND_S", 0.2)
    store = RedisStore(cable.url, prefix)
    await store.open()
    await with_key(store)
    cable.silent = True
    asked = [store.reserve(ask(f"r{at}", cap(None))) for at in range(10)]
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, StoreDown)
    cable.silent = False
    await back(store)
    assert await store.reserve(ask("r0", cap(None))) == Granted(100)
    await store.close()


async def test_a_lost_reply_is_asked_for_again_and_counts_once(cable: Cable, far: RedisStore) -> None:
    await with_key(far)
    cable.lose_a_reply = True
    answer = await far.reserve(ask("r", cap(None), meters=METERS, tokens=5))
    assert isinstance(answer, Granted)
    assert (answer.nanousd, answer.tokens) == (100, 5)
    assert not cable.lose_a_reply
    cable.lose_a_reply = True
    assert await far.grow(growth("r", 100, 20, cap(None))) == Granted(120)
    assert await sums(far, "key:k") == {"key:k|total": (0, 120)}
    assert [used for used, _ in await far.levels(METERS)] == [1, 5, 1]
    cable.lose_a_reply = True
    await far.settle(bill("r", 7, cap(None)))
    assert await sums(far, "key:k") == {"key:k|total": (7, 0)}
    assert len(await far.journal(0, float("inf"))) == 1


async def test_a_server_that_forgot_the_last_moments_is_told_of_them() -> None:
    with own_server() as server:
        store, other = RedisStore(server.url), RedisStore(server.url)
        await store.open()
        await with_key(store)
        asked = ask("live", cap(1000), meters=METERS, tokens=50)
        await store.reserve(asked)
        await store.grow(growth("live", 100, 20, cap(1000)))
        await store.renew([Beat("live", 33, b'{"request_id": "live"}')], 1000)
        await store.reserve(ask("done", cap(1000)))
        await store.settle(bill("done", 60, cap(1000)))
        await other.reserve(ask("gone", cap(1000)))
        await other.settle(bill("gone", 5, cap(1000)))
        assert await other.claim("store_id", "this one") == "this one"
        before = await store.snapshot()
        server.kill()
        with pytest.raises(StoreDown):
            await store.ping()
        server.start()  # and it has nothing on disk

        await asyncio.gather(back(store), back(other))
        assert await store.claim("store_id", "another") == "this one"
        after = await store.snapshot()
        assert after.sums == before.sums
        assert after.slots == {"key:k": 1}
        (hold,) = after.holds
        assert (hold.request_id, hold.nanousd, hold.cost_nanousd, hold.slots) == ("live", 120, 33, ("key:k",))
        assert [used for used, _ in await store.levels(METERS)] == [1, 50, 1]
        assert sorted(entry.bill["request_id"] for entry in await store.journal(0, float("inf"))) == ["done", "gone"]

        server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.gather(back(store), back(other))
        assert (await store.settle(bill("live", 40, cap(1000), tokens=30))).spent == (105,)
        assert not (await store.settle(bill("done", 60, cap(1000)))).first
        assert await sums(store, "key:k") == {"key:k|total": (105, 0)}
        assert [used for used, _ in await store.levels(METERS)] == [1, 30, 0]
        await store.close()
        await other.close()


async def test_a_server_that_kept_everything_counts_nothing_twice() -> None:
    with own_server("--appendonly", "yes", "--appendfsync", "always") as server:
        store = RedisStore(server.url)
        await store.open()
        await with_key(store)
        await store.reserve(ask("live", cap(1000), meters=METERS, tokens=50))
        await store.reserve(ask("done", cap(1000)))
        await store.settle(bill("done", 60, cap(1000)))
        server.kill()
        server.start()
        await back(store)
        assert await sums(store, "key:k") == {"key:k|total": (60, 100)}
        assert [used for used, _ in await store.levels(METERS)] == [1, 50, 1]
        assert len(await store.journal(0, float("inf"))) == 1
        await store.close()


# --- what is demanded, what is warned of


async def test_a_demand_that_the_server_knows_nothing_of_is_refused() -> None:
    with own_server() as server:
        store = RedisStore(f"{server.url}?wait=aof")
        if server.do("INFO", "server")["redis_version"] < "7.2":
            with pytest.raises(StoreDown, match="since 7"):
                await store.open()
        else:
            await store.open()
        await store.close()


async def test_a_write_that_has_not_reached_its_replicas_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    with own_server() as server:
        sure = RedisStore(server.url)
        await sure.open()
        await with_key(sure)
        monkeypatch.setattr("gateway.ledger.redis_durability.WAIT_MS", 50)
        store = RedisStore(server.url, demand="replicas:1")
        with pytest.raises(StoreDown, match="1 replicas"):
            await store.reserve(ask("r", cap(None)))
        with pytest.raises(StoreDown, match="1 replicas"):
            await store.settle(bill("r", 1, cap(None)))
        assert await store.get("key", "k")  # what is only read has nothing to reach
        with own_server("--replicaof", f"127.0.0.1 {server.port}"):
            async with asyncio.timeout(15):
                while True:
                    try:
                        settled = await store.settle(bill("r", 1, cap(None)))
                        break
                    except StoreDown:
                        await asyncio.sleep(0.02)
            assert not settled.first  # it was taken, and nobody could say so
        await store.close()
        await sure.close()


async def test_a_record_whose_reply_was_lost_is_kept_and_no_conflict(cable: Cable, far: RedisStore) -> None:
    made = Record(id="key_1", kind="key", alias="ada", created_at=1.5, hint="sk-hg-…aaaa")
    cable.lose_a_reply = True
    await far.create(made, "digest-1")
    cable.lose_a_reply = True
    await far.replace(changed := made.model_copy(update={"version": 2, "metadata": {"a": 1}}))
    cable.lose_a_reply = True
    rotated = await far.rotate("key_1", 2, "digest-2", "sk-hg-…bbbb", 0)
    assert not cable.lose_a_reply
    assert (rotated.version, rotated.metadata, await far.get("key", "key_1")) == (3, changed.metadata, rotated)
    holder = await far.holder("digest-2")
    assert holder is not None and holder.key == rotated
    for stale in (made, changed):
        with pytest.raises(Conflict):
            await far.replace(stale)
    with pytest.raises(Conflict):
        await far.create(made.model_copy(update={"hint": "sk-hg-…cccc"}), "digest-3")


def written(client: redis.Redis) -> int:
    """How often a field of a hash has been set."""
    calls: int = client.info("commandstats")["cmdstat_hset"]["calls"]
    return calls


async def test_what_is_sent_again_is_written_again(redis_url: str, prefix: str) -> None:
    """WAIT and WAITAOF wait for a connection's own last write: an answer to what another had written would not."""
    store, client = RedisStore(redis_url, prefix), redis.Redis.from_url(redis_url)
    await store.open()
    await with_key(store)
    root = f"{{{prefix}:default}}:"
    await store.reserve(ask("r", cap(None)))
    before = written(client)
    assert await store.reserve(ask("r", cap(None))) == Granted(100)
    assert written(client) == before + 1
    assert await store.grow(growth("r", 100, 50, cap(None))) == Granted(150)
    before = written(client)
    assert await store.grow(growth("r", 100, 50, cap(None))) == Granted(150)
    assert written(client) == before + 1
    made = Record(id="key_1", kind="key")
    await store.create(made, "digest-1")
    before = written(client)
    await store.create(made, "digest-1")
    assert written(client) == before + 1
    await store.settle(bill("r", 7, cap(None)))
    client.expire(f"{root}settled:r", 5)
    assert await store.settle(bill("r", 7, cap(None))) == Settled(False, 0, (7,))
    assert int(str(client.ttl(f"{root}settled:r"))) > 1000
    client.close()
    await store.close()


async def test_settings_that_lose_money_are_told() -> None:
    with own_server("--maxmemory-policy", "allkeys-lru") as server:
        store = RedisStore(server.url)
        assert [text.split("`")[1] for text in await store.warnings()] == [
            "appendonly no",
            "maxmemory-policy allkeys-lru",
        ]
        server.do("ACL", "SETUSER", "default", "-config")
        assert [text.split("`")[1] for text in await store.warnings()] == [
            "appendonly no",
            "maxmemory-policy allkeys-lru",
        ]
        server.do("ACL", "SETUSER", "default", "-info")
        assert ["is not known" in text for text in await store.warnings()] == [True]
        await store.close()
    with own_server("--appendonly", "yes", "--appendfsync", "always") as server:
        store = RedisStore(server.url)
        assert await store.warnings() == []
        server.do("CONFIG", "SET", "appendfsync", "everysec")
        assert ["everysec" in text for text in await store.warnings()] == [True]
        await store.close()


# --- other places


async def test_a_sentinels_new_master_is_found_and_told() -> None:
    with redis_sentinel() as (url, master, replica):
        store = RedisStore(url)
        await store.open()
        await with_key(store)
        await store.reserve(ask("live", cap(1000)))
        await asyncio.to_thread(until, lambda: caught_up(master, replica))
        master.kill()
        with pytest.raises(StoreDown):
            await store.reserve(ask("r", cap(1000)))
        await back(store)
        assert await store.reserve(ask("r", cap(1000))) == Granted(100, afford_nanousd=1000)
        assert (await store.settle(bill("live", 7, cap(1000)))).spent == (7,)
        assert replica.do("ROLE")[0] == "master"
        await store.close()


async def test_a_slot_that_moves_to_another_node_is_followed_and_nothing_done_by_halves() -> None:
    with redis_cluster() as nodes:
        store = RedisStore(f"redis+cluster://127.0.0.1:{nodes[0].port}")
        await store.open()
        await with_key(store)
        await store.reserve(ask("before", cap(None)))
        slot = nodes[0].do("CLUSTER", "KEYSLOT", "{headgate:default}:")
        names = [node.do("CLUSTER", "MYID") for node in nodes]
        source = next(at for at in range(3) if nodes[at].do("CLUSTER", "COUNTKEYSINSLOT", slot))
        target = (source + 1) % 3
        nodes[target].do("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        nodes[source].do("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        with pytest.raises(StoreDown):
            await store.settle(bill("before", 1, cap(None)))
        keys = nodes[source].do("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        nodes[source].do("MIGRATE", "127.0.0.1", nodes[target].port, "", 0, 5000, "KEYS", *keys)
        for node in nodes:
            node.do("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        await back(store)
        assert await sums(store, "key:k") == {"key:k|total": (0, 100)}
        assert await store.settle(bill("before", 1, cap(None))) == Settled(True, 0, (1,))
        assert nodes[target].do("CLUSTER", "COUNTKEYSINSLOT", slot)
        await store.close()
