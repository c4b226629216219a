"""The Lua scripts say what rules.py says, whatever stands in the store."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ledger import rules
from gateway.ledger.redis import RedisStore
from gateway.ledger.store import Ask, Counter, Granted, Growth, Measure, Meter, OnCap, Refused
from tests.redis_server import redis_prefix

AMOUNTS = st.sampled_from([-5, 0, 0, 1, 7, 8, 10, 12, 13, 50, 64, 100, 101, 120, 800])  # few, so that many are equal
CAPS = st.none() | st.sampled_from([0, 8, 20, 64, 100, 101, 120, 800, 803, 9 * 10**15])
SUMS = AMOUNTS | st.sampled_from([9 * 10**15 - 100, 2**53 - 2**40])
MEASURES: tuple[Measure, ...] = ("rpd", "tpd", "parallel")
ON_CAP: tuple[OnCap, ...] = ("clamp", "refuse")
NUMBER = count()
DAY_S = 1440  # a bucket of a day's meter


class Desk(NamedTuple):
    """A store, its loop, and a way to write beside it."""

    runner: asyncio.Runner
    store: RedisStore
    client: "redis.Redis"
    root: str

    def reserve(self, ask: Ask) -> Granted | Refused:
        async def reserved() -> Granted | Refused:
            return await self.store.reserve(ask)

        return self.runner.run(reserved())


@pytest.fixture(scope="module")
def desk(redis_url: str) -> Iterator[Desk]:
    with redis_prefix(redis_url) as prefix, asyncio.Runner() as runner:
        store = RedisStore(redis_url, prefix)
        runner.run(store.open())
        with redis.Redis.from_url(redis_url) as client:
            yield Desk(runner, store, client, f"{{{prefix}:default}}:")
        runner.run(store.close())


class Filled(NamedTuple):
    """A meter's limit, and what stands in it by age in buckets (of `parallel`: how many run)."""

    measure: Measure
    limit: int
    buckets: dict[int, int]


filled = st.builds(
    Filled,
    st.sampled_from(MEASURES),
    st.integers(0, 40),
    st.dictionaries(st.integers(0, 70), st.integers(0, 30), max_size=5),
)
balances = st.lists(st.tuples(CAPS, st.sampled_from(ON_CAP), SUMS, AMOUNTS), min_size=1, max_size=3)


def counters_of(desk: Desk, name: str, rows: Sequence[tuple[int | None, OnCap, int, int]]) -> tuple[Counter, ...]:
    """Counters that stand as `rows` say: cap, on_cap, spent, held."""
    counters = []
    for at, (cap, on_cap, spent, held) in enumerate(rows):
        counters.append(Counter(f"key:{name}-{at}", "total", cap_nanousd=cap, on_cap=on_cap))
        desk.client.hset(f"{desk.root}sums:{counters[-1].name}", mapping={"spent": spent, "held": held})
    return tuple(counters)


def put(desk: Desk, meter: Meter, buckets: dict[int, int], bucket: int) -> tuple[dict[int, int], int]:
    """Have a meter stand so; as the rules see it."""
    if meter.measure == "parallel":
        running = sum(buckets.values())
        desk.client.hset(f"{desk.root}slots", meter.scope, running)
        return {}, running
    there = {bucket - age: amount for age, amount in buckets.items()}
    if there:
        at = min(max(there), min(there) + rules.BUCKETS)  # when the sum was put right, all of them counted
        fields: dict[Any, int] = {**there, "at": at, "sum": sum(there.values())}
        desk.client.hset(f"{desk.root}meters:{meter.name}", mapping=fields)
    return there, 0


def expected(
    ask: Ask, sums: Sequence[tuple[int, int]], stand: Sequence[tuple[dict[int, int], int]], now_s: float
) -> Granted | Refused:
    answer = rules.grant(ask, sums)
    if isinstance(answer, Refused) and answer.reason == "over_budget":
        return answer
    full = rules.meter_refusal(ask, [buckets for buckets, _ in stand], [running for _, running in stand], now_s)
    if full is not None or isinstance(answer, Refused):
        return full or answer
    tokens = rules.tokens_of(ask)
    levels = []
    for meter, (buckets, running) in zip(ask.meters, stand, strict=True):
        amount = rules.amount_of(meter, tokens)
        if meter.measure == "parallel":
            levels.append((running + amount, 0.0))
        else:
            bucket = rules.bucket(meter.measure, now_s)
            after = buckets | {bucket: buckets.get(bucket, 0) + amount}
            levels.append(rules.level(after, meter.measure, now_s))
    return answer._replace(tokens=tokens, levels=tuple(levels))


def same(found: Granted | Refused, right: Granted | Refused) -> bool:
    """The times may differ by what passed in between."""
    if isinstance(found, Granted) and isinstance(right, Granted):
        times = [(a, b) for (_, a), (_, b) in zip(found.levels, right.levels, strict=True)]
        used = [[used for used, _ in one.levels] for one in (found, right)]
        return found[:3] == right[:3] and used[0] == used[1] and all(abs(a - b) < 30 for a, b in times)
    if isinstance(found, Refused) and isinstance(right, Refused):
        return found[:3] == right[:3] and abs(found.retry_after_s - right.retry_after_s) < 30
    return False


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=balances,
    meters=st.lists(filled, max_size=4),
    amounts=st.tuples(AMOUNTS, AMOUNTS, AMOUNTS),
    tokens=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    whole=st.booleans(),
    patient=st.booleans(),
)
def test_a_reserve_is_what_the_rules_say(
    desk: Desk,
    rows: Sequence[tuple[int | None, OnCap, int, int]],
    meters: Sequence[Filled],
    amounts: tuple[int, int, int],
    tokens: tuple[int, int],
    whole: bool,
    patient: bool,
) -> None:
    name = f"n{next(NUMBER)}"
    now_s = time.time()
    least, usual, most = amounts
    made = tuple(Meter(f"key:{name}-{at}", one.measure, one.limit) for at, one in enumerate(meters))
    bucket = int(now_s) // DAY_S
    stand = [put(desk, meter, one.buckets, bucket) for meter, one in zip(made, meters, strict=True)]
    counters = counters_of(desk, name, rows)
    ask = Ask(name, (), counters, least, usual, most, whole, patient, made, tokens[0], tokens[1])
    found = desk.reserve(ask)
    right = expected(ask, [(spent, held) for _, _, spent, held in rows], stand, now_s)
    if int(time.time()) // DAY_S == bucket:  # else a new bucket began under our hands
        assert same(found, right), (found, right)
        after = desk.runner.run(desk.store.levels(made))
        if isinstance(found, Granted):
            assert [used for used, _ in after] == [used for used, _ in found.levels]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=balances, held=st.integers(0, 60), least=AMOUNTS, more=AMOUNTS)
def test_a_growth_is_what_the_rules_say(
    desk: Desk, rows: Sequence[tuple[int | None, OnCap, int, int]], held: int, least: int, more: int
) -> None:
    name = f"n{next(NUMBER)}"
    free = tuple(Counter(f"key:{name}-{at}", "total") for at in range(len(rows)))
    desk.reserve(Ask(name, (), free, 0, held, held))
    counters = counters_of(desk, name, rows)
    growth = Growth(name, (), counters, held, least, more)
    found = desk.runner.run(desk.store.grow(growth))
    assert found == rules.grow(growth, [(spent, kept) for _, _, spent, kept in rows])
