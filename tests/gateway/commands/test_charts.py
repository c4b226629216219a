"""Shares add up, and a trend has a bar for every day."""

from gateway.commands.charts import WIDTH, charted, share, sparkline, to_ask


def row(model: str, day: str, spend: str, requests: int = 1) -> dict[str, object]:
    return {"model": model, "day": day, "spend_usd": spend, "requests": requests, "tokens": {"input_tokens": 2}}


def test_groups_by_day_too_become_groups_with_a_trend() -> None:
    rows = [
        row("a", "2026-11-17", "1"),
        row("a", "2026-11-20", "2", 3),
        row("b", "2026-11-18", "0.000000001"),
        row("c", "2026-11-17", "7"),
    ]
    found = charted(["model"], rows, "10.000000001")
    assert [(one["model"], one["spend_usd"], one["requests"]) for one in found] == [
        ("c", "7", 1),
        ("a", "3", 4),
        ("b", "0.000000001", 1),
    ]
    assert [one["share"] for one in found] == ["70.0 %", "30.0 %", "0.0 %"]
    assert [one["trend"] for one in found] == ["█▁▁▁", "▅▁▁█", "▁█▁▁"]
    assert found[1]["tokens"] == {"input_tokens": 4}
    assert all("day" not in one for one in found)


def test_groups_of_times_stay_in_order_and_get_a_share() -> None:
    rows = [row("a", "2026-11-17", "1"), row("a", "2026-11-18", "3")]
    found = charted(["day"], rows, "4")
    assert [(one["day"], one["share"]) for one in found] == [("2026-11-17", "25.0 %"), ("2026-11-18", "75.0 %")]
    assert all("trend" not in one for one in found)


def test_what_is_asked_for() -> None:
    assert to_ask(["model"]) == ["model", "day"]
    assert to_ask(["key", "month"]) == ["key", "month"]


def test_a_long_time_fits_on_the_screen() -> None:
    days = [row("a", f"2026-{month:02}-{day:02}", "1") for month in range(1, 11) for day in range(1, 29)]
    [found] = charted(["model"], days, "280")
    assert len(found["trend"]) <= WIDTH
    assert found["share"] == "100.0 %"


def test_bars() -> None:
    assert sparkline([0, 1, 50, 99, 100]) == "▁▂▅██"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([-5, 10]) == "▁█"
    assert sparkline([]) == ""
    assert charted(["model"], [], "0") == []


def test_nothing_has_no_share() -> None:
    assert share(0, 0) == "-"
    assert share(1, 3) == "33.3 %"


def test_a_correction_alone_is_below_zero() -> None:
    rows = [row("a", "2026-11-17", "-0.5", 0), row("b", "2026-11-17", "1")]
    found = charted(["model"], rows, "0.5")
    assert [(one["spend_usd"], one["share"]) for one in found] == [("1", "200.0 %"), ("-0.5", "-100.0 %")]
    assert charted(["model"], rows[:1], "-0.5")[0]["share"] == "100.0 %"
