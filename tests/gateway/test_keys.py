"""Who a request is from: where a key may stand, and what is wrong with one that is refused."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from gateway.keys import Keys, digest, token_in
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Holder, Record, Store, StoreDown
from translators.errors import LLMError


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer sk-1"),
        (b"authorization", b"bearer  sk-1 "),
        (b"x-api-key", b"sk-1"),
        (b"api-key", b"sk-1"),
        (b"x-goog-api-key", b"sk-1"),
    ],
)
def test_a_key_is_taken_where_any_sdk_puts_it(header: tuple[bytes, bytes]) -> None:
    assert token_in(dict([(b"accept", b"*/*"), header])) == "sk-1"


@pytest.mark.parametrize("headers", [{}, {b"authorization": b"Basic c2stMQ=="}, {b"authorization": b"Bearer "}])
def test_no_key_is_no_key(headers: dict[bytes, bytes]) -> None:
    assert token_in(headers) is None


def refusal(path: str, record: Record | None) -> LLMError:
    async def ask() -> None:
        store = SqliteStore(path)
        await store.open()
        try:
            if record is not None:
                await store.create(record, digest("sk-secret-token-of-the-test"))
            await Keys(store, 0).holder({b"authorization": b"Bearer sk-secret-token-of-the-test"})
        finally:
            await store.close()

    with pytest.raises(LLMError) as caught:
        asyncio.run(ask())
    return caught.value


def test_each_refusal_is_a_401_that_says_why_and_never_the_key(tmp_path: object) -> None:
    cases = {
        "invalid_api_key": None,
        "key_expired": Record(id="key_1", kind="key", expires=time.time() - 1),
        "key_revoked": Record(id="key_1", kind="key", revoked=True),
    }
    for at, (code, record) in enumerate(cases.items()):
        error = refusal(f"{tmp_path}/{at}.db", record)
        assert (error.status, error.code) == (401, code)
        assert "secret-token" not in error.message


def test_a_revoked_key_is_refused_at_once_by_a_fresh_look(tmp_path: object) -> None:
    async def revoke() -> None:
        store = SqliteStore(f"{tmp_path}/store.db")
        await store.open()
        headers = {b"x-api-key": b"sk-1"}
        try:
            record = Record(id="key_1", kind="key")
            await store.create(record, digest("sk-1"))
            keys = Keys(store, 0)
            assert (await keys.holder(headers)).key.id == "key_1"
            await store.replace(record.model_copy(update={"revoked": True, "version": 2}))
            with pytest.raises(LLMError):
                await keys.holder(headers, fresh=True)
            with pytest.raises(LLMError):
                await keys.holder(headers)
        finally:
            await store.close()

    asyncio.run(revoke())


class Counting:
    """A store that counts how often it is asked for a holder, and may be away."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.looks = 0
        self.away = False

    async def holder(self, digest: str) -> Holder | None:
        self.looks += 1
        if self.away:
            raise StoreDown("away")
        return await self._store.holder(digest)


@asynccontextmanager
async def counted(path: str, record: Record, token: str) -> AsyncIterator[tuple[SqliteStore, Counting, Keys]]:
    store = SqliteStore(path)
    await store.open()
    try:
        await store.create(record, digest(token))
        counting = Counting(store)
        yield store, counting, Keys(cast(Store, counting), 0)
    finally:
        await store.close()


async def refused_as(keys: Keys, token: str) -> str | None:
    with pytest.raises(LLMError) as caught:
        await keys.holder({b"x-api-key": token.encode()})
    return caught.value.code


def test_an_expired_key_that_is_extended_is_served_within_a_second_and_until_then_costs_no_look_at_each_request(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def extend() -> None:
        record = Record(id="key_1", kind="key", expires=time.time() - 1)
        async with counted(f"{tmp_path}/store.db", record, "sk-1") as (store, counting, keys):
            assert [await refused_as(keys, "sk-1") for _ in range(5)] == ["key_expired"] * 5
            assert counting.looks == 1
            await store.replace(record.model_copy(update={"expires": time.time() + 60, "version": 2}))
            monkeypatch.setattr("gateway.keys.REFUSED_S", 0.0)
            assert (await keys.holder({b"x-api-key": b"sk-1"})).key.version == 2
            assert (await keys.holder({b"x-api-key": b"sk-1"})).key.version == 2
            assert counting.looks == 2

    asyncio.run(extend())


def test_an_expired_key_is_refused_as_such_while_the_store_is_away(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        record = Record(id="key_1", kind="key", expires=time.time() - 1)
        async with counted(f"{tmp_path}/store.db", record, "sk-1") as (_, counting, keys):
            monkeypatch.setattr("gateway.keys.REFUSED_S", 0.0)
            assert await refused_as(keys, "sk-1") == "key_expired"
            counting.away = True
            assert await refused_as(keys, "sk-1") == "key_expired"
            assert counting.looks == 2

    asyncio.run(away())


def test_a_token_whose_grace_period_ends_while_it_is_known_is_told_so(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rotate() -> None:
        async with counted(f"{tmp_path}/store.db", Record(id="key_1", kind="key"), "sk-1") as (store, _, keys):
            await store.rotate("key_1", 1, digest("sk-2"), "", 0.2)
            monkeypatch.setattr("gateway.keys.REFUSED_S", 0.0)
            await keys.holder({b"x-api-key": b"sk-1"})
            await asyncio.sleep(0.25)
            assert [await refused_as(keys, "sk-1") for _ in range(2)] == ["key_rotated"] * 2

    asyncio.run(rotate())
