"""Who pays for a request, and what their caps and limits make it count against."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import parties
from gateway.ledger.parties import Parties, Party
from gateway.ledger.store import Budget, Counter, Limits, Meter, OnCap, Record

NOW_S = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY_S = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
TOMORROW_S = DAY_S + timedelta(days=1).total_seconds()
MODELS = ["gpt-5.4", "gpt-5.4-mini", "claude-haiku-5-5", "openai/gpt-5.4", "fast"]
PATTERNS = st.sampled_from([None, None, "gpt-*", "gpt-5.4", "claude-*", "openai/*", "*"])


def key(*budgets: Budget, limits: tuple[Limits, ...] = ()) -> Party:
    return Party("key:k", Record(id="k", kind="key", budgets=budgets, limits=limits))


# --- counters


def test_without_budgets_each_party_has_its_running_sum() -> None:
    team, everyone = Party("team:t", Record(id="t", kind="team")), Party("user:zoë", Record(id="*", kind="user"))
    assert parties.counters([key(), team, everyone], parties.names_of("m"), NOW_S) == (
        Counter("key:k", "total"),
        Counter("team:t", "total"),
        Counter("user:zoë", "total"),
    )


def test_each_budget_has_a_counter_in_its_window() -> None:
    budgets = (Budget(max_nanousd=5), Budget(max_nanousd=3, duration="1d", on_cap="refuse"))
    assert parties.counters([key(*budgets)], parties.names_of("m"), NOW_S) == (
        Counter("key:k", "total", cap_nanousd=5),
        Counter("key:k", "1d:2026-11-20", DAY_S, TOMORROW_S, cap_nanousd=3, on_cap="refuse"),
    )


def test_a_soft_budget_is_counted_and_caps_nothing() -> None:
    budgets = (Budget(max_nanousd=5, soft=True, on_cap="refuse"), Budget(max_nanousd=3, duration="1d", soft=True))
    assert parties.counters([key(*budgets)], parties.names_of("m"), NOW_S) == (
        Counter("key:k", "total", softs_nanousd=(5,)),
        Counter("key:k", "1d:2026-11-20", DAY_S, TOMORROW_S, softs_nanousd=(3,)),
    )


def test_of_several_caps_on_one_window_the_tightest_holds() -> None:
    budgets = (
        Budget(max_nanousd=5),
        Budget(max_nanousd=1, soft=True),
        Budget(max_nanousd=9, on_cap="refuse"),
        Budget(max_nanousd=7),
    )
    expected = Counter("key:k", "total", cap_nanousd=5, on_cap="refuse", softs_nanousd=(1,))
    assert parties.counters([key(*budgets)], parties.names_of("m"), NOW_S) == (expected,)


@pytest.mark.parametrize(
    ("model", "of_gpt"), [("gpt-5.4", True), ("openai/gpt-5.4", True), ("claude-haiku-5-5", False)]
)
def test_a_budget_for_some_models_counts_these_beside_the_whole(model: str, of_gpt: bool) -> None:
    found = parties.counters([key(Budget(max_nanousd=5, model="gpt-*"))], parties.names_of(model), NOW_S)
    whole = Counter("key:k", "total")
    assert found == ((whole, Counter("gpt-*@key:k", "total", cap_nanousd=5)) if of_gpt else (whole,))


def test_days_of_two_time_zones_are_two_windows() -> None:
    late_s = datetime(2026, 11, 20, 23, 30, tzinfo=UTC).timestamp()
    budgets = [
        Budget(max_nanousd=at, duration="1d", time_zone=zone) for at, zone in enumerate(["UTC", "Europe/Berlin"])
    ]
    _, utc, berlin = parties.counters([key(*budgets)], parties.names_of("m"), late_s)
    assert (utc.window, utc.cap_nanousd) == ("1d:2026-11-20", 0)
    assert (berlin.window, berlin.cap_nanousd) == ("1d@Europe/Berlin:2026-11-21", 1)


def test_a_raise_holds_until_its_end() -> None:
    budget = Budget(max_nanousd=5, raised_nanousd=3, raised_until=NOW_S)
    caps = [
        parties.counters([key(budget)], parties.names_of("m"), NOW_S + after_s)[0].cap_nanousd
        for after_s in (-0.001, 0.0, 1.0)
    ]
    assert caps == [8, 5, 5]


BUDGETS = st.lists(
    st.builds(
        Budget,
        max_nanousd=st.integers(0, 50),
        duration=st.sampled_from([None, "1h", "1d", "1mo"]),
        on_cap=st.sampled_from(["clamp", "refuse"]),
        soft=st.booleans(),
        model=PATTERNS,
        time_zone=st.sampled_from(["UTC", "Europe/Berlin"]),
        raised_nanousd=st.integers(0, 9),
        raised_until=st.sampled_from([0.0, NOW_S + 60]),
    ),
    max_size=6,
)


@given(budgets=BUDGETS, model=st.sampled_from(MODELS))
def test_no_cap_is_lost_and_none_is_made_up(budgets: list[Budget], model: str) -> None:
    found = parties.counters([key(*budgets)], parties.names_of(model), NOW_S)
    assert len({counter.name for counter in found}) == len(found)
    assert found[0].name == "key:k|total"
    for counter in found:
        assert counter.end_s == 0 or counter.start_s <= NOW_S < counter.end_s
        here = [budget for budget in budgets if _place(budget, model) == counter.name]
        hard = [parties.cap(budget, NOW_S) for budget in here if not budget.soft]
        soft = [parties.cap(budget, NOW_S) for budget in here if budget.soft]
        strict: OnCap = "refuse" if any(b.on_cap == "refuse" and not b.soft for b in here) else "clamp"
        assert (counter.cap_nanousd, counter.softs_nanousd) == (min(hard, default=None), tuple(sorted(set(soft))))
        assert counter.on_cap == strict
    concerned = {_place(budget, model) for budget in budgets} - {None}
    assert concerned <= {counter.name for counter in found}


def _place(budget: Budget, model: str) -> str | None:
    if not parties.concerns(budget.model, parties.names_of(model)):
        return None
    return f"{parties.scope_of('key:k', budget.model)}|{parties.budget_window(budget, NOW_S).id}"


# --- meters


def test_each_limit_is_a_meter_of_its_scope() -> None:
    limits = (Limits(rpm=1, tpm=2, rpd=3, tpd=4, parallel=5), Limits(model="gpt-*", rpm=6), Limits(model="o3", rpm=7))
    team = Party("team:t", Record(id="t", kind="team", limits=(Limits(parallel=0),)))
    assert parties.meters([key(limits=limits), team], parties.names_of("gpt-5.4")) == (
        Meter("key:k", "rpm", 1),
        Meter("key:k", "tpm", 2),
        Meter("key:k", "rpd", 3),
        Meter("key:k", "tpd", 4),
        Meter("key:k", "parallel", 5),
        Meter("gpt-*@key:k", "rpm", 6),
        Meter("team:t", "parallel", 0),
    )


def test_of_several_limits_on_one_measure_the_tightest_holds() -> None:
    """Once: a request that counted twice against one meter would be two requests."""
    limits = (Limits(rpm=5, tpm=100), Limits(rpm=3), Limits(rpm=9, model="*"))
    assert parties.meters([key(limits=limits)], parties.names_of("m")) == (
        Meter("key:k", "rpm", 3),
        Meter("key:k", "tpm", 100),
        Meter("*@key:k", "rpm", 9),
    )


# --- bounds


@pytest.mark.parametrize(
    ("record", "bounded"),
    [
        (Record(id="k", kind="key"), False),
        (Record(id="k", kind="key", budgets=(Budget(max_nanousd=5, soft=True),)), False),
        (Record(id="k", kind="key", budgets=(Budget(max_nanousd=5, model="gpt-*"),)), True),
        (Record(id="k", kind="key", limits=(Limits(parallel=5),)), True),
    ],
)
def test_what_stands_over_a_request_bounds_it(record: Record, bounded: bool) -> None:
    unbounded = Party("org:default", Record(id="default", kind="org"))
    assert Parties((unbounded, Party("key:k", record)), ()).bounded == bounded


@pytest.mark.parametrize(
    ("patterns", "model", "may"),
    [
        ((), "anything", True),
        (("gpt-5",), "gpt-5", True),
        (("gpt-5",), "gpt-5.4", False),
        (("gpt-*", "claude-*"), "claude-x", True),
        (("gpt-*",), "GPT-5", False),
        (("*",), "", True),
        (("*/*",), "a/b", True),
        (("a*b*c",), "a-b-bc", True),
        (("a*b*c",), "a-c-b", False),
        (("ab*ba",), "aba", False),
        (("[g]pt?",), "gpt5", False),
    ],
)
def test_a_key_may_use_what_its_patterns_cover(patterns: tuple[str, ...], model: str, may: bool) -> None:
    assert parties.allowed(patterns, model) is may
