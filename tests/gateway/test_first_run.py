"""What a new store is given: once, whoever asks, and however many workers start."""

import asyncio
import time
from collections.abc import Mapping

from gateway.first_run import FIRST_ALIAS, Made, admin_key, first_run
from gateway.keys import digest
from gateway.ledger.opening import store_of


def run(env: Mapping[str, str], times: int) -> tuple[list[Made], str, list[str | None]]:
    async def work() -> tuple[list[Made], str, list[str | None]]:
        store = store_of(env)
        await store.open()
        try:
            made = [await first_run(store, env, time.time()) for _ in range(times)]
            kept, _ = await admin_key(store, env)
            return made, kept, [record.alias for record in await store.list("key")]
        finally:
            await store.close()

    return asyncio.run(work())


def test_keys_are_made_once_and_shown_once(store_env: Mapping[str, str]) -> None:
    (first, second), kept, aliases = run(store_env, 2)
    assert first.admin_key is not None and digest(first.admin_key) == kept
    assert first.virtual_key is not None and first.virtual_key.startswith("sk-")
    assert second == Made(None, None)
    assert aliases == [FIRST_ALIAS]


def test_an_admin_key_from_the_environment_is_never_shown(store_env: Mapping[str, str]) -> None:
    (made,), kept, _ = run({**store_env, "HEADGATE_ADMIN_KEY": "mine"}, 1)
    assert made.admin_key is None
    assert kept == digest("mine")


def test_the_line_break_at_the_end_of_a_mounted_admin_key_is_no_part_of_it(store_env: Mapping[str, str]) -> None:
    (blank,), made_key, _ = run({**store_env, "HEADGATE_ADMIN_KEY": " \n"}, 1)
    assert blank.admin_key is not None and digest(blank.admin_key) == made_key
    assert run({**store_env, "HEADGATE_ADMIN_KEY": "mine\n"}, 1)[1] == digest("mine")
