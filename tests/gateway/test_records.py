"""Keys and teams through their whole life, over both stores."""

import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from gateway.ledger.store import Record
from tests.gateway.desk import Desk, path_of, refusal


def test_a_key_is_made_with_everything_it_can_have(desk: Desk) -> None:
    team = desk.make("team", team_alias="search")
    made = desk.make(
        "key",
        key_alias="ci",
        team_id=team["id"],
        models=["gpt-*", "demo"],
        max_budget="12.000000001",
        budget_duration="1mo",
        budgets=[{"max_budget": 1, "budget_duration": "1d", "on_cap": "refuse", "soft": False}, {"max_budget": "40"}],
        expires="2031-01-01T01:00:00+01:00",
        metadata={"owner": "ada", "rate": 0.5},
    )
    assert made["key"].startswith("sk-hg-")
    assert made["key_hint"].endswith(made["key"][-4:])
    assert made["id"].startswith("key_")
    assert made["unsupported"] is None
    assert made["max_budget"] == "12.000000001"
    assert made["budget_duration"] == "1mo"
    assert made["budgets"] == [
        {"max_budget": "1", "budget_duration": "1d", "on_cap": "refuse", "soft": False},
        {"max_budget": "40", "budget_duration": None, "on_cap": "clamp", "soft": False},
    ]
    assert made["expires"] == "2031-01-01T00:00:00Z"
    assert made["metadata"] == {"owner": "ada", "rate": 0.5}
    assert abs(datetime.fromisoformat(made["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert (made["revoked"], made["spend_usd"], made["held_usd"]) == (False, "0", "0")
    shown = desk.get(path_of(made))
    assert shown == {name: value for name, value in made.items() if name != "key"}


def test_a_key_of_nothing_is_open_to_all_models_without_a_cap(desk: Desk) -> None:
    made = desk.make("key")
    assert (made["key_alias"], made["team_id"], made["models"], made["expires"]) == (None, None, [], None)
    assert (made["max_budget"], made["budget_duration"], made["budgets"], made["windows"]) == (None, None, [], [])


def test_the_token_opens_the_key_and_is_nowhere_in_a_later_answer(desk: Desk) -> None:
    team = desk.make("team")
    made = desk.make("key", team_id=team["id"])
    holder = desk.holder(made["key"])
    assert holder is not None
    assert holder.key.id == made["id"]
    assert holder.team is not None
    assert holder.team.id == team["id"]
    for path in ("/admin/keys", path_of(made), "/admin/usage"):
        assert made["key"] not in desk.ask("GET", path).text


def test_both_kinds_of_caps_bind(desk: Desk) -> None:
    """`max_budget` is one more beside `budgets`."""
    made = desk.make("key", max_budget=5, budgets=[{"max_budget": 2, "budget_duration": "1d"}])
    holder = desk.holder(made["key"])
    assert holder is not None
    assert sorted(cap.max_nanousd for cap in holder.key.budgets) == [2 * 10**9, 5 * 10**9]


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
        "budget_duration": None,
        "max_budget": "3",
        "spend_usd": "0.100000001",
        "held_usd": "0.2",
        "resets_at": None,
    }
    assert (of_team["spend_usd"], of_team["held_usd"]) == ("0.100000001", "0.2")
    assert desk.get("/admin/keys")["data"] == [shown]
    assert desk.get("/admin/teams")["data"] == [of_team]


def test_a_change_touches_what_is_given_and_null_clears(desk: Desk) -> None:
    team = desk.make("team")
    made = desk.make(
        "key",
        key_alias="a",
        team_id=team["id"],
        models=["demo"],
        max_budget=1,
        budget_duration="1d",
        budgets=[{"max_budget": 9}],
        expires="2031-01-01T00:00:00Z",
        metadata={"a": 1},
    )
    del made["key"]
    assert desk.change(made) == made
    assert desk.change(made, key_alias="b") == {**made, "key_alias": "b"}
    raised = desk.change(made, max_budget="2.5")
    assert (raised["max_budget"], raised["budget_duration"]) == ("2.5", "1d")
    assert [cap["max_budget"] for cap in raised["windows"]] == ["2.5", "9"]
    longer = desk.change(made, budget_duration=None)
    assert (longer["max_budget"], longer["budget_duration"]) == ("2.5", None)
    assert desk.change(made, max_budget=None)["budgets"] == made["budgets"]
    assert desk.change(made, budgets=None)["windows"] == []
    cleared = desk.change(made, key_alias=None, team_id=None, models=None, expires=None, metadata=None)
    assert (cleared["key_alias"], cleared["team_id"], cleared["models"]) == (None, None, [])
    assert (cleared["expires"], cleared["metadata"]) == (None, {})
    assert desk.get(path_of(made)) == cleared


def test_a_change_is_seen_by_the_next_reserve(desk: Desk) -> None:
    """Every change raises the version that a reserve checks; what changes nothing raises nothing."""
    made = desk.make("key", max_budget=1)
    before = desk.holder(made["key"])
    desk.change(made, max_budget="1.000")
    assert desk.holder(made["key"]) == before
    desk.change(made, max_budget=2)
    after = desk.holder(made["key"])
    assert before is not None
    assert after is not None
    assert after.key.version > before.key.version


def test_a_revoked_key_stays_listed_and_is_beyond_change(desk: Desk) -> None:
    made = desk.make("key", key_alias="ci")
    desk.spend(made["key"], 5)
    gone = desk.revoke(made)
    assert (gone["revoked"], gone["spend_usd"]) == (True, "0.000000005")
    assert desk.revoke(made) == gone
    assert desk.get("/admin/keys")["data"] == [gone]
    for method, path in (("PATCH", path_of(made)), ("POST", f"{path_of(made)}/rotate")):
        error = refusal(desk.ask(method, path, {}), 409)
        assert error["code"] == "revoked"
    assert desk.make("key", key_alias="ci")["id"] != made["id"]


def test_a_revoked_team_takes_no_more_keys(desk: Desk) -> None:
    team = desk.make("team")
    made = desk.make("key", team_id=team["id"])
    assert desk.revoke(team)["revoked"] is True
    holder = desk.holder(made["key"])
    assert holder is None or (holder.team is not None and holder.team.revoked)
    for response in (desk.ask("POST", "/admin/keys", {"team_id": team["id"]}), _moved(desk, team["id"])):
        error = refusal(response, 422)
        assert (error["param"], error["code"]) == ("team_id", "team_not_found")


@pytest.mark.parametrize("id", ["team_none", "", "key_none"])
def test_a_team_that_is_not_there_is_named(desk: Desk, id: str) -> None:
    for response in (desk.ask("POST", "/admin/keys", {"team_id": id}), _moved(desk, id)):
        assert refusal(response, 422)["param"] == "team_id"


def _moved(desk: Desk, team_id: str) -> httpx.Response:
    return desk.ask("PATCH", path_of(desk.make("key")), {"team_id": team_id})


@pytest.mark.parametrize("kind", ["key", "team"])
def test_an_alias_is_one_records_own(desk: Desk, kind: str) -> None:
    alias = f"{kind}_alias"
    first, second = desk.make(kind, **{alias: "ci"}), desk.make(kind, **{alias: "cd"})
    for response in (
        desk.ask("POST", f"/admin/{kind}s", {alias: "ci"}),
        desk.ask("PATCH", path_of(second), {alias: "ci"}),
    ):
        error = refusal(response, 409)
        assert (error["param"], error["code"]) == (alias, "alias_taken")
    desk.change(first, **{alias: "free"})
    assert desk.change(second, **{alias: "ci"})[alias] == "ci"


def test_a_rotated_key_has_two_tokens_for_the_grace_period(desk: Desk) -> None:
    made = desk.make("key", key_alias="ci", max_budget=1)
    desk.spend(made["key"], 7)
    rotated = desk.ask("POST", f"{path_of(made)}/rotate").json()
    assert rotated["key"] != made["key"]
    assert rotated["key_hint"].endswith(rotated["key"][-4:])
    same = {name for name, value in made.items() if rotated[name] == value}
    assert set(made) - same == {"key", "key_hint", "spend_usd", "windows"}
    old, new = desk.holder(made["key"]), desk.holder(rotated["key"])
    assert old is not None
    assert new is not None
    assert old.key == new.key
    assert new.token_expires is None
    assert old.token_expires is not None
    assert abs(old.token_expires - time.time() - 86_400) < 60
    desk.spend(made["key"], 1)
    desk.spend(rotated["key"], 1)
    assert desk.get(path_of(made))["spend_usd"] == "0.000000009"


def test_a_rotation_without_grace_ends_the_old_token_at_once(desk: Desk) -> None:
    made = desk.make("key")
    rotated = desk.ask("POST", f"{path_of(made)}/rotate", {"grace_period": "0s"}).json()
    old = desk.holder(made["key"])
    assert old is None or (old.token_expires is not None and old.token_expires <= time.time())
    assert desk.holder(rotated["key"]) is not None


@pytest.mark.parametrize("kind", ["key", "team"])
def test_lists_come_in_pages_that_miss_and_repeat_nothing(desk: Desk, kind: str) -> None:
    made = sorted(desk.make(kind)["id"] for _ in range(5))
    seen, after = [], ""
    for _ in range(3):
        page = desk.get(f"/admin/{kind}s", limit="2", **({"after": after} if after else {}))
        seen += [record["id"] for record in page["data"]]
        after = page["next"]
    assert seen == made
    assert after is None
    assert desk.get(f"/admin/{kind}s", limit="5")["next"] is None
    assert desk.get(f"/admin/{kind}s", after=made[-1]) == {"data": [], "next": None}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/admin/keys/key_none", None),
        ("PATCH", "/admin/keys/key_none", {"key_alias": "a"}),
        ("PATCH", "/admin/keys/key_none", {"team_id": "team_none"}),
        ("DELETE", "/admin/keys/key_none", None),
        ("POST", "/admin/keys/key_none/rotate", None),
        ("GET", "/admin/teams/team_none", None),
        ("PATCH", "/admin/teams/team_none", {}),
        ("DELETE", "/admin/teams/team_none", None),
    ],
)
def test_what_is_not_there_is_a_404(desk: Desk, method: str, path: str, body: object) -> None:
    error = refusal(desk.ask(method, path, body), 404)
    assert error["code"] == f"{path.split('/')[2].removesuffix('s')}_not_found"


def test_changes_at_the_same_time_are_all_kept(desk: Desk) -> None:
    """A change is applied to what is there, not to what was read: the slower one comes on top of the faster one."""
    made = desk.make("key", models=["demo"])
    faster = desk.store.replace
    raced: list[Record] = []

    async def overtaken(record: Record) -> None:
        if not raced:
            was = await desk.store.get("key", made["id"])
            assert was is not None
            raced.append(was.model_copy(update={"alias": "first", "version": was.version + 1}))
            await faster(raced[0])
        await faster(record)

    desk.store.replace = overtaken  # type: ignore[method-assign]
    changed = desk.change(made, max_budget=3)
    assert raced
    assert (changed["key_alias"], changed["max_budget"], changed["models"]) == ("first", "3", ["demo"])
