"""What is remembered between turns, and for whom."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from gateway.ledger.opening import store_of
from gateway.memory import MAX_BYTES, MAX_NAMES, Memory


def with_memory(store_env: Mapping[str, str], act: Callable[[Memory], Awaitable[None]]) -> None:
    async def run() -> None:
        store = store_of(dict(store_env))
        await store.open()
        try:
            await act(Memory(store))
        finally:
            await store.close()

    asyncio.run(run())


def test_an_item_is_found_by_its_own_team_alone(store_env: Mapping[str, str]) -> None:
    async def act(memory: Memory) -> None:
        await memory.remember("team-a", {"call_1": {"signature": "s"}})
        await memory.remember("", {"call_2": {"signature": "t"}})
        assert await memory.recall("team-a", ["call_1", "call_2"]) == {"call_1": {"signature": "s"}}
        assert await memory.recall("team-b", ["call_1", "call_2"]) == {}
        assert await memory.recall("", ["call_1", "call_2"]) == {"call_2": {"signature": "t"}}

    with_memory(store_env, act)


def test_the_last_of_two_items_of_a_name_is_kept(store_env: Mapping[str, str]) -> None:
    async def act(memory: Memory) -> None:
        for text in ("old", "new"):
            await memory.remember("", {"text:x": {"text_signature": text}})
        assert await memory.recall("", ["text:x"]) == {"text:x": {"text_signature": "new"}}

    with_memory(store_env, act)


def test_memory_is_bounded(store_env: Mapping[str, str]) -> None:
    async def act(memory: Memory) -> None:
        await memory.remember(
            "", {"long": {"data": "x" * MAX_BYTES}, "short": {"data": "x"}, "y" * 100_000: {"data": "z"}}
        )
        assert set(await memory.recall("", ["long", "short", "y" * 100_000])) == {"short", "y" * 100_000}
        many = [f"call_{at}" for at in range(MAX_NAMES)]
        assert await memory.recall("", ["short", *many]) == {}
        assert await memory.recall("", []) == {}

    with_memory(store_env, act)
