"""Keys, teams, users, tags and the organisation through their whole life, over both stores."""

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
        tags=["batch", "team:search"],
        rpm_limit=5,
        max_parallel_requests=0,
        limits=[{"model": "gpt-*", "tpd_limit": 10**6}],
        expires="2031-01-01T01:00:00+01:00",
        metadata={"owner": "ada", "rate": 0.5},
    )
    assert made["key"].startswith("sk-hg-")
    assert made["key_hint"].endswith(made["key"][-4:])
    assert made["id"].startswith("key_")
    assert made["unsupported"] is None
    assert made["max_budget"] == "12.000000001"
    assert made["budget_duration"] == "1mo"
    plain = {"time_zone": "UTC", "model": None, "soft": False}
    assert made["budgets"] == [
        {"max_budget": "1", "budget_duration": "1d", "on_cap": "refuse"} | plain,
        {"max_budget": "40", "budget_duration": None, "on_cap": "clamp"} | plain,
    ]
    assert made["tags"] == ["batch", "team:search"]
    assert (made["rpm_limit"], made["tpm_limit"], made["rpd_limit"], made["tpd_limit"]) == (5, None, None, None)
    assert made["max_parallel_requests"] == 0
    [limits] = made["limits"]
    assert {name: value for name, value in limits.items() if value is not None} == {
        "model": "gpt-*",
        "tpd_limit": 10**6,
    }
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
    assert (made["tags"], made["limits"], made["rpm_limit"], made["max_parallel_requests"]) == ([], [], None, None)


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


NAMES = ["a", "b/c", "ada@example.com", "ü", "*"]


@pytest.mark.parametrize(("kind", "field"), [("key", None), ("team", None), ("user", "user_id"), ("tag", "tag")])
def test_lists_come_in_pages_that_miss_and_repeat_nothing(desk: Desk, kind: str, field: str | None) -> None:
    made = sorted(desk.make(kind, **({field: name} if field else {}))["id"] for name in NAMES)
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
        ("GET", "/admin/users/nobody", None),
        ("PATCH", "/admin/users/nobody", {}),
        ("DELETE", "/admin/users/*", None),
        ("GET", "/admin/tags/none", None),
        ("PATCH", "/admin/tags/none", {"rpm_limit": 1}),
        ("DELETE", "/admin/tags/none", None),
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

    desk.store.replace = overtaken  # type: ignore[method-assign]  # somebody is faster
    changed = desk.change(made, max_budget=3)
    assert raced
    assert (changed["key_alias"], changed["max_budget"], changed["models"]) == ("first", "3", ["demo"])


@pytest.mark.parametrize(("kind", "field"), [("user", "user_id"), ("tag", "tag")])
def test_a_record_for_what_callers_name(desk: Desk, kind: str, field: str) -> None:
    made = desk.make(kind, **{field: "ada"}, max_budget=1, budget_duration="1d", rpm_limit=3, metadata={"a": 1})
    assert (made["id"], made[field], made["max_budget"], made["rpm_limit"]) == ("ada", "ada", "1", 3)
    assert (made["inherited"], made["revoked"], made["metadata"]) == (False, False, {"a": 1})
    error = refusal(desk.ask("POST", f"/admin/{kind}s", {field: "ada"}), 409)
    assert (error["param"], error["code"]) == (field, "already_exists")
    assert desk.change(made, rpm_limit=None)["rpm_limit"] is None
    gone = desk.revoke(made)
    assert gone["revoked"] is True
    assert desk.revoke(made) == gone
    assert desk.get(path_of(made)) == gone
    assert refusal(desk.ask("PATCH", path_of(made), {"rpm_limit": 1}), 409)["code"] == "revoked"
    anew = desk.make(kind, **{field: "ada"})
    assert (anew["revoked"], anew["max_budget"], anew["rpm_limit"], anew["metadata"]) == (False, None, None, {})
    assert desk.get(path_of(made)) == anew
    assert desk.change(made, rpm_limit=7)["rpm_limit"] == 7


@pytest.mark.parametrize(("kind", "field"), [("user", "user_id"), ("tag", "tag")])
def test_those_without_a_record_have_the_defaults_caps_on_their_own_sums(desk: Desk, kind: str, field: str) -> None:
    token = desk.make("key")["key"]
    own = {"windows": [{"model": "demo", "cap_usd": "2", "spend_usd": "0.000000005"}], "spend_usd": "0.000000005"}
    everyone = desk.make(kind, **{field: "*"}, budgets=[{"max_budget": 2, "model": "demo"}], metadata={"a": 1})
    if kind == "user":
        desk.spend(token, 5, user="ada")
    else:
        desk.spend(token, 5, tags=["ada"])
    shown = desk.get(f"/admin/{kind}s/ada")
    assert (shown["id"], shown[field], shown["inherited"], shown["created_at"]) == ("ada", "ada", True, None)
    assert shown["metadata"] == {}
    assert shown["spend_usd"] == own["spend_usd"]
    assert [{name: cap[name] for name in ("model", "cap_usd", "spend_usd")} for cap in shown["windows"]] == (
        own["windows"]
    )
    assert desk.get(f"/admin/{kind}s/bob")["spend_usd"] == "0"
    assert desk.get(path_of(everyone)) == everyone
    made = desk.make(kind, **{field: "ada"}, max_budget=9)
    assert (made["inherited"], made["spend_usd"], made["max_budget"]) == (False, "0.000000005", "9")
    assert desk.revoke(made)["inherited"] is False
    assert desk.get(f"/admin/{kind}s/ada") == shown
    desk.revoke(everyone)
    refusal(desk.ask("GET", f"/admin/{kind}s/bob"), 404)


def test_the_organisation_is_made_by_its_first_change(desk: Desk) -> None:
    path = "/admin/organization"
    before = desk.get(path)
    assert (before["id"], before["created_at"], before["windows"]) == ("default", None, [])
    made = desk.ask("PATCH", path, {"max_budget": 5, "budget_duration": "1mo", "tpm_limit": 9}).json()
    assert (made["max_budget"], made["tpm_limit"]) == ("5", 9)
    assert made["created_at"] is not None
    assert desk.get(path) == made
    desk.spend(desk.make("key")["key"], 7)
    changed = desk.ask("PATCH", path, {"tpm_limit": None}).json()
    assert (changed["tpm_limit"], changed["max_budget"], changed["spend_usd"]) == (None, "5", "0.000000007")
    assert changed["created_at"] == made["created_at"]
    for method in ("POST", "DELETE"):
        assert desk.ask(method, path).status_code == 405


def test_the_organisation_is_made_once_when_two_are_first(desk: Desk) -> None:
    faster = desk.store.create

    async def overtaken(record: Record, digest: str | None = None) -> None:
        await faster(record.model_copy(update={"metadata": {"by": "first"}}), digest)
        await faster(record, digest)

    desk.store.create = overtaken  # type: ignore[method-assign]  # somebody is faster
    made = desk.ask("PATCH", "/admin/organization", {"rpm_limit": 1}).json()
    assert (made["rpm_limit"], made["metadata"]) == (1, {"by": "first"})
