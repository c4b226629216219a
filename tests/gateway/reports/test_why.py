"""`why` says what would refuse a request, who holds what, and when that frees; and it is right: it refuses, or not."""

import time
from typing import Any

import pytest

from gateway.ledger.parties import counters, meters, names_of
from gateway.ledger.store import Ask, Granted, Refused
from gateway.payers import Payers
from tests.gateway.desk import Desk, refusal

Json = dict[str, Any]


def asked(desk: Desk, key: Json, **query: str) -> Json:
    return desk.get(f"/admin/keys/{key['id']}/why", **query)


def reserved(
    desk: Desk, key: Json, nanousd: int, tokens: int = 1, model: str = "demo", name: str = "r1"
) -> Granted | Refused:
    """As the gateway would, limits included."""
    holder = desk.holder(key["key"])
    assert holder is not None
    parties = desk.run(Payers(desk.store, 0.0).reread(holder, None, holder.key.tags))
    ask = Ask(
        request_id=name,
        standings=parties.standings,
        counters=counters(parties.parties, names_of(model), time.time()),
        least_nanousd=nanousd,
        usual_nanousd=nanousd,
        most_nanousd=nanousd,
        meters=meters(parties.parties, names_of(model)),
        tokens=tokens,
    )
    return desk.reserve(ask)


def test_a_key_without_a_cap_is_not_refused(desk: Desk) -> None:
    told = asked(desk, desk.make("key"))
    assert (told["refused"], told["caps"], told["limits"]) == (False, [], [])
    assert told["verdict"] == "Not refused: no cap stands over it."


def test_what_is_left_is_told(desk: Desk) -> None:
    team = desk.make("team", max_budget="0.0000003")
    key = desk.make("key", team_id=team["id"], max_budget="0.0000001", budget_duration="1d")
    desk.spend(key["key"], 40)
    held = desk.hold(key["key"], 25)
    told = asked(desk, key)
    assert told["refused"] is False
    assert "0.000000035 USD is left" in told["verdict"]
    [own, team_s] = told["caps"]
    assert own["scope"] == f"key:{key['id']}"
    assert (own["cap_usd"], own["spent_usd"], own["held_usd"], own["left_usd"]) == (
        *("0.0000001", "0.00000004", "0.000000025", "0.000000035"),
    )
    assert own["frees"] is not None
    assert [by["request_id"] for by in own["held_by"]] == [held.request_id]
    assert (team_s["left_usd"], team_s["frees"]) == ("0.000000235", None)


@pytest.mark.parametrize(
    ("on_cap", "soft", "wanted"),
    [
        ("clamp", False, "its prompt with 16 tokens of an answer fits: 0.0000001 USD is left"),
        ("refuse", False, "the most that it can cost fits: 0.0000001 USD is left"),
        ("refuse", True, "its prompt with 16 tokens of an answer fits: 0.0000001 USD is left"),
    ],
)
def test_the_verdict_says_what_must_fit(desk: Desk, on_cap: str, soft: bool, wanted: str) -> None:
    key = desk.make("key", max_budget="0.0000001", budgets=[{"max_budget": "1", "on_cap": on_cap, "soft": soft}])
    assert f"Not refused if {wanted}" in asked(desk, key)["verdict"]


def test_a_spent_cap_is_named_and_is_what_refuses(desk: Desk) -> None:
    team = desk.make("team", max_budget="0.00000005")
    key = desk.make("key", team_id=team["id"], max_budget="1")
    desk.spend(key["key"], 50)
    told = asked(desk, key)
    assert told["refused"] is True
    assert f"team:{team['id']} has spent 0.00000005 of 0.00000005 USD" in told["verdict"]
    assert [one["blocks"] for one in told["caps"]] == [False, True]
    answer = reserved(desk, key, 1)
    assert isinstance(answer, Refused)
    assert answer.name == f"team:{team['id']}|total"


def test_a_cap_that_is_only_held_says_by_whom_and_until_when(desk: Desk) -> None:
    key = desk.make("key", max_budget="0.0000001")
    small, large = desk.hold(key["key"], 40), desk.hold(key["key"], 60)
    told = asked(desk, key)
    assert told["refused"] is True
    assert "0.0000001 is held" in told["verdict"]
    assert "after waiting" in told["verdict"]
    by = told["caps"][0]["held_by"]
    assert [(one["request_id"], one["held_usd"]) for one in by] == [
        (large.request_id, "0.00000006"),
        (small.request_id, "0.00000004"),
    ]
    assert isinstance(answer := reserved(desk, key, 1), Refused)
    assert answer.reason == "held"


