"""The report adds up to the nano-dollar, however it is cut, over both stores."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gateway.ledger.store import Bill, Entry
from gateway.reports.report_forms import UsageQuery
from gateway.reports.retention import fold
from gateway.reports.spending import DAY_S
from gateway.reports.turns import GATE, Gate
from gateway.reports.usage import report
from gateway.settings import Retention
from tests.gateway.desk import Desk, path_of, refusal

HAIKU = {"model": "fast", "target": "anthropic/claude-haiku-5-5"}
MINI = {"model": "gpt-5.4-mini", "target": "openai/gpt-5.4-mini"}


@pytest.fixture
def spent(desk: Desk) -> dict[str, Any]:
    """Two keys in one team and one without, seven requests; the sums below are worked by hand."""
    team = desk.make("team", team_alias="search")
    ada = desk.make("key", key_alias="ada", team_id=team["id"])
    bob = desk.make("key", key_alias="bob", team_id=team["id"])
    eve = desk.make("key", key_alias="eve")
    requests = [
        desk.spend(ada["key"], 100_000_000, usage={"input_tokens": 10, "output_tokens": 5}, **HAIKU),
        desk.spend(ada["key"], 200_000_001, usage={"input_tokens": 20, "cache_read_tokens": 7}, **HAIKU),
        desk.spend(ada["key"], 3, usage={"input_tokens": 1}, **MINI),
        desk.spend(bob["key"], 40_000_000_000, usage={"output_tokens": 1000}, estimated=True, **HAIKU),
        desk.spend(eve["key"], 500, usage={"input_tokens": 2, "output_tokens": 2}, **MINI),
        desk.spend(eve["key"], 0, usage={}, model="fast", target="", ending="failed"),
        desk.spend(eve["key"], 7, usage={"input_tokens": 3}, **MINI),
    ]
    return {"team": team, "ada": ada, "bob": bob, "eve": eve, "requests": requests}


def test_everything_adds_up(desk: Desk, spent: dict[str, Any]) -> None:
    report = desk.get("/admin/usage")
    assert report["spend_usd"] == "40.300000511"
    assert report["held_usd"] == "0"
    assert report["requests"] == 7
    assert report["tokens"] == {"input_tokens": 36, "output_tokens": 1007, "cache_read_tokens": 7}
    assert report["groups"] == []
    assert [entry["request_id"] for entry in report["entries"]] == spent["requests"][::-1]
    assert sum(Decimal(entry["cost_usd"]) for entry in report["entries"]) == Decimal("40.300000511")


def test_an_entry_tells_all_there_is_to_know(desk: Desk, spent: dict[str, Any]) -> None:
    entry = desk.get("/admin/usage", key_alias="bob")["entries"][0]
    at = datetime.fromisoformat(entry.pop("at"))
    assert abs(at.timestamp() - time.time()) < 60
    assert entry == {
        "request_id": spent["requests"][3],
        "key_id": spent["bob"]["id"],
        "key_alias": "bob",
        "team_id": spent["team"]["id"],
        "end_user": None,
        "tags": [],
        "model": "fast",
        "target": "anthropic/claude-haiku-5-5",
        "ending": "done",
        "cost_usd": "40",
        "overrun_usd": "0",
        "adjusts": False,
        "tokens": {"output_tokens": 1000},
        "estimated": True,
        "unpriced": False,
        "price": "",
        "attempts": 0,
        "latency_ms": 0,
        "first_token_ms": None,
    }


def test_by_key(desk: Desk, spent: dict[str, Any]) -> None:
    groups = {group["key_alias"]: group for group in desk.get("/admin/usage", by="key")["groups"]}
    assert {alias: (group["spend_usd"], group["requests"]) for alias, group in groups.items()} == {
        "ada": ("0.300000004", 3),
        "bob": ("40", 1),
        "eve": ("0.000000507", 3),
    }
    assert groups["ada"]["key_id"] == spent["ada"]["id"]
    assert groups["ada"]["tokens"] == {"input_tokens": 31, "output_tokens": 5, "cache_read_tokens": 7}
    assert set(groups["ada"]) == {"key_id", "key_alias", "spend_usd", "requests", "tokens"}
    for alias, group in groups.items():
        assert desk.get(path_of(spent[alias]))["spend_usd"] == group["spend_usd"]


def test_by_team_provider_and_model(desk: Desk, spent: dict[str, Any]) -> None:
    def sums(by: str, *fields: str) -> dict[tuple[Any, ...], str]:
        groups = desk.get("/admin/usage", by=by)["groups"]
        assert [set(group) for group in groups] == [{*fields, "spend_usd", "requests", "tokens"}] * len(groups)
        return {tuple(group[field] for field in fields): group["spend_usd"] for group in groups}

    team = spent["team"]["id"]
    assert sums("team", "team_id") == {(None,): "0.000000507", (team,): "40.300000004"}
    assert sums("model", "model") == {("fast",): "40.300000001", ("gpt-5.4-mini",): "0.00000051"}
    assert sums("provider", "provider") == {("",): "0", ("anthropic",): "40.300000001", ("openai",): "0.00000051"}
    assert sums("team,model", "team_id", "model") == {
        (None, "fast"): "0",
        (None, "gpt-5.4-mini"): "0.000000507",
        (team, "fast"): "40.300000001",
        (team, "gpt-5.4-mini"): "0.000000003",
    }


def test_by_day_in_utc(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three entries on either side of a midnight, as the store would give them."""
    at = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    bill: dict[str, Any] = {
        "key_id": "k",
        "key_alias": None,
        "team_id": None,
        "model": "m",
        "target": "p/m",
        "usage": {},
    }
    days = [(at - 0.001, 1), (at, 20), (at + 86_399.999, 300)]
    bill |= {"usage": {}, "request_id": "r", "ending": "done", "estimated": False, "unpriced": False, "price": ""}
    bill |= {"attempts": 1, "latency_ms": 1, "first_token_ms": None}
    days = [(at - 0.001, 1), (at, 20), (at + 86_399.999, 300)]
    entries = [Entry(str(n), moment, bill | {"cost_nanousd": cost}) for n, (moment, cost) in enumerate(days)]

    async def journal(_start_s: float, _end_s: float, after: str = "", limit: int = 1000) -> list[Entry]:
        return [entry for entry in entries if entry.id > after][:limit]

    monkeypatch.setattr(desk.store, "journal", journal)
    groups = desk.get("/admin/usage", by="day")["groups"]
    assert [(group["day"], group["spend_usd"]) for group in groups] == [
        ("2026-11-19", "0.000000001"),
        ("2026-11-20", "0.00000032"),
    ]


