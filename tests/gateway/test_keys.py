"""Who a request is from: where a key may stand, and what is wrong with one that is refused."""

import asyncio
import time

import pytest

from gateway.keys import Keys, digest, token_in
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Record
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
