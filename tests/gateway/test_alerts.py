"""Soft budgets: who is told, of what, and how often."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from gateway.alerts import Alerts
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Bill, Counter, Settled
from tests.replay import Reply, Upstream, refused_url

TOTAL = Counter("key:k", "total")
SOFT = Counter("team:t", "1d:2026-11-20", cap_nanousd=900, softs_nanousd=(100, 500))


def tell(folder: Path, url: str, *spent: Sequence[int]) -> None:
    """Workers one after another, each of which settles up to these sums."""

    async def told() -> None:
        store = SqliteStore(str(folder / "headgate.db"))
        await store.open()
        for sums in spent:
            alerts = Alerts(url, store)
            for each in sums:
                alerts.tell(Bill("req_1", "k", "t", (TOTAL, SOFT), 10), Settled(True, 0, (each, each)))
            alerts.tell(Bill("req_1", "k", "t", (TOTAL, SOFT), 10), Settled(False))
            await alerts.close()
        await store.close()

    asyncio.run(told())


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, int]]:
    lines = [orjson.loads(record.message) for record in caplog.records]
    return [(line["soft_nanousd"], line["spent_nanousd"]) for line in lines]


def test_each_soft_cap_is_told_once_whoever_passes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell(tmp_path, "", [50, 99], [105, 110, 480], [490, 505, 600], [700])
    assert said(caplog) == [(100, 105), (500, 505)]


def test_one_that_nobody_saw_being_passed_is_told_by_the_next_settle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell(tmp_path, "", [50], [700])  # a reaper settled between
    assert said(caplog) == [(100, 700), (500, 700)]


def test_it_is_logged_and_posted(tmp_path: Path, upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    upstream.answer(Reply(204))
    tell(tmp_path, f"{upstream.url}/hook", [105])
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


def test_an_address_that_fails_is_told_without_the_token_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell(tmp_path, f"{refused_url()}/t0ken", [105])
    assert "alert_url did not take this alert (ConnectError)" in caplog.records[1].message
    assert "t0ken" not in caplog.text