def test_filters_narrow_sums_and_entries_alike(desk: Desk, spent: dict[str, Any]) -> None:
    def sum_of(**query: str) -> tuple[str, int]:
        report = desk.get("/admin/usage", **query)
        assert sum(Decimal(entry["cost_usd"]) for entry in report["entries"]) == Decimal(report["spend_usd"])
        return report["spend_usd"], len(report["entries"])

    assert sum_of(key_alias="ada") == ("0.300000004", 3)
    assert sum_of(key_id=spent["eve"]["id"]) == ("0.000000507", 3)
    assert sum_of(team_id=spent["team"]["id"]) == ("40.300000004", 4)
    assert sum_of(model="gpt-5.4-mini") == ("0.00000051", 3)
    assert sum_of(model="gpt-5.4-mini", key_alias="ada") == ("0.000000003", 1)
    assert sum_of(key_alias="ada", key_id=spent["bob"]["id"]) == ("0", 0)
    assert sum_of(key_id="eve") == sum_of(key_id=spent["eve"]["id"])
    assert sum_of(key_alias="nobody") == sum_of(key_id="key_none") == sum_of(team_id="team_none") == ("0", 0)


def test_an_interval_holds_its_beginning_and_not_its_end(desk: Desk, spent: dict[str, Any]) -> None:
    middle = desk.get("/admin/usage")["entries"][3]["at"]
    before, since = desk.get("/admin/usage", to=middle), desk.get("/admin/usage", **{"from": middle})
    assert spent["requests"][3] in [entry["request_id"] for entry in since["entries"]]
    assert Decimal(before["spend_usd"]) + Decimal(since["spend_usd"]) == Decimal("40.300000511")
    assert before["requests"] + since["requests"] == 7
    assert desk.get("/admin/usage", to="2026-01-01")["requests"] == 0
    assert desk.get("/admin/usage", **{"from": "2026-01-01T00:00:00+02:00"})["requests"] == 7


def test_the_limit_is_on_entries_and_never_on_sums(desk: Desk, spent: dict[str, Any]) -> None:
    for limit in (0, 1, 6, 7, 100):
        report = desk.get("/admin/usage", limit=str(limit))
        assert [entry["request_id"] for entry in report["entries"]] == spent["requests"][::-1][:limit]
        assert report["spend_usd"] == "40.300000511"


