"""What both stores promise of limits: requests and tokens in a sliding minute or day, requests at once."""

import asyncio
from dataclasses import replace

import pytest

from gateway.ledger.store import MAX_TOKENS, Ask, Beat, Granted, Measure, Meter, Refused, Store
from tests.gateway.ledger.conftest import Place
from tests.gateway.ledger.requests import ask, bill, cap, sums, with_key

pytestmark = pytest.mark.anyio
LONGEST_S = {"rpm": 61.0, "tpm": 61.0, "rpd": 61 * 1440.0, "tpd": 61 * 1440.0, "parallel": 1.0}


def meter(measure: Measure, limit: int, scope: str = "key:k") -> Meter:
    return Meter(scope, measure, limit)


def metered(request_id: str, *meters: Meter, tokens: int = 0) -> Ask:
    return ask(request_id, cap(1000, "team:t"), meters=meters, tokens=tokens)


async def used(store: Store, *meters: Meter) -> list[int]:
    return [used for used, _ in await store.levels(meters)]


def refused(answer: Granted | Refused, measure: Measure, scope: str = "key:k") -> bool:
    """Whether that is for want of room, for a time that can be true."""
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.name) == ("rate", f"{scope}|{measure}")
    return 0 < answer.retry_after_s <= LONGEST_S[measure]


@pytest.mark.parametrize("measure", ["rpm", "rpd", "parallel"])
async def test_requests_are_counted_up_to_the_limit(store: Store, measure: Measure) -> None:
    await with_key(store)
    limit = meter(measure, 2)
    for at in range(2):
        answer = await store.reserve(metered(f"r{at}", limit))
        assert isinstance(answer, Granted)
        ((now, full_s),) = answer.levels
        assert now == at + 1
        assert full_s == 0 if measure == "parallel" else 0 < full_s <= LONGEST_S[measure]
    assert refused(await store.reserve(metered("r2", limit)), measure)
    assert await used(store, limit) == [2]


@pytest.mark.parametrize("measure", ["tpm", "tpd"])
async def test_tokens_are_counted_up_to_the_limit(store: Store, measure: Measure) -> None:
    await with_key(store)
    limit = meter(measure, 100)
    for id, tokens, sum in (("a", 60, 60), ("b", 40, 100)):
        answer = await store.reserve(metered(id, limit, tokens=tokens))
        assert isinstance(answer, Granted)
        assert (answer.tokens, answer.levels[0][0]) == (tokens, sum)
    assert refused(await store.reserve(metered("c", limit, tokens=1)), measure)
    assert isinstance(await store.reserve(metered("d", limit, tokens=0)), Granted)


async def test_a_refused_request_consumes_nothing(store: Store) -> None:
    await with_key(store)
    wide = (meter("rpm", 9), meter("tpm", 900), meter("rpd", 9), meter("tpd", 900), meter("parallel", 9))
    nothing = [0] * 5
    for narrow, tokens in (
        (meter("rpm", 0, "team:t"), 5),
        (meter("tpm", 4, "team:t"), 5),
        (meter("parallel", 0, "team:t"), 0),
    ):
        refusal = await store.reserve(replace(metered("r", narrow, *wide, tokens=tokens), least_tokens=tokens))
        assert refusal == Refused("too_large", narrow.name)
        assert await used(store, *wide) == nothing
    for left, short in ((0, cap(0)), (99, cap(99, on_cap="refuse"))):
        spent = await store.reserve(replace(metered("r", *wide), counters=(short,)))
        assert spent == Refused("over_budget", "key:k|total", left_nanousd=left)
        assert await used(store, *wide) == nothing
    await store.reserve(ask("first", cap(150)))
    waiting = replace(metered("r", *wide), counters=(cap(150),))
    assert await store.reserve(waiting) == Refused("held", "key:k|total")
    assert await used(store, *wide) == nothing
    assert await sums(store, "key:k", "team:t") == {"key:k|total": (0, 100)}


async def test_a_spent_budget_is_said_before_a_full_meter_and_that_before_what_others_hold(store: Store) -> None:
    await with_key(store)
    full = meter("rpm", 1)
    assert isinstance(await store.reserve(ask("a", cap(150), meters=[full])), Granted)
    assert await store.reserve(ask("b", cap(50), cap(150), meters=[full], least=51)) == Refused(
        "over_budget", "key:k|total", left_nanousd=50
    )
    assert refused(await store.reserve(ask("b", cap(150), meters=[full])), "rpm")
    assert await store.reserve(ask("b", cap(150))) == Refused("held", "key:k|total")


async def test_of_several_full_meters_the_slowest_is_named(store: Store) -> None:
    await with_key(store)
    limits = [meter("parallel", 1), meter("rpm", 1), meter("rpd", 1, "team:t")]
    await store.reserve(metered("a", *limits))
    assert refused(await store.reserve(metered("b", *limits)), "rpd", "team:t")
    assert refused(await store.reserve(metered("b", *limits[:2])), "rpm")
    assert refused(await store.reserve(metered("b", *limits[:1])), "parallel")


async def test_a_request_that_could_take_more_than_a_minute_allows_takes_what_that_is(store: Store) -> None:
    await with_key(store)
    limits = [meter("tpm", 50), meter("tpd", 80)]
    large = metered("a", *limits, tokens=1000)
    assert await store.reserve(replace(large, least_tokens=51)) == Refused("too_large", "key:k|tpm")
    answer = await store.reserve(replace(large, least_tokens=50))
    assert isinstance(answer, Granted)
    assert answer.tokens == 50
    assert [used for used, _ in answer.levels] == [50, 50]


