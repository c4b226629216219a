"""Which store this gateway keeps its ledger in."""

from collections.abc import Mapping
from pathlib import Path

from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Store
from translators.errors import LLMError


def open_store(redis_url: str | None, path: str, prefix: str, redis_wait: str = "") -> Store:
    """Redis where a URL is given, with `prefix` in every key; else the embedded file at `path`. Not opened yet.

    `redis_wait` is what every write must have reached: `aof`, `replicas:N`, or "". Raises ValueError when it or the URL
    is not understood, or where there is nothing to wait for.
    """
    if redis_url:
        # imported here since its client takes a tenth of a second to load, which the embedded store need not wait for
        from gateway.ledger.redis import RedisStore

        return RedisStore(redis_url, prefix, redis_wait)
    if redis_wait:
        raise ValueError(f"HEADGATE_REDIS_WAIT is {redis_wait!r}, but there is no REDIS_URL: set both or neither")
    return SqliteStore(path)


def store_of(env: Mapping[str, str], *, may_make: bool = True) -> Store:
    """The store that the environment names: REDIS_URL, else the file HEADGATE_DATA. Not yet opened.

    Raises LLMError that says which of its words is not understood, or that there is no file where none may be made.
    """
    redis_url, path = env.get("REDIS_URL") or None, env.get("HEADGATE_DATA") or "./headgate.db"
    if redis_url is None and not may_make and not Path(path).exists():
        message = f"there is no ledger at {path}: set HEADGATE_DATA to its file, or REDIS_URL, or use --url"
        raise LLMError("not_found", message)
    try:
        return open_store(
            redis_url,
            path,
            env.get("HEADGATE_REDIS_PREFIX") or "headgate",
            env.get("HEADGATE_REDIS_WAIT") or "",
        )
    except ValueError as error:
        raise LLMError("unavailable", str(error)) from None
