"""The growth of memory: what it is counted from, and when it ends."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from bench import waits
from bench.gateways import Gateway, Upstream
from bench.stand import QUICK, Stand


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the gateway's memory is found to be, one after the other; nothing is sent."""
    sizes: list[int] = []
    monkeypatch.setattr("bench.load.run", lambda *_: None)
    monkeypatch.setattr(waits, "headgate", lambda *_: nullcontext(Gateway("g", "", 1, 1)))
    monkeypatch.setattr(waits, "rss_bytes", lambda _: sizes.pop(0) * 1_000_000)
    return sizes


def stand() -> Stand:
    gateway, nobody = Gateway("g", "", 1, 1), cast(Any, None)
    return Stand(Path(), Upstream(1, 1, Path()), nobody, gateway, nobody, QUICK, nobody)


def test_growth_is_counted_after_the_first_fifty_thousand(sizes: list[int]) -> None:
    sizes += [70, 76, *[73] * 17, 74]
    (row,) = waits.growth(stand())
    assert row.work == "growth of memory over 1,000,000 requests"
    assert (row.figure, row.met) == (4.0, True)
    assert "70.0 MB after 50,000, 76.0 at most" in row.note
    assert not sizes


def test_a_slow_machine_is_not_kept_for_ever(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "GROWTH_S", 0)
    sizes += [70]
    (row,) = waits.growth(stand())
    assert row.figure is None
    assert "70.0 MB" in row.note
