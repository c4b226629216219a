"""Soft budgets: who is told, of what, and how often."""

import asyncio
import logging
from itertools import accumulate

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alerts import MOST_AT_ONCE, Alerts, crossed
from gateway.ledger.store import Bill, Counter, Settled
from tests.replay import Reply, Upstream, refused_url

TOTAL = Counter("key:k", "total")
SOFT = Counter("team:t", "1d:2026-11-20", cap_nanousd=900, soft_nanousd=100)


def bill(cost: int) -> Bill:
    return Bill("req_1", "k", "t", (TOTAL, SOFT), cost)


@pytest.mark.parametrize(
    ("cost", "spent", "told"),
    [(10, 99, False), (10, 100, True), (10, 109, True), (10, 110, False), (0, 100, False), (200, 200, True)],
)
def test_the_settle_that_passes_a_soft_cap_tells(cost: int, spent: int, told: bool) -> None:
    assert crossed(bill(cost), Settled(True, 0, (spent, spent))) == ((SOFT,) if told else ())
    assert crossed(bill(cost), Settled(False)) == ()
    assert crossed(bill(cost), Settled(False, 0, (spent, spent))) == ()


@given(st.lists(st.integers(min_value=0, max_value=60), max_size=20))
def test_exactly_one_of_many_settles_passes_it(costs: list[int]) -> None:
    sums = accumulate(costs)
    found = [crossed(bill(cost), Settled(True, 0, (spent, spent))) for cost, spent in zip(costs, sums, strict=True)]
    assert sum(map(len, found)) == (sum(costs) >= 100)


def told(url: str, times: int = 1) -> None:
    async def tell() -> None:
        alerts = Alerts(url)
        for _ in range(times):
            alerts.tell(bill(10), Settled(True, 0, (5, 105)))
        await alerts.close()

    asyncio.run(tell())


def test_it_is_logged_and_posted(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    upstream.answer(Reply(204))
    told(f"{upstream.url}/hook")
    alert = {
        "alert": "soft_budget",
        "scope": "team:t",
        "window": "1d:2026-11-20",
        "soft_nanousd": 100,
        "spent_nanousd": 105,
        "request_id": "req_1",
    }
    [(_, level, line)] = caplog.record_tuples
    assert (level, orjson.loads(line)) == (logging.WARNING, alert)
    [request] = upstream.requests
    assert (request.path, orjson.loads(request.body)) == ("/hook", alert)


def test_without_an_address_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    told("")
    assert len(caplog.records) == 1


def test_an_address_that_fails_is_told_without_the_token_in_it(caplog: pytest.LogCaptureFixture) -> None:
    told(f"{refused_url()}/t0ken")
    assert "alert_url did not take this alert (ConnectError)" in caplog.records[1].message
    assert "t0ken" not in caplog.text


def test_a_flood_of_alerts_is_logged_whole_and_posted_in_part(
    upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.handler = lambda _: Reply(200)
    told(upstream.url, MOST_AT_ONCE + 5)
    assert len(upstream.requests) == MOST_AT_ONCE
    assert len(caplog.records) == MOST_AT_ONCE + 5
