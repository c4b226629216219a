"""A short form of scripts/chaos: the same phases, fewer requests; what does not disturb the others runs beside them."""

import asyncio

import pytest

from tests.chaos import outages, phases
from tests.chaos.__main__ import staged
from tests.chaos.checks import Figures
from tests.chaos.stage import SHORT, Stage

SIDE_BY_SIDE = (phases.bursts, phases.hang_ups, phases.upstream_cut_off, phases.limits)


async def played(stage: Stage) -> list[Figures]:
    """Every phase's figures."""
    found = [figures for phase in await asyncio.gather(*(phase(stage) for phase in SIDE_BY_SIDE)) for figures in phase]
    return [*found, *await outages.killed_worker(stage), *await outages.store_away(stage)]


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_the_books_are_right_whatever_happens(store: str) -> None:
    with staged(store, SHORT, seed=1) as stage:
        found = asyncio.run(played(stage))
    assert [fault for figures in found for fault in figures.faults] == []
    assert [figures.phase for figures in found if not figures.sound] == []
    assert sum(figures.answered for figures in found) > 0