async def test_tokens_that_were_not_used_are_given_back_and_more_are_added(store: Store) -> None:
    await with_key(store)
    limits = [meter("tpm", 100), meter("tpd", 1000), meter("rpm", 10), meter("parallel", 2)]
    await store.reserve(metered("a", *limits, tokens=60))
    await store.reserve(metered("b", *limits, tokens=40))
    assert await used(store, *limits) == [100, 100, 2, 2]
    await store.settle(bill("a", 1, cap(None, "team:t"), tokens=10))
    assert await used(store, *limits) == [50, 50, 2, 1]
    await store.settle(bill("b", 1, cap(None, "team:t"), tokens=200))
    assert await used(store, *limits) == [210, 210, 2, 0]
    await store.settle(bill("b", 1, cap(None, "team:t"), tokens=0))  # again: nothing
    assert await used(store, *limits) == [210, 210, 2, 0]
    assert refused(await store.reserve(metered("c", *limits, tokens=1)), "tpm")


async def test_a_bill_without_a_hold_counts_against_no_meter(store: Store) -> None:
    await store.settle(bill("r", 5, cap(None, "team:t"), tokens=50))
    assert await used(store, meter("tpm", 100), meter("tpm", 100, "team:t")) == [0, 0]


async def test_a_slot_is_free_when_its_request_has_ended_however(store: Store) -> None:
    await with_key(store)
    limit = meter("parallel", 2)
    await store.reserve(metered("a", limit))
    await store.reserve(metered("b", limit))
    assert refused(await store.reserve(metered("c", limit)), "parallel")
    (one, other) = await store.holds()
    assert (one.slots, other.slots) == (("key:k",), ("key:k",))
    await store.settle(bill("a", 0, cap(None, "team:t")))
    assert await store.reserve(metered("c", limit)) == Granted(100, 1000, levels=((2, 0.0),))
    await store.renew([Beat("b"), Beat("c")], 0.0)
    assert await store.reap() == 2
    assert await used(store, limit) == [0]
    await store.settle(bill("b", 7, cap(None, "team:t")))  # late: its slot was given back
    assert await used(store, limit) == [0]


async def test_a_lost_request_keeps_its_tokens_taken(store: Store) -> None:
    """What a lost worker's stream went on to use nobody knows."""
    await with_key(store)
    limit = meter("tpm", 100)
    await store.reserve(metered("a", limit, tokens=60))
    await store.renew([Beat("a")], 0.0)
    await store.reap()
    assert await used(store, limit) == [60]
    await store.settle(bill("a", 7, cap(None, "team:t"), tokens=10))
    assert await used(store, limit) == [60]


async def test_a_live_hold_takes_nothing_again(store: Store) -> None:
    await with_key(store)
    limits = [meter("rpm", 5), meter("tpm", 100), meter("parallel", 5)]
    await store.reserve(metered("a", *limits, tokens=30))
    assert await store.reserve(metered("a", *limits, tokens=50)) == Granted(100, tokens=30)
    assert await used(store, *limits) == [1, 30, 1]


async def test_meters_of_other_scopes_and_models_stand_by_themselves(store: Store) -> None:
    await with_key(store)
    limits = [meter("rpm", 2, scope) for scope in ("key:k", "gpt-*@key:k", "user:Zoë | 1", "team:t")]
    await store.reserve(metered("a", *limits))
    await store.reserve(metered("b", limits[1], limits[2]))
    assert await used(store, *limits) == [1, 2, 2, 1]
    assert refused(await store.reserve(metered("c", *limits[:2])), "rpm", "gpt-*@key:k")


async def test_many_at_once_never_pass_a_limit(store: Store, place: Place) -> None:
    await with_key(store)
    others = [place.store() for _ in range(2)]
    for other in others:
        await other.open()
    everyone = [store, *others]
    limits = [meter("parallel", 7), meter("tpm", 95), meter("rpm", 1000)]
    asks = [ask(f"r{at}", cap(None, "team:t"), meters=limits, tokens=10) for at in range(60)]
    answers = await asyncio.gather(*(everyone[at % 3].reserve(one) for at, one in enumerate(asks)))
    granted = [one for one, answer in zip(asks, answers, strict=True) if isinstance(answer, Granted)]
    assert len(granted) == 7
    assert await used(store, *limits) == [7, 70, 7]
    await asyncio.gather(*(store.settle(bill(one.request_id, 0, *one.counters, tokens=5)) for one in granted))
    assert await used(store, *limits) == [0, 35, 7]
    for other in others:
        await other.close()


async def test_no_meters_have_no_levels(store: Store) -> None:
    assert list(await store.levels([])) == []
    assert await store.levels([meter("tpd", 5), meter("parallel", 5)]) == [(0, 0.0), (0, 0.0)]


async def test_tokens_that_nobody_can_count_leave_nothing_half_done(store: Store) -> None:
    await with_key(store)
    limits = [meter("tpm", 1000), meter("parallel", 9)]
    answer = await store.reserve(ask("r", cap(None), meters=limits, tokens=10**19))
    assert isinstance(answer, Granted)
    assert (await store.settle(bill("r", 5, cap(None), tokens=10**19))).first
    assert await sums(store, "key:k") == {"key:k|total": (5, 0)}
    assert (await store.snapshot()).slots == {}
    assert len(await store.journal(0, float("inf"))) == 1
    assert await used(store, *limits) == [MAX_TOKENS, 0]


async def test_a_limit_that_is_named_twice_counts_twice_and_gives_back_twice(store: Store) -> None:
    await with_key(store)
    limits = [meter("tpm", 100), meter("parallel", 100)]
    await store.reserve(metered("a", *limits, tokens=7))
    await store.reserve(metered("b", *limits, *limits, tokens=10))
    assert await used(store, *limits) == [27, 3]
    await store.settle(bill("b", 1, cap(1000, "team:t"), tokens=4))
    assert await used(store, *limits) == [15, 1]
