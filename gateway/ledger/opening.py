"""Which store this gateway keeps its ledger in."""

from collections.abc import Mapping

from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Store


def open_store(redis_url: str | None, path: str, prefix: str) -> Store:
    """Redis where a URL is given, with `prefix` in every key; else the embedded file at `path`. Not opened yet."""
    if redis_url:
        # imported here since its client takes a tenth of a second to load, which the embedded store need not wait for
        from gateway.ledger.redis import RedisStore

        return RedisStore(redis_url, prefix)
    return SqliteStore(path)


def store_of(env: Mapping[str, str]) -> Store:
    """The store that the environment names: REDIS_URL, else the file HEADGATE_DATA. Not yet opened."""
    return open_store(
        env.get("REDIS_URL") or None,
        env.get("HEADGATE_DATA") or "./headgate.db",
        env.get("HEADGATE_REDIS_PREFIX") or "headgate",
    )