def test_only_caps_of_that_model_are_told_of(desk: Desk) -> None:
    budgets = [{"max_budget": "0", "model": "gpt-*"}, {"max_budget": "1", "model": "claude-*"}]
    key = desk.make("key", budgets=budgets)
    assert asked(desk, key, model="claude-5")["refused"] is False
    assert [one["scope"] for one in asked(desk, key, model="claude-5")["caps"]] == [f"claude-*@key:{key['id']}"]
    assert asked(desk, key, model="gpt-5")["refused"] is True
    assert isinstance(reserved(desk, key, 1, model="gpt-5"), Refused)
    told = asked(desk, key)
    assert told["refused"] is False, "no model was asked about"
    assert [one["applies"] for one in told["caps"]] == [False, False]


def test_a_cap_on_what_a_route_leads_to_is_told_of_where_that_is_named(desk: Desk) -> None:
    key = desk.make("key", budgets=[{"max_budget": "0", "model": "gpt-*"}], limits=[{"model": "gpt-*", "rpm_limit": 0}])
    assert asked(desk, key, model="fast")["refused"] is False
    for told in (asked(desk, key, model="fast", target="openai/gpt-5"), asked(desk, key, target="openai/gpt-5")):
        assert told["refused"] is True
        assert [one["applies"] for one in (*told["caps"], *told["limits"])] == [True, True]


def test_full_limits_refuse_and_say_when_they_are_empty(desk: Desk) -> None:
    key = desk.make("key", rpm_limit=1, tpm_limit=1000, max_parallel_requests=1)
    assert asked(desk, key)["refused"] is False
    assert isinstance(reserved(desk, key, 1, tokens=10), Granted)
    told = asked(desk, key)
    limits = {limit["measure"]: limit for limit in told["limits"]}
    assert {measure: (limit["used"], limit["blocks"]) for measure, limit in limits.items()} == {
        "rpm": (1, True),
        "tpm": (10, False),
        "parallel": (1, True),
    }
    assert 0 < limits["rpm"]["empty_in_s"] <= 62
    assert [by["request_id"] for by in limits["parallel"]["held_by"]] == ["r1"]
    assert told["refused"] is True
    assert "1 of 1 (rpm)" in told["verdict"]
    assert isinstance(reserved(desk, key, 1, name="r2"), Refused)


def test_end_users_and_tags_are_asked_about(desk: Desk) -> None:
    desk.make("user", user_id="ann", max_budget="0")
    desk.make("tag", tag="eval", max_budget="0")
    key, tagged = desk.make("key"), desk.make("key", tags=["eval"])
    assert asked(desk, key)["refused"] is False
    assert "user:ann" in asked(desk, key, user="ann")["verdict"]
    assert asked(desk, key, user="ben")["refused"] is False
    assert "tag:eval" in asked(desk, key, tag="eval")["verdict"]
    assert "tag:eval" in asked(desk, tagged)["verdict"]


def test_soft_caps_do_not_refuse(desk: Desk) -> None:
    key = desk.make("key", budgets=[{"max_budget": "0", "soft": True}])
    told = asked(desk, key)
    assert told["refused"] is False
    assert told["caps"][0]["soft"] is True


@pytest.mark.parametrize(
    ("change", "said"),
    [({"models": ("gpt-*",)}, "403"), ({"expires": 1.0}, "expired"), ({"revoked": True}, "revoked")],
)
def test_what_refuses_before_money_is_asked_for(desk: Desk, change: Json, said: str) -> None:
    key = desk.make("key")
    holder = desk.holder(key["key"])
    assert holder is not None
    desk.run(desk.store.replace(holder.key.model_copy(update={"version": holder.key.version + 1, **change})))
    told = asked(desk, key, model="claude-5")
    assert told["refused"] is True
    assert said in told["verdict"]


def test_a_team_that_is_revoked_refuses(desk: Desk) -> None:
    team = desk.make("team")
    key = desk.make("key", team_id=team["id"])
    desk.revoke(team)
    assert f"the team {team['id']} is revoked" in asked(desk, key)["verdict"]


def test_many_holders_are_counted_and_the_largest_shown(desk: Desk) -> None:
    key = desk.make("key", max_budget="1")
    for nanousd in range(1, 25):
        desk.hold(key["key"], nanousd)
    [one] = asked(desk, key)["caps"]
    assert (len(one["held_by"]), one["held_by_others"]) == (20, 4)
    assert one["held_by"][0]["held_usd"] == "0.000000024"


def test_no_such_key(desk: Desk) -> None:
    assert refusal(desk.ask("GET", "/admin/keys/key_none/why"), 404)["code"] == "key_not_found"
