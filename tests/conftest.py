"""What every test may ask for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.redis_server import cluster_url, redis_cluster, redis_prefix, redis_server
from tests.replay import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A replaying upstream on a loopback port."""
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server for the whole run."""
    with redis_server() as url:
        yield url


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """A cluster of three nodes for the whole run."""
    with redis_cluster() as nodes:
        yield cluster_url(nodes)


@pytest.fixture(params=["sqlite", "redis"])
def store_env(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The environment that puts a gateway's ledger on each of the two stores, empty."""
    if request.param == "sqlite":
        yield {"HEADGATE_DATA": str(tmp_path / "headgate.db")}
        return
    url = request.getfixturevalue("redis_url")
    with redis_prefix(url) as prefix:
        yield {"REDIS_URL": url, "HEADGATE_REDIS_PREFIX": prefix}
