"""What is shown of a record: what each cap allows now, and what stands against it, over both stores."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.gateway.desk import Desk, path_of


def test_windows_say_what_is_spent_and_held_in_each(desk: Desk) -> None:
    team = desk.make("team", max_budget=100)
    made = desk.make("key", team_id=team["id"], max_budget="1", budget_duration="1d", budgets=[{"max_budget": "3"}])
    desk.spend(made["key"], 100_000_001)
    desk.hold(made["key"], 200_000_000)
    shown, of_team = desk.get(path_of(made)), desk.get(path_of(team))
    assert (shown["spend_usd"], shown["held_usd"]) == ("0.100000001", "0.2")
    day, total = shown["windows"]
    assert (day["max_budget"], day["spend_usd"], day["held_usd"]) == ("1", "0.100000001", "0.2")
    resets = datetime.fromisoformat(day["resets_at"])
    assert timedelta() < resets - datetime.now(UTC) <= timedelta(days=1)
    assert (resets.hour, resets.minute, resets.second) == (0, 0, 0)
    assert total == {
        "model": None,
        "budget_duration": None,
        "time_zone": "UTC",
        "soft": False,
        "cap_usd": "3",
        "max_budget": "3",
        "spend_usd": "0.100000001",
        "held_usd": "0.2",
        "resets_at": None,
    }
    assert (of_team["spend_usd"], of_team["held_usd"]) == ("0.100000001", "0.2")
    assert desk.get("/admin/keys")["data"] == [shown]
    assert desk.get("/admin/teams")["data"] == [of_team]


def test_a_cap_for_some_models_counts_those_alone(desk: Desk) -> None:
    made = desk.make("key", budgets=[{"max_budget": 1, "model": "gpt-*", "soft": True}, {"max_budget": 2}])
    desk.spend(made["key"], 5, model="gpt-5.4")
    desk.spend(made["key"], 7, model="demo")
    shown = desk.get(path_of(made))
    assert [(cap["model"], cap["soft"], cap["spend_usd"]) for cap in shown["windows"]] == [
        ("gpt-*", True, "0.000000005"),
        (None, False, "0.000000012"),
    ]
    assert shown["spend_usd"] == "0.000000012"


def test_a_day_in_a_time_zone_ends_at_its_midnight(desk: Desk) -> None:
    day = {"budget_duration": "1d", "time_zone": "Asia/Kathmandu", "max_budget": 3}
    made = desk.make("team", max_budget=1, budget_duration="1w", budget_time_zone="Pacific/Chatham", budgets=[day])
    assert made["budget_time_zone"] == "Pacific/Chatham"
    week, of_day = made["windows"]
    for cap, zone in ((week, "Pacific/Chatham"), (of_day, "Asia/Kathmandu")):
        assert cap["time_zone"] == zone
        resets = datetime.fromisoformat(cap["resets_at"]).astimezone(ZoneInfo(zone))
        assert (resets.hour, resets.minute, resets.second) == (0, 0, 0)
    assert datetime.fromisoformat(week["resets_at"]).astimezone(ZoneInfo("Pacific/Chatham")).weekday() == 0


def test_a_raise_is_in_the_cap_for_as_long_as_it_lasts(desk: Desk) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
    made = desk.make("key", max_budget=5, temp_budget_increase="2.5", temp_budget_expiry=soon)
    assert (made["temp_budget_increase"], made["temp_budget_expiry"]) == ("2.5", soon)
    assert [(cap["max_budget"], cap["cap_usd"]) for cap in made["windows"]] == [("5", "7.5")]
    cleared = desk.change(made, temp_budget_increase=None)
    assert (cleared["temp_budget_increase"], cleared["temp_budget_expiry"]) == (None, None)
    assert [cap["cap_usd"] for cap in cleared["windows"]] == ["5"]
