"""Where windows begin and end, and which counters a key's and a team's budgets make."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.store import Budget, Counter, Record
from gateway.ledger.windows import Duration, Window, counters, parse_duration, window


def _s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("duration", "now", "id", "start", "end"),
    [
        ("1h", "2026-11-20T13:59:59.999", "1h:2026-11-20T13", "2026-11-20T13:00", "2026-11-20T14:00"),
        ("1d", "2026-11-20T00:00", "1d:2026-11-20", "2026-11-20", "2026-11-21"),
        (
            "1w",
            "2026-11-22T23:59",
            "1w:2026-11-16",
            "2026-11-16",
            "2026-11-23",
        ),  # a Sunday belongs to the Monday before
        ("1w", "2026-11-23T00:00", "1w:2026-11-23", "2026-11-23", "2026-11-30"),
        ("1mo", "2028-02-29T12:00", "1mo:2028-02", "2028-02-01", "2028-03-01"),
        ("1mo", "2026-12-31T23:59", "1mo:2026-12", "2026-12-01", "2027-01-01"),
        ("3mo", "2026-11-20T12:00", "3mo:2026-10", "2026-10-01", "2027-01-01"),
        ("24h", "2026-11-20T13:00", "24h:2026-11-20T00", "2026-11-20", "2026-11-21"),
        ("30d", "1970-02-01T00:00", "30d:1970-01-31", "1970-01-31", "1970-03-02"),
        ("2w", "1970-01-20T00:00", "2w:1970-01-15", "1970-01-15", "1970-01-29"),
        ("15m", "2026-11-20T13:44", "15m:2026-11-20T13:30", "2026-11-20T13:30", "2026-11-20T13:45"),
        ("30s", "2026-11-20T13:44:31", "30s:2026-11-20T13:44:30", "2026-11-20T13:44:30", "2026-11-20T13:45"),
    ],
)
def test_a_window_begins_and_ends_where_a_calendar_says(duration: str, now: str, id: str, start: str, end: str) -> None:
    assert window(duration, _s(now)) == Window(id, _s(start), _s(end))


def test_no_duration_is_the_whole_life() -> None:
    assert window(None, 1e9) == Window("total", 0.0, 0.0)


@given(
    number=st.integers(1, 100),
    unit=st.sampled_from(["s", "m", "h", "d", "w", "mo"]),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
)
def test_windows_follow_one_another_without_a_gap_or_an_overlap(number: int, unit: str, now: datetime) -> None:
    now_s = now.replace(tzinfo=UTC).timestamp()
    this = window(f"{number}{unit}", now_s)
    assert this.start_s <= now_s < this.end_s
    after = window(f"{number}{unit}", this.end_s)
    before = window(f"{number}{unit}", this.start_s - 0.001)
    assert (after.start_s, before.end_s) == (this.end_s, this.start_s)
    assert len({this.id, after.id, before.id}) == 3
    assert window(f"{number}{unit}", this.start_s) == this


def test_a_duration_is_read() -> None:
    assert [parse_duration(text) for text in ("30d", "1mo", "5m")] == [(30, "d"), (1, "mo"), (5, "m")]
    assert parse_duration("10s") == Duration(number=10, unit="s")


@pytest.mark.parametrize("text", ["", "d", "0d", "1", "1 d", "-1d", "1.5h", "1D", "1y", "daily", "1d1h", "٣d", "1d\n"])
def test_what_is_no_duration_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="1h, 1d, 1w, 1mo, 30d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["4000d", "600w", "121mo", "999999999mo"])
def test_over_ten_years_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ten years"):
        parse_duration(text)


NOW_S = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY_S = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
TOMORROW_S = DAY_S + timedelta(days=1).total_seconds()


def test_without_budgets_each_scope_has_its_running_sum() -> None:
    key, team = Record(id="k", kind="key", team_id="t"), Record(id="t", kind="team")
    assert counters(key, None, NOW_S) == (Counter("key:k", "total"),)
    assert counters(key, team, NOW_S) == (Counter("key:k", "total"), Counter("team:t", "total"))


def test_each_budget_has_a_counter_in_its_window() -> None:
    budgets = (Budget(max_nanousd=5), Budget(max_nanousd=3, duration="1d", on_cap="refuse"))
    assert counters(Record(id="k", kind="key", budgets=budgets), None, NOW_S) == (
        Counter("key:k", "total", cap_nanousd=5),
        Counter("key:k", "1d:2026-11-20", DAY_S, TOMORROW_S, cap_nanousd=3, on_cap="refuse"),
    )


def test_a_soft_budget_is_counted_and_caps_nothing() -> None:
    budgets = (Budget(max_nanousd=5, soft=True, on_cap="refuse"), Budget(max_nanousd=3, duration="1d", soft=True))
    assert counters(Record(id="t", kind="team", budgets=budgets), None, NOW_S) == (
        Counter("team:t", "total"),
        Counter("team:t", "1d:2026-11-20", DAY_S, TOMORROW_S),
    )


def test_of_several_caps_on_one_window_the_tightest_holds() -> None:
    budgets = (
        Budget(max_nanousd=5),
        Budget(max_nanousd=1, soft=True),
        Budget(max_nanousd=9, on_cap="refuse"),
        Budget(max_nanousd=7),
    )
    key = Record(id="k", kind="key", budgets=budgets)
    assert counters(key, None, NOW_S) == (Counter("key:k", "total", cap_nanousd=5, on_cap="refuse"),)
