"""Which server a URL means, and how its connections fail."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from gateway.ledger.redis_place import Failure, Lost, address, place
from tests.redis_server import Server, cluster_url, own_server, redis_cluster, redis_sentinel

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "connection", "settings"),
    [
        ("redis://h:7/3", Connection, {"host": "h", "port": 7, "db": 3}),
        ("rediss://u:p%40@h", SSLConnection, {"host": "h", "username": "u", "password": "p@"}),
        ("unix:///run/redis.sock?db=2", UnixDomainSocketConnection, {"path": "/run/redis.sock", "db": 2}),
    ],
)
def test_a_url_of_one_server(url: str, connection: type, settings: dict[str, object]) -> None:
    found = address(url)
    assert (found.kind, found.nodes, found.parameters) == ("one", [], {})
    assert dict(found.settings) == settings | {"connection_class": connection}


@pytest.mark.parametrize(
    ("url", "nodes", "master", "settings"),
    [
        ("redis+cluster://a:1,b:2", [("a", 1), ("b", 2)], "", {}),
        ("redis+cluster://u:p@a,[::1]:2,[::2]", [("a", 6379), ("::1", 2), ("::2", 6379)], "", {"username": "u"}),
        ("redis+sentinel://a,b:2/my%20master/4", [("a", 26379), ("b", 2)], "my master", {"db": 4}),
        ("rediss+sentinel://:p@a:1/m", [("a", 1)], "m", {"password": "p", "connection_class": SSLConnection}),
    ],
)
def test_a_url_of_several(url: str, nodes: Sequence[object], master: str, settings: dict[str, object]) -> None:
    found = address(url)
    assert found.kind == url.partition("+")[2].partition(":")[0]
    assert (list(found.nodes), found.master) == (nodes, master)
    assert settings.items() <= found.settings.items()
    assert not {"host", "port"} & found.settings.keys()


def test_what_is_meant_for_us_does_not_reach_the_client() -> None:
    found = address(
        "redis+sentinel://a/m?wait=replicas:2&sentinel_password=s&max_connections=5&health_check_interval=3"
    )
    assert found.parameters == {"wait": "replicas:2", "sentinel_password": "s"}
    assert found.settings["health_check_interval"] == 3
    assert not {"wait", "sentinel_password", "max_connections"} & found.settings.keys()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h", "redis://"),
        ("memcached+cluster://h", "redis"),
        ("redis+ring://h", "redis"),
        ("redis+sentinel://h:1", "mymaster"),
        ("redis+cluster://h:many", "host:port"),
    ],
)
def test_what_is_no_url_of_redis_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        address(url)


async def test_an_error_stands_in_the_place_of_its_answer() -> None:
    with own_server() as server:
        there = place(address(server.url), "k")
        line = await there.connect()
        await line.exchange([("SET", "k", "text")])
        first, wrong, last = await line.exchange([("GET", "k"), ("INCR", "k"), ("PING",)])
        assert (first, last) == (b"text", b"PONG")
        assert isinstance(wrong, Failure)
        assert not (wrong.unknown_script or wrong.forbidden or wrong.elsewhere)
        (unknown,) = await line.exchange([("EVALSHA", "0" * 40, 0)])
        assert isinstance(unknown, Failure)
        assert unknown.unknown_script
        await asyncio.to_thread(server.kill)
        with pytest.raises(Lost) as lost:
            await line.exchange([("PING",)])
        assert lost.value.again
        with pytest.raises(Lost):
            await there.connect()
        await line.close()
        await there.close()


async def test_what_a_socket_does_not_take_at_once_follows() -> None:
    with own_server() as server:
        line = await place(address(server.url), "k").connect()
        large = b"x" * 20_000_000
        assert await line.exchange([("SET", "k", large), ("STRLEN", "k")]) == [b"OK", len(large)]
        assert await line.exchange([("GET", "k"), ("PING",)]) == [large, b"PONG"]
        await line.close()


async def test_a_password_is_given_and_a_wrong_one_is_a_lost_server() -> None:
    with own_server() as server:
        server.do("CONFIG", "SET", "requirepass", "secret")
        there = place(address(f"redis://:secret@127.0.0.1:{server.port}/1"), "k")
        line = await there.connect()
        assert await line.exchange([("SET", "k", "v")]) == [b"OK"]
        await line.close()
        with pytest.raises(Lost):
            await place(address(f"redis://:guess@127.0.0.1:{server.port}"), "k").connect()


def _owner(nodes: Sequence[Server], key: str) -> Server:
    return next(node for node in nodes if key in node.do("KEYS", "*"))


async def test_in_a_cluster_the_node_of_the_key_is_found_from_any() -> None:
    with redis_cluster() as nodes:
        for key in ("a", "b", "c", "d"):
            for node in nodes:
                there = place(address(cluster_url([node])), key)
                line = await there.connect()
                assert await line.exchange([("SET", key, "v")]) == [b"OK"]
                await line.close()
        assert {_owner(nodes, key).port for key in "abcd"} == {node.port for node in nodes}

        lost = next(node for node in nodes if node is not _owner(nodes, "a"))
        there = place(address(cluster_url([lost, *(node for node in nodes if node is not lost)])), "a")
        lost.kill()  # the one that would have been asked first
        line = await there.connect()
        assert await line.exchange([("GET", "a")]) == [b"v"]
        await line.close()


async def test_a_node_that_is_not_the_keys_says_so(redis_cluster_url: str) -> None:
    nodes = redis_cluster_url.removeprefix("redis+cluster://").split(",")
    lines = [await place(address(f"redis://{node}"), "a").connect() for node in nodes]
    answers = [(await line.exchange([("GET", "a")]))[0] for line in lines]
    assert sorted(isinstance(answer, Failure) and answer.elsewhere for answer in answers) == [False, True, True]
    for line in lines:
        await line.close()


async def test_a_sentinel_that_knows_no_such_master_is_a_lost_server() -> None:
    with redis_sentinel() as (url, master, _):
        there = place(address(url), "k")
        line = await there.connect()
        await line.exchange([("SET", "k", "v")])
        assert master.do("GET", "k") == "v"
        await line.close()
        await there.close()
        other = place(address(url.replace("/ledger", "/another")), "k")
        with pytest.raises(Lost):
            await other.connect()
        await other.close()
