"""The admin's desk over both stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.opening import open_store
from tests.gateway.desk import Desk, desk_over
from tests.redis_server import redis_prefix, redis_server


@pytest.fixture(scope="session")
def desk_redis() -> Iterator[str]:
    """A Redis server's URL."""
    with redis_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """The admin API over an empty store."""
    if request.param == "sqlite":
        with desk_over(open_store(None, str(tmp_path / "ledger.db"), "")) as desk:
            yield desk
        return
    url: str = request.getfixturevalue("desk_redis")
    with redis_prefix(url) as prefix, desk_over(open_store(url, "", prefix)) as desk:
        yield desk
