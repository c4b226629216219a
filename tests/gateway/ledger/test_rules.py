"""The ledger's rules over many inputs: how much fits, and when what does not will."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import rules
from gateway.ledger.store import Ask, Counter, Granted, Growth, Measure, Meter, OnCap, Refused
from tests.gateway.ledger.requests import ask, cap, growth

NANOUSD = st.integers(0, 60)
SLIDING: st.SearchStrategy[Measure] = st.sampled_from(["rpm", "tpm", "rpd", "tpd"])
NOW_S = 1_795_181_749.25
Balances = list[tuple[int, int]]


@st.composite
def counters(draw: st.DrawFn) -> tuple[tuple[Counter, ...], Balances]:
    caps = draw(st.lists(st.tuples(st.none() | NANOUSD, NANOUSD, NANOUSD), min_size=1, max_size=4))
    on_cap: st.SearchStrategy[OnCap] = st.sampled_from(["clamp", "clamp", "refuse"])
    named = tuple(cap(nanousd, f"s{at}", draw(on_cap)) for at, (nanousd, _, _) in enumerate(caps))
    return named, [(spent, held) for _, spent, held in caps]


@st.composite
def asks(draw: st.DrawFn) -> tuple[Ask, Balances]:
    named, balances = draw(counters())
    least, usual, most = sorted(draw(st.tuples(NANOUSD, NANOUSD, NANOUSD)))
    made = ask("r", *named, most=most, usual=usual, least=least, whole=draw(st.booleans()))
    return replace(made, patient=draw(st.booleans())), balances


def unspent(counters: tuple[Counter, ...], balances: Balances) -> list[int]:
    capped = zip(counters, balances, strict=True)
    return [counter.cap_nanousd - spent for counter, (spent, _) in capped if counter.cap_nanousd is not None]


def free(counters: tuple[Counter, ...], balances: Balances) -> list[int]:
    return unspent(counters, [(spent + held, 0) for spent, held in balances])


# --- grant


@given(asks())
def test_what_is_granted_fits_under_every_cap_and_is_of_use(case: tuple[Ask, Balances]) -> None:
    ask, balances = case
    answer = rules.grant(ask, balances)
    if isinstance(answer, Granted) and ask.most_nanousd > 0:
        assert answer.nanousd <= ask.most_nanousd
        assert all(answer.nanousd <= left for left in free(ask.counters, balances))
        assert answer.nanousd >= ask.least_nanousd
        assert answer.nanousd > 0
        strict = any(c.on_cap == "refuse" and c.cap_nanousd is not None for c in ask.counters)
        assert not strict or answer.nanousd == ask.most_nanousd


@given(asks())
def test_what_is_refused_as_spent_would_not_fit_if_nobody_held_anything(case: tuple[Ask, Balances]) -> None:
    ask, balances = case
    answer = rules.grant(ask, balances)
    idle = rules.grant(ask, [(spent, 0) for spent, _ in balances])
    if isinstance(answer, Refused):
        assert ask.most_nanousd > 0
        assert (answer.reason == "over_budget") == (idle == answer)
        assert answer.reason == "over_budget" or isinstance(idle, Granted)
    else:
        assert answer.afford_nanousd == min(unspent(ask.counters, balances), default=None)


@given(asks())
def test_the_counter_that_is_named_is_one_that_blocks(case: tuple[Ask, Balances]) -> None:
    ask, balances = case
    answer = rules.grant(ask, balances)
    if isinstance(answer, Refused):
        at = [counter.name for counter in ask.counters].index(answer.name)
        alone = replace(ask, counters=(ask.counters[at],))
        left = (unspent if answer.reason == "over_budget" else free)(alone.counters, [balances[at]])[0]
        assert left < ask.most_nanousd


@given(asks())
def test_an_impatient_request_gets_no_less_than_a_patient_one(case: tuple[Ask, Balances]) -> None:
    ask, balances = case
    patient = rules.grant(replace(ask, patient=True), balances)
    if isinstance(patient, Granted):
        assert rules.grant(replace(ask, patient=False), balances) == patient


@given(asks())
def test_who_says_whole_gets_the_ceiling_where_it_fits(case: tuple[Ask, Balances]) -> None:
    ask, balances = case
    if all(left >= ask.most_nanousd for left in free(ask.counters, balances)):
        answer = rules.grant(replace(ask, whole=True), balances)
        assert isinstance(answer, Granted)
        assert answer.nanousd == ask.most_nanousd


def test_many_share_a_small_cap() -> None:
    """An eighth of what is free, and no less than usual: of an unknown length many run at once."""
    held, granted = 0, 0
    while isinstance(answer := rules.grant(ask("r", cap(1000), most=900, usual=20), [(0, held)]), Granted):
        held += answer.nanousd
        granted += 1
    assert granted >= 16
    assert held <= 1000


# --- grow


@given(counters(), NANOUSD, NANOUSD, NANOUSD)
def test_growth_keeps_every_cap_and_is_of_use(
    case: tuple[tuple[Counter, ...], Balances], has: int, least: int, more: int
) -> None:
    named, others = case
    balances = [(spent, held + has) for spent, held in others]
    wanted: Growth = growth("r", has, max(least, more), *named, least=least)
    answer = rules.grow(wanted, balances)
    if isinstance(answer, Granted):
        step = answer.nanousd - has
        assert least <= step <= wanted.more_nanousd
        assert all(step <= left for left in free(named, balances))
        assert answer.afford_nanousd == min(unspent(named, balances), default=None)
    else:
        assert min(free(named, balances)) < least
        alone = rules.grow(wanted, [(spent, has) for spent, _ in others])
        assert (answer.reason == "over_budget") == (alone == answer)


# --- meters


@given(
    measure=SLIDING,
    limit=st.integers(1, 6),
    steps=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 6)), min_size=1, max_size=40),
)
def test_into_no_whole_window_falls_more_than_the_limit(
    measure: Measure, limit: int, steps: list[tuple[float, int]]
) -> None:
    unit_s = rules.BUCKET_S[measure]
    buckets: dict[int, int] = {}
    taken: list[tuple[float, int]] = []
    now_s = NOW_S
    for gap, amount in steps:
        now_s += gap * unit_s
        if rules.room_in_s(buckets, measure, amount, limit, now_s) == 0:
            index = rules.bucket(measure, now_s)
            buckets[index] = buckets.get(index, 0) + amount
            taken.append((now_s, amount))
    for end_s, _ in taken:
        within = [amount for at_s, amount in taken if end_s - 60 * unit_s < at_s <= end_s]
        assert sum(within) <= limit


@given(
    measure=SLIDING,
    limit=st.integers(1, 20),
    amount=st.integers(1, 20),
    ages=st.dictionaries(st.integers(0, 80), st.integers(0, 9)),
)
def test_when_the_time_that_was_said_has_passed_there_is_room_and_not_before(
    measure: Measure, limit: int, amount: int, ages: dict[int, int]
) -> None:
    if amount > limit:
        return  # for such a one there is never room
    here = rules.bucket(measure, NOW_S)
    buckets = {here - age: count for age, count in ages.items()}
    wait_s = rules.room_in_s(buckets, measure, amount, limit, NOW_S)
    assert 0 <= wait_s <= (rules.BUCKETS + 1) * rules.BUCKET_S[measure]
    assert rules.room_in_s(buckets, measure, amount, limit, NOW_S + wait_s) == 0
    if wait_s > 0:
        assert rules.room_in_s(buckets, measure, amount, limit, NOW_S + wait_s - 0.001) > 0


@given(measure=SLIDING, ages=st.dictionaries(st.integers(0, 80), st.integers(0, 9)))
def test_a_level_is_what_counts_and_when_it_is_all_gone(measure: Measure, ages: dict[int, int]) -> None:
    here = rules.bucket(measure, NOW_S)
    buckets = {here - age: count for age, count in ages.items()}
    used, full_s = rules.level(buckets, measure, NOW_S)
    assert used == sum(count for age, count in ages.items() if age <= rules.BUCKETS)
    assert (full_s > 0) == (used > 0)
    assert rules.level(buckets, measure, NOW_S + full_s) == (0, 0.0)
    if used:
        assert rules.level(buckets, measure, NOW_S + full_s - 0.001)[0] > 0


@given(tokens=st.integers(0, 100), limits=st.lists(st.tuples(SLIDING, st.integers(0, 100)), max_size=4))
def test_tokens_are_what_the_tightest_meter_could_ever_give(tokens: int, limits: list[tuple[Measure, int]]) -> None:
    meters = [Meter(f"s{at}", measure, limit) for at, (measure, limit) in enumerate(limits)]
    took = rules.tokens_of(ask("r", meters=meters, tokens=tokens))
    assert took == min([tokens, *(limit for measure, limit in limits if measure in ("tpm", "tpd"))])
    assert [rules.amount_of(meter, took) for meter in meters] == [took if m[0] == "t" else 1 for m, _ in limits]


LIMITS = (Meter("a", "rpm", 2), Meter("a", "rpd", 3), Meter("a", "parallel", 2), Meter("a", "tpm", 50))
HERE, TODAY = rules.bucket("rpm", NOW_S), rules.bucket("rpd", NOW_S)


@pytest.mark.parametrize(
    ("filled", "slots", "name"),
    [
        (({}, {}, {}, {}), 0, None),
        (({HERE: 1}, {TODAY: 2}, {}, {HERE: 40}), 1, None),
        (({HERE: 2}, {}, {}, {}), 0, "a|rpm"),
        (({HERE: 2}, {TODAY: 3}, {}, {}), 2, "a|rpd"),
        (({HERE - 60: 2}, {}, {}, {HERE - 30: 41}), 2, "a|tpm"),
        (({HERE - 61: 2}, {TODAY - 61: 3}, {}, {}), 0, None),
        (({}, {}, {}, {}), 2, "a|parallel"),
    ],
)
def test_of_the_meters_that_are_full_the_slowest_is_named(
    filled: tuple[dict[int, int], ...], slots: int, name: str | None
) -> None:
    running = [slots if meter.measure == "parallel" else 0 for meter in LIMITS]
    refused = rules.meter_refusal(ask("r", meters=LIMITS, tokens=10), filled, running, NOW_S)
    assert (refused and refused.name) == name
    if refused is not None:
        assert refused.reason == "rate"
        assert refused.retry_after_s > 0


def test_what_never_fits_is_told_apart_from_what_does_not_yet() -> None:
    empty: list[dict[int, int]] = [{}] * 4
    large = ask("r", meters=LIMITS, tokens=1000)
    assert rules.meter_refusal(large, empty, [0] * 4, NOW_S) is None
    refused = rules.meter_refusal(replace(large, least_tokens=51), empty, [0] * 4, NOW_S)
    assert refused == Refused("too_large", "a|tpm")
    none = [Meter("a", "rpm", 0)]
    assert rules.meter_refusal(ask("r", meters=none), [{}], [0], NOW_S) == Refused("too_large", "a|rpm")


def test_reaps_are_steady_from_the_first_one_behind_a_pause() -> None:
    assert rules.steady_since(None, 0.0, NOW_S) == NOW_S
    assert rules.steady_since(NOW_S - 1, NOW_S - 60, NOW_S) == NOW_S - 60
    assert rules.steady_since(NOW_S - rules.PAUSE_S, NOW_S - 60, NOW_S) == NOW_S - 60
    assert rules.steady_since(NOW_S - 12, NOW_S - 60, NOW_S) == NOW_S
    assert rules.steady_since(NOW_S + 3600, NOW_S - 60, NOW_S) == NOW_S  # the clock was put back
