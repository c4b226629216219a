"""What may be demanded of Redis, and which of its settings are warned of."""

import pytest

from gateway.ledger.redis_durability import check, wait, warnings
from gateway.ledger.store import StoreDown


def test_nothing_is_demanded_unless_it_is_said() -> None:
    assert wait("") is None
    check(None, "6.2.0")


@pytest.mark.parametrize("demand", ["always", "AOF", "replicas", "replicas:0", "replicas:-1", "replicas:two", "1"])
def test_another_word_is_refused(demand: str) -> None:
    with pytest.raises(ValueError, match="replicas:N"):
        wait(demand)


def test_the_disk_needs_a_server_that_can_wait_for_it() -> None:
    for version in ("7.2.0", "7.10", "8.0.1", "10.0"):
        check(wait("aof"), version)
    for version in ("7.0.15", "6.2", ""):
        with pytest.raises(StoreDown, match="WAITAOF"):
            check(wait("aof"), version)
    check(wait("replicas:1"), "6.2")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}, []),
        ({"appendonly": "no", "appendfsync": "everysec"}, ["appendonly no"]),
        ({"appendonly": "yes", "appendfsync": "everysec"}, ["appendfsync everysec"]),
        ({"appendonly": "yes", "appendfsync": "no"}, ["appendfsync no"]),
        ({"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "volatile-ttl"}, ["volatile-ttl"]),
        ({"appendonly": "no", "maxmemory-policy": "allkeys-lru"}, ["appendonly no", "allkeys-lru"]),
        ({}, []),
    ],
)
def test_each_setting_that_loses_money_has_its_sentence(settings: dict[str, str], named: list[str]) -> None:
    found = warnings(settings, demanded=False)
    assert len(found) == len(named)
    for text, name in zip(found, named, strict=True):
        assert name in text
        assert text.endswith(".")


def test_where_each_write_is_waited_for_the_last_second_is_safe() -> None:
    assert warnings({"appendonly": "yes", "appendfsync": "everysec"}, demanded=True) == []
