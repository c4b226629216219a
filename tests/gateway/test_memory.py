"""Signed reasoning between turns, in either store."""

import asyncio
from collections.abc import Mapping

from gateway.ledger.opening import store_of
from gateway.memory import MAX_BYTES, Memory


def test_what_was_kept_comes_back_in_another_worker_and_too_much_is_not_kept(store_env: Mapping[str, str]) -> None:
    async def work() -> Mapping[str, object]:
        here, there = store_of(store_env), store_of(store_env)
        await here.open()
        await there.open()
        try:
            await Memory(here).remember({"call_1": {"signature": "s"}, "call_2": "x" * MAX_BYTES, "call_3": [1]})
            return await Memory(there).recall(["call_1", "call_2", "call_3", "call_4"])
        finally:
            await here.close()
            await there.close()

    assert asyncio.run(work()) == {"call_1": {"signature": "s"}, "call_3": [1]}
