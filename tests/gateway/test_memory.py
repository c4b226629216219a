"""What is remembered between turns, and for whom."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from gateway.ledger.opening import store_of
from gateway.memory import MAX_BYTES, MAX_NAMES, MAX_RECALLED_BYTES, Memory


def with_memory(store_env: Mapping[str, str], act: Callable[[Memory], Awaitable[None]]) -> None:
    async def run() -> None:
        store = store_of(dict(store_env))
        await store.open()
        try:
            await act(Memory(store))
        finally:
            await store.close()

    asyncio.run(run())


def test_an_item_is_found_by_its_own_owner_behind_its_own_question_alone(store_env: Mapping[str, str]) -> None:
    async def act(memory: Memory) -> None:
        await memory.remember("team-a", "question", {"call_1": {"signature": "s"}})
        await memory.remember("key-b", "question", {"call_2": {"signature": "t"}})
        both = {"call_1": "question", "call_2": "question"}
        assert (await memory.recall("team-a", both))[0] == {"call_1": {"signature": "s"}}
        assert (await memory.recall("team-b", both))[0] == {}
        assert (await memory.recall("key-b", both))[0] == {"call_2": {"signature": "t"}}
        assert (await memory.recall("team-a", {"call_1": "another"}))[0] == {}

    with_memory(store_env, act)


def test_the_last_of_two_items_of_a_name_is_kept(store_env: Mapping[str, str]) -> None:
    async def act(memory: Memory) -> None:
        for text in ("old", "new"):
            await memory.remember("", "q", {"text:x": {"text_signature": text}})
        assert (await memory.recall("", {"text:x": "q"}))[0] == {"text:x": {"text_signature": "new"}}

    with_memory(store_env, act)


def test_memory_is_bounded(store_env: Mapping[str, str]) -> None:
    async def act(memory: Memory) -> None:
        long_name = "y" * 100_000
        await memory.remember("", "q", {"long": {"data": "x" * MAX_BYTES}, "short": {"data": "x"}, long_name: {}})
        found, size = await memory.recall("", dict.fromkeys(["long", "short", long_name], "q"))
        assert set(found) == {"short", long_name}
        assert size == len(b'{"data":"x"}') + len(b"{}")
        many = dict.fromkeys([f"call_{at}" for at in range(MAX_NAMES)], "q")
        assert await memory.recall("", {"short": "q", **many}) == ({}, 0)
        large = {f"call_{at}": {"data": "x" * (MAX_BYTES - 100)} for at in range(20)}
        await memory.remember("", "q", large)
        found, size = await memory.recall("", dict.fromkeys(large, "q"))
        assert size <= MAX_RECALLED_BYTES and next(iter(found)) == "call_19" and len(found) < 20

    with_memory(store_env, act)


def test_an_item_too_deep_to_be_written_is_not_kept(store_env: Mapping[str, str]) -> None:
    deep: object = 1
    for _ in range(300):
        deep = {"a": deep}

    async def act(memory: Memory) -> None:
        await memory.remember("", "q", {"deep": deep, "short": {"data": "x"}})
        assert (await memory.recall("", {"deep": "q", "short": "q"}))[0] == {"short": {"data": "x"}}

    with_memory(store_env, act)
