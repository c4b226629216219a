"""Where windows begin and end, in UTC and where clocks are set forward and back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.windows import Duration, Window, parse_duration, parse_zone, precedes, window


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


# --- where the clocks are set forward and back


def _in(zone: str, text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("duration", "zone", "now", "id", "start", "hours"),
    [
        ("1d", "Europe/Berlin", "2026-03-29T12:00", "1d@Europe/Berlin:2026-03-29", "2026-03-29T00:00", 23),
        ("1d", "Europe/Berlin", "2026-10-25T02:30", "1d@Europe/Berlin:2026-10-25", "2026-10-25T00:00", 25),
        ("1d", "Europe/Berlin", "2026-11-20T00:30", "1d@Europe/Berlin:2026-11-20", "2026-11-20T00:00", 24),
        ("1d", "America/New_York", "2026-03-08T23:59", "1d@America/New_York:2026-03-08", "2026-03-08T00:00", 23),
        ("1d", "America/Havana", "2026-03-08T12:00", "1d@America/Havana:2026-03-08", "2026-03-08T00:00", 23),
        ("1d", "America/Havana", "2026-11-01T12:00", "1d@America/Havana:2026-11-01", "2026-11-01T00:00", 25),
        ("1w", "Europe/Berlin", "2026-10-25T12:00", "1w@Europe/Berlin:2026-10-19", "2026-10-19T00:00", 7 * 24 + 1),
        ("1mo", "Europe/Berlin", "2026-03-31T23:59", "1mo@Europe/Berlin:2026-03", "2026-03-01T00:00", 31 * 24 - 1),
        ("1h", "Asia/Kathmandu", "2026-11-20T13:44", "1h@Asia/Kathmandu:2026-11-20T13+0545", "2026-11-20T13:00", 1),
    ],
)
def test_a_window_is_as_long_as_the_calendar_of_its_zone_says(
    duration: str, zone: str, now: str, id: str, start: str, hours: int
) -> None:
    start_s = _in(zone, start)
    assert window(duration, _in(zone, now), zone) == Window(id, start_s, start_s + hours * 3600)


def test_an_hour_that_comes_twice_is_two_windows() -> None:
    before = _in("Europe/Berlin", "2026-10-25T02:30")
    first, second = window("1h", before, "Europe/Berlin"), window("1h", before + 3600, "Europe/Berlin")
    assert (first.id, second.id) == ("1h@Europe/Berlin:2026-10-25T02+0200", "1h@Europe/Berlin:2026-10-25T02+0100")
    assert first.end_s == second.start_s


ZONES = ["Europe/Berlin", "America/New_York", "America/Havana", "Asia/Kathmandu", "Asia/Beirut", "Pacific/Apia"]
ZONES += ["Africa/Cairo", "America/Sao_Paulo", "Australia/Lord_Howe", "UTC"]


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=40, deadline=None)
@given(
    duration=st.sampled_from(["1h", "1d", "1w", "1mo", "3mo", "12mo", "24h", "7d"]),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),
    hours=st.integers(-3, 3),
)
def test_windows_of_every_zone_follow_one_another(zone: str, duration: str, now: datetime, hours: int) -> None:
    """Above all around the days when clocks are set, which a random moment seldom meets: all of a year's are tried."""
    if (zone, duration) == ("Australia/Lord_Howe", "1h"):
        return  # the one zone whose clocks are set by half an hour: its hours of that night lap over by as much
    year = [now.replace(tzinfo=UTC).timestamp(), *changes(zone, now.year)]
    for moment_s in year:
        now_s = moment_s + hours * 3600
        this = window(duration, now_s, zone)
        assert this.start_s <= now_s < this.end_s
        after, before = window(duration, this.end_s, zone), window(duration, this.start_s - 0.001, zone)
        assert (after.start_s, before.end_s) == (this.end_s, this.start_s)
        assert len({this.id, after.id, before.id}) == 3
        assert window(duration, this.start_s, zone) == this
        assert window(duration, this.end_s - 0.001, zone) == this


def changes(zone: str, year: int) -> list[float]:
    """When the clocks of `zone` are set in `year`, to the hour."""
    here, first = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC).timestamp()
    days = [first + day * 86_400 for day in range(366)]
    return [
        hour
        for day in days
        if _offset(here, day) != _offset(here, day + 86_400)
        for hour in (day + at * 3600 for at in range(24))
        if _offset(here, hour) != _offset(here, hour + 3600)
    ]


def _offset(zone: ZoneInfo, at_s: float) -> timedelta | None:
    return datetime.fromtimestamp(at_s, zone).utcoffset()


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_a_time_zone_is_known_by_its_name(name: str) -> None:
    assert parse_zone(name) == name


@pytest.mark.parametrize(
    "name", ["", "Berlin", "Europe", "../etc/passwd", "/etc/passwd", "Mars/Phobos", "UTC\0", "CEST", "europe/berlin"]
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_zone(name)


@pytest.mark.parametrize("name", ["localtime", "Factory", "posixrules", "posix/Europe/Berlin", "right/Europe/Berlin"])
def test_a_zone_that_depends_on_the_machine_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_zone(name)


@settings(max_examples=200)
@given(
    st.sampled_from(["1h", "1d", "1w", "1mo", "30d", "24h", "15m"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.integers(int(_s("2026-10-24")), int(_s("2026-11-03"))),
    st.integers(-3 * 3600, 3 * 3600),
)
def test_ids_say_which_window_is_the_earlier_also_where_clocks_are_set_back(
    duration: str, zone: str, at_s: int, later_s: int
) -> None:
    one, other = window(duration, at_s, zone), window(duration, at_s + later_s, zone)
    assert precedes(one.id, other.id) == (one.start_s < other.start_s)
