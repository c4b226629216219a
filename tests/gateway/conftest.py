"""The admin's desk over both stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.opening import open_store
from tests.gateway.desk import Desk, desk_over
from tests.redis_server import redis_prefix


@pytest.fixture(params=["sqlite", "redis"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """The admin API over an empty store."""
    if request.param == "sqlite":
        with desk_over(open_store(None, str(tmp_path / "ledger.db"), "")) as desk:
            yield desk
        return
    url: str = request.getfixturevalue("redis_url")
    with redis_prefix(url) as prefix, desk_over(open_store(url, "", prefix)) as desk:
        yield desk
