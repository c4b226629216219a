"""What a new store is given before the first request: an admin key and a virtual key, each made once and shown once."""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.keys import digest
from gateway.ledger.store import Budget, Conflict, Record, Store
from gateway.virtual_keys import hint, key_in, new_id, new_token

ADMIN_KEY = "HEADGATE_ADMIN_KEY"
FIRST_ALIAS = "first-key"
FIRST_BUDGET = Budget(max_nanousd=10 * 10**9, duration="1mo", main=True)


class Made(NamedTuple):
    """Tokens that exist in clear text here alone; None where there was one before."""

    admin_key: str | None
    virtual_key: str | None


async def admin_key(store: Store, env: Mapping[str, str]) -> tuple[str, str | None]:
    """The digest of the admin key, and the key itself when it was made just now (once a store, not once a worker).

    Raises LLMError where the environment has one that cannot be sent.
    """
    if given := key_in(env, ADMIN_KEY):
        return digest(given), None
    made = new_token().replace("sk-hg-", "sk-hg-admin-", 1)
    kept = await store.claim("admin_digest", digest(made))
    return kept, made if kept == digest(made) else None


async def first_run(store: Store, env: Mapping[str, str], now_s: float) -> Made:
    """Make what an empty store lacks."""
    _, made = await admin_key(store, env)
    if await store.list("key", limit=1):
        return Made(made, None)
    token = new_token()
    record = Record(
        id=new_id("key"), kind="key", alias=FIRST_ALIAS, budgets=(FIRST_BUDGET,), created_at=now_s, hint=hint(token)
    )
    try:
        await store.create(record, digest(token))
    except Conflict:
        return Made(made, None)  # another process was first
    return Made(made, token)
