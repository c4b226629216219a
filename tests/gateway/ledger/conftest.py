"""Both stores, for the tests that run over each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.ledger.opening import open_store
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Store
from tests.redis_server import redis_prefix


class Place(NamedTuple):
    """Where a store keeps its data: any number of store objects, in any process, may be opened on it."""

    redis_url: str
    path: str
    prefix: str

    def store(self) -> Store:
        return open_store(self.redis_url or None, self.path, self.prefix)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sqlite", "redis", "redis_cluster"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place("", str(tmp_path / "headgate.db"), "")
        return
    url = request.getfixturevalue(f"{request.param}_url")
    with redis_prefix(url) as prefix:
        yield Place(url, "", prefix)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    store = place.store()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "headgate.db")


@pytest.fixture
async def file(path: str) -> AsyncIterator[SqliteStore]:
    """The embedded store alone."""
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()
