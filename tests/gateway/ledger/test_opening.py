"""Which store a URL or a path opens."""

from pathlib import Path

import pytest

from gateway.ledger.opening import open_store, store_of
from gateway.ledger.redis import RedisStore
from gateway.ledger.sqlite import SqliteStore
from tests.redis_server import redis_prefix
from translators.errors import LLMError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_url_the_store_is_the_embedded_one(url: str | None) -> None:
    assert isinstance(open_store(url, "headgate.db", "headgate"), SqliteStore)


def test_with_a_url_the_store_is_redis() -> None:
    assert isinstance(open_store("redis://127.0.0.1:1/0", "headgate.db", "headgate"), RedisStore)


def test_what_is_no_url_of_redis_is_refused() -> None:
    with pytest.raises(ValueError, match="redis://"):
        open_store("http://127.0.0.1", "headgate.db", "headgate")


async def test_the_environment_names_the_store(tmp_path: Path, redis_url: str) -> None:
    path = tmp_path / "ledger.db"
    embedded = store_of({"HEADGATE_DATA": str(path), "REDIS_URL": ""})
    await embedded.open()
    await embedded.close()
    assert path.exists()
    with redis_prefix(redis_url) as prefix:
        fleet = store_of({"REDIS_URL": redis_url, "HEADGATE_REDIS_PREFIX": prefix, "HEADGATE_DATA": str(path)})
        same = open_store(redis_url, "", prefix)
        await fleet.claim("name", "value")
        assert await same.claim("name", "other") == "value"
        await fleet.close()
        await same.close()


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1/0", "HEADGATE_REDIS_WAIT": "always"}, "replicas:N"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0?wait=always"}, "replicas:N"),
        ({"REDIS_URL": "redis+ring://127.0.0.1:1"}, "redis://"),
        ({"HEADGATE_REDIS_WAIT": "aof"}, "no REDIS_URL"),
        ({"HEADGATE_REDIS_WAIT": "replicas:1", "REDIS_URL": ""}, "no REDIS_URL"),
    ],
)
def test_words_that_mean_nothing_are_named(env: dict[str, str], says: str) -> None:
    with pytest.raises(LLMError, match=says):
        store_of(env)


def test_a_ledger_that_is_not_there_is_made_only_where_that_is_meant(tmp_path: Path) -> None:
    env = {"HEADGATE_DATA": str(tmp_path / "ledger.db")}
    with pytest.raises(LLMError, match=r"no ledger at .*ledger\.db"):
        store_of(env, may_make=False)
    assert isinstance(store_of(env), SqliteStore)
    (tmp_path / "ledger.db").touch()
    assert isinstance(store_of(env, may_make=False), SqliteStore)
    assert isinstance(store_of({"REDIS_URL": "redis://127.0.0.1:1/0", **env}, may_make=False), RedisStore)
