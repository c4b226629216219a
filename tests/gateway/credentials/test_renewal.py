"""A value that must be fetched, and fetched again, while requests come for it."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.credentials import renewal
from gateway.credentials.renewal import Renewal
from translators.errors import LLMError


class Source:
    """Gives 1, 2, 3 …, or fails; a value stays fresh until it is `stale`."""

    def __init__(self, *failing: int) -> None:
        self.fetched = 0
        self.failing = failing
        self.stale: set[int] = set()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def fetch(self) -> int:
        self.fetched += 1
        at = self.fetched
        assert self.may_answer.wait(10)
        if at in self.failing:
            raise LLMError("upstream_auth", "no") from ValueError("why")
        return at

    def wait_for(self, fetched: int) -> None:
        end = time.monotonic() + 10
        while self.fetched < fetched:
            assert time.monotonic() < end, "nothing was fetched"
            time.sleep(0.001)


def run(source: Source, story: Callable[[Renewal[int]], Awaitable[Any]], due_s: float = 3600) -> Any:
    async def told() -> Any:
        kept = Renewal(source.fetch, lambda value: value not in source.stale, lambda _: due_s)
        try:
            return await story(kept)
        finally:
            await kept.close()

    return asyncio.run(told())


def test_all_who_wait_share_one_fetch_and_one_who_goes_away_does_not_end_it() -> None:
    source = Source()
    source.may_answer.clear()

    async def story(kept: Renewal[int]) -> list[int]:
        gone, *stay = (asyncio.create_task(kept.fresh()) for _ in range(5))
        await asyncio.sleep(0)
        gone.cancel()
        source.may_answer.set()
        return [*await asyncio.gather(*stay), await kept.fresh()]

    assert run(source, story) == [1] * 5
    assert source.fetched == 1


def test_a_stale_value_is_fetched_again_before_it_is_used() -> None:
    source = Source()

    async def story(kept: Renewal[int]) -> list[int]:
        first = await kept.fresh()
        source.stale.add(first)
        return [first, await kept.fresh()]

    assert run(source, story) == [1, 2]


def test_it_is_renewed_when_it_is_due_without_a_request() -> None:
    source = Source()

    async def story(kept: Renewal[int]) -> int:
        await asyncio.to_thread(source.wait_for, 3)
        return await kept.fresh()

    assert run(source, story, due_s=0.001) >= 2


def test_a_failure_is_told_to_all_who_come_and_not_asked_for_again_at_once() -> None:
    source = Source(1)

    async def story(kept: Renewal[int]) -> None:
        for _ in range(3):
            with pytest.raises(LLMError, match="no"):
                await kept.fresh()

    run(source, story)
    assert source.fetched == 1


def test_a_failure_that_lasts_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(renewal, "RETRY_S", (0.001, 0.001))
    source = Source(*range(1, 5))

    async def story(kept: Renewal[int]) -> int:
        await asyncio.to_thread(source.wait_for, 5)
        return await kept.fresh()

    with caplog.at_level(logging.WARNING, "headgate"):
        assert run(source, story) == 5
    assert [record.getMessage() for record in caplog.records] == ["no (ValueError)"]


def test_a_value_that_is_still_fresh_outlives_a_failure_to_renew_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RETRY_S", (0.001, 0.001))
    source = Source(2, 3)

    async def story(kept: Renewal[int]) -> list[int]:
        found = [await kept.fresh()]
        while source.fetched < 3:
            await asyncio.sleep(0.001)
            found.append(await kept.fresh())
        return found

    assert set(run(source, story, due_s=0.001)) <= {1, 4}


def test_whatever_a_library_raises_the_renewal_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.credentials.renewal.RETRY_S", (0.01, 0.01))
    faults = [ZeroDivisionError("a library's own fault")]

    def fetch() -> str:
        if faults:
            raise faults.pop()
        return "token"

    async def work() -> str:
        renewal = Renewal(fetch, lambda _: True, lambda _: 60.0)
        try:
            with pytest.raises(LLMError) as caught:
                await renewal.fresh()
            assert caught.value.kind == "upstream_auth" and "own fault" not in caught.value.message
            await asyncio.sleep(0.1)
            return await renewal.fresh()
        finally:
            await renewal.close()

    assert asyncio.run(work()) == "token"