def test_pages_of_the_journal_add_up(desk: Desk, spent: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.spending.PAGE", 2)
    report = desk.get("/admin/usage")
    assert (report["spend_usd"], len(report["entries"])) == ("40.300000511", 7)


def test_what_is_held_now_follows_the_key_and_the_team(desk: Desk, spent: dict[str, Any]) -> None:
    desk.hold(spent["ada"]["key"], 1_000_000_001)
    desk.hold(spent["eve"]["key"], 5)
    team = spent["team"]["id"]
    held = {name: desk.get("/admin/usage", **{name: value})["held_usd"] for name, value in {"team_id": team}.items()}
    assert held == {"team_id": "1.000000001"}
    assert desk.get("/admin/usage")["held_usd"] == "1.000000006"
    assert desk.get("/admin/usage", key_alias="eve")["held_usd"] == "0.000000005"
    assert desk.get("/admin/usage", key_id=spent["ada"]["id"])["held_usd"] == "1.000000001"
    assert desk.get("/admin/usage", key_alias="bob")["held_usd"] == "0"
    assert desk.get("/admin/usage", key_alias="eve", team_id=team)["held_usd"] == "0"


def test_a_renamed_key_keeps_its_past_and_a_freed_name_begins_anew(desk: Desk, spent: dict[str, Any]) -> None:
    desk.change(spent["eve"], key_alias="mallory")
    assert desk.get("/admin/usage", key_alias="mallory")["spend_usd"] == "0.000000507"
    assert desk.get("/admin/usage", key_alias="eve")["spend_usd"] == "0.000000507"
    desk.make("key", key_alias="eve")
    assert desk.get("/admin/usage", key_alias="eve")["spend_usd"] == "0"
    aliases = {group["key_alias"] for group in desk.get("/admin/usage", by="key")["groups"]}
    assert aliases == {"ada", "bob", "mallory"}


def test_a_revoked_key_is_still_in_the_report(desk: Desk, spent: dict[str, Any]) -> None:
    desk.revoke(spent["bob"])
    assert desk.get("/admin/usage", key_alias="bob")["spend_usd"] == "40"
    assert desk.get("/admin/usage")["spend_usd"] == "40.300000511"


def test_a_query_that_cannot_be_is_refused(desk: Desk) -> None:
    for by in ("colour", "key,key", "key,", ""):
        assert refusal(desk.ask("GET", "/admin/usage", query={"by": by}), 422)["param"] == "by"
    assert refusal(desk.ask("GET", "/admin/usage", query={"from": "then"}), 422)["param"] == "from"
    assert "`from`" in refusal(desk.ask("GET", "/admin/usage?from=2026-02-01&to=2026-01-01"), 422)["message"]


@pytest.fixture
def labelled(desk: Desk) -> list[str]:
    """Requests of end users and with tags, of one key; their ids."""
    token = desk.make("key", key_alias="app", tags=["prod"])["key"]
    return [
        desk.spend(token, 1, user="ann", tags=["prod", "eval"], **HAIKU),
        desk.spend(token, 20, user="ann", tags=["prod"], **MINI),
        desk.spend(token, 300, user="ben", tags=["prod"], ending="hung_up", **HAIKU),
        desk.spend(token, 4000, **HAIKU),
    ]


def nanos(groups: list[dict[str, Any]], field: str) -> dict[Any, int]:
    """Nano-USD by a field."""
    return {group[field]: int(Decimal(group["spend_usd"]) * 10**9) for group in groups}


def test_by_what_the_request_was_for(desk: Desk, labelled: list[str]) -> None:
    def by(name: str, field: str) -> dict[Any, int]:
        return nanos(desk.get("/admin/usage", by=name)["groups"], field)

    assert by("user", "end_user") == {"ann": 21, "ben": 300, None: 4000}
    assert by("tag", "tag") == {"prod": 321, "eval": 1, None: 4000}, "a request counts under each of its tags"
    assert by("ending", "ending") == {"done": 4021, "hung_up": 300}
    assert by("target", "target") == {"anthropic/claude-haiku-5-5": 4301, "openai/gpt-5.4-mini": 20}
    now = datetime.now(UTC)
    assert set(by("month", "month")) <= {f"{now:%Y-%m}", f"{datetime.fromtimestamp(time.time() - 60, UTC):%Y-%m}"}
    assert sum(by("hour", "hour").values()) == 4321
    assert all(len(hour) == len("2026-11-20T14:00Z") for hour in by("hour", "hour"))


def test_end_user_and_tag_narrow_sums_and_entries(desk: Desk, labelled: list[str]) -> None:
    def asked(**query: str) -> tuple[str, list[str]]:
        report = desk.get("/admin/usage", **query)
        return report["spend_usd"], [entry["request_id"] for entry in report["entries"]]

    assert asked(end_user="ann") == ("0.000000021", labelled[1::-1])
    assert asked(tag="eval") == ("0.000000001", labelled[:1])
    assert asked(tag="prod", end_user="ben") == ("0.0000003", labelled[2:3])
    assert asked(tag="nothing") == asked(end_user="nobody") == ("0", [])
    entry = desk.get("/admin/usage", tag="eval")["entries"][0]
    assert (entry["end_user"], entry["tags"]) == ("ann", ["prod", "eval"])


def folded(desk: Desk, entries: int) -> None:
    """Let the oldest `entries` leave the journal, as though they were old."""
    later = time.time() + 20 * DAY_S
    left = len(desk.get("/admin/usage")["entries"]) - entries
    settings = Retention(max_entries=left) if left else Retention(max_age="8d")
    gate = Gate(desk.store, "worker")
    assert desk.run(gate.close())
    assert desk.run(fold(desk.store, settings, gate, later)) == entries
    desk.run(gate.open())


def test_what_has_left_the_journal_is_in_every_sum(desk: Desk, spent: dict[str, Any], labelled: list[str]) -> None:
    names = ("key", "team", "user", "tag", "model", "provider", "target", "ending", "day", "month", "key,model,day")
    before = {by: desk.get("/admin/usage", by=by, limit="0") for by in names}
    folded(desk, 8)
    assert {by: desk.get("/admin/usage", by=by, limit="0") for by in names} == before
    report = desk.get("/admin/usage", key_alias="ada")
    assert (report["spend_usd"], report["requests"], report["entries"]) == ("0.300000004", 3, [])
    assert desk.get("/admin/usage", tag="eval")["spend_usd"] == "0.000000001"
    assert len(desk.get("/admin/usage")["entries"]) == 3
    hours = [group["hour"] for group in desk.get("/admin/usage", by="hour")["groups"]]
    assert datetime.now(UTC).date().isoformat() in hours, "of what was folded only the day is known"


def test_a_folded_day_that_is_cut_counts_where_it_begins(desk: Desk, spent: dict[str, Any]) -> None:
    folded(desk, 7)
    now = datetime.now(UTC)
    today, tomorrow = now.date().isoformat(), (now + timedelta(days=1)).date().isoformat()
    middle = f"{today}T12:00:00Z"
    morning, evening = desk.get("/admin/usage", to=middle), desk.get("/admin/usage", **{"from": middle})
    assert (morning["spend_usd"], evening["spend_usd"]) == ("40.300000511", "0"), "neither twice nor never"
    assert morning["approximate_days"] == evening["approximate_days"] == [today]
    whole = desk.get("/admin/usage", **{"from": today, "to": tomorrow})
    assert (whole["spend_usd"], whole["approximate_days"]) == ("40.300000511", [])
    assert desk.get("/admin/usage")["approximate_days"] == []


def test_a_correction_is_no_request_of_its_own(desk: Desk) -> None:
    token = desk.make("key", key_alias="app")["key"]
    holder, ask = desk.holder(token), desk.hold(token, 100, lease_s=0.0)
    assert holder is not None
    assert desk.run(desk.store.reap()) == 1, "its worker died"
    late = Bill(ask.request_id, holder.key.id, None, ask.counters, 70, {"input_tokens": 7}, model="demo")
    assert desk.settle(late).first
    report = desk.get("/admin/usage")
    assert (report["spend_usd"], report["requests"]) == ("0.00000007", 1)
    assert [entry["adjusts"] for entry in report["entries"]] == [True, False]
    folded(desk, 2)
    after = desk.get("/admin/usage")
    assert (after["spend_usd"], after["requests"]) == ("0.00000007", 1)


def test_others_are_served_while_a_long_report_is_made(
    desk: Desk, spent: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.reports.spending.PAGE", 1)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        beside = asyncio.create_task(others())
        await report(desk.store, time.time(), "", UsageQuery())
        beside.cancel()

    desk.run(both())
    assert turns > 7


def test_a_report_waits_for_a_fold(desk: Desk, spent: dict[str, Any]) -> None:
    assert desk.run(desk.store.lock(GATE, "worker", 0.2))
    assert desk.get("/admin/usage")["requests"] == 7


def test_no_fold_comes_between(desk: Desk, spent: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.turns.PATIENCE_S", 0.0)
    closed, journal = [], desk.store.journal

    async def reading(*given: Any) -> Any:
        closed.append(await Gate(desk.store, "worker").close())
        return await journal(*given)

    monkeypatch.setattr(desk.store, "journal", reading)
    assert desk.get("/admin/usage")["requests"] == 7
    assert closed
    assert not any(closed)
    assert desk.run(Gate(desk.store, "worker").close()), "it is done"
