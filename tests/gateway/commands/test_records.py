"""Keys, teams and the other holders of caps on the command line: the same words on a store and on a running gateway."""

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.ledger.opening import open_store
from tests.gateway.desk import desk_over
from tests.gateway.terminal import Run, spend_on


def test_the_life_of_a_key(run: Run, data: Path) -> None:
    team = run("teams", "create", "--alias", "search", "--max-budget", "100", "--budget-duration", "1mo")
    budgets = '[{"max_budget": 0.000000001, "budget_duration": "1d"}, {"max_budget": "7", "on_cap": "refuse"}]'
    fields = ["--model", "demo", "--model", "gpt-*", "--max-budget", "0.1", "--expires", "2031-01-01T00:00:00Z"]
    extra = ["--budgets", budgets, "--metadata", '{"owner": "ada", "share": 0.5}']
    made = run("keys", "create", "--alias", "ci", "--team", team["id"], *fields, *extra)
    assert made["key"].startswith("sk-hg-")
    assert (made["key_alias"], made["team_id"], made["models"]) == ("ci", team["id"], ["demo", "gpt-*"])
    assert [cap["max_budget"] for cap in made["windows"]] == ["0.1", "0.000000001", "7"]
    assert (made["expires"], made["metadata"]) == ("2031-01-01T00:00:00Z", {"owner": "ada", "share": 0.5})
    id = made["id"]
    assert run("keys", "update", id, "--unsupported", "report")["unsupported"] == "report"
    assert run("keys", "update", id, "--clear", "unsupported")["unsupported"] is None
    changed = run("keys", "update", id, "--max-budget", "0.2", "--clear", "budgets", "--clear", "team")
    assert (changed["max_budget"], changed["budgets"], changed["team_id"]) == ("0.2", [], None)
    assert run("keys", "show", id) == changed
    spend_on(data, made["key"], 12)
    rotated = run("keys", "rotate", id, "--grace-period", "1h")
    assert rotated["key"] != made["key"]
    assert run("keys", "list")["data"][0]["spend_usd"] == "0.000000012"
    assert run("keys", "revoke", id)["revoked"] is True
    assert [record["id"] for record in run("teams", "list", "--limit", "5")["data"]] == [team["id"]]
    assert run("teams", "revoke", team["id"])["revoked"] is True


def test_a_key_and_a_team_go_by_their_aliases_too(run: Run, data: Path) -> None:
    team = run("teams", "create", "--alias", "search")
    made = run("keys", "create", "--alias", "ci 1", "--team", "search")
    id = made["id"]
    assert made["team_id"] == team["id"]
    assert run("keys", "show", "ci 1")["id"] == run("keys", "why", "ci 1")["id"] == id
    assert run("keys", "update", "ci 1", "--max-budget", "1", "--team", "search")["team_id"] == team["id"]
    spend_on(data, made["key"], 12)
    assert run("usage", "--team", "search")["spend_usd"] == "0.000000012"
    assert run("keys", "rotate", "ci 1")["id"] == id
    namesake = run("keys", "create", "--alias", id)
    assert run("keys", "show", id)["id"] == id != namesake["id"], "an id comes first"
    assert run("keys", "revoke", "ci 1")["id"] == id
    assert run("teams", "update", "search", "--alias", "found")["team_alias"] == "found"
    assert run("teams", "revoke", "found")["id"] == team["id"]


CAPS = ["--max-budget", "2", "--budget-duration", "1mo", "--time-zone", "Europe/Berlin"]
RAISE = ["--temp-budget-increase", "0.5", "--temp-budget-expiry", "2099-01-01T00:00:00Z"]
RATES = ["--rpm-limit", "1", "--tpm-limit", "2", "--rpd-limit", "3", "--tpd-limit", "4", "--max-parallel-requests", "0"]
SOME = ["--limits", '[{"model": "gpt-*", "rpm_limit": 9}]', "--budgets", '[{"max_budget": 0.1, "model": "o3"}]']
CLEARED: dict[str, tuple[str, object]] = {
    "budget-duration": ("budget_duration", None),
    "time-zone": ("budget_time_zone", "UTC"),
    "temp-budget-increase": ("temp_budget_increase", None),
    "rpm-limit": ("rpm_limit", None),
    "max-parallel-requests": ("max_parallel_requests", None),
    "limits": ("limits", []),
    "budgets": ("budgets", []),
}


@pytest.mark.parametrize(
    ("made", "then"),
    [
        (["keys", "create", "--tag", "a", "--tag", "b:c"], ["keys", "update"]),
        (["teams", "create"], ["teams", "update"]),
        (["users", "create", "ada/1@example.com"], ["users", "update"]),
        (["tags", "create", "*"], ["tags", "update"]),
        (["org", "update"], ["org", "update"]),
    ],
    ids=lambda words: words[0],
)
def test_everything_that_has_caps_has_the_same_options(run: Run, made: list[str], then: list[str]) -> None:
    record = run(*made, *CAPS, *RAISE, *RATES, *SOME)
    assert (record["max_budget"], record["budget_duration"], record["budget_time_zone"]) == (
        *("2", "1mo", "Europe/Berlin"),
    )
    assert (record["temp_budget_increase"], record["temp_budget_expiry"]) == ("0.5", "2099-01-01T00:00:00Z")
    assert [cap["cap_usd"] for cap in record["windows"]] == ["2.5", "0.1"]
    rates = ("rpm_limit", "tpm_limit", "rpd_limit", "tpd_limit", "max_parallel_requests")
    assert [record[name] for name in rates] == [1, 2, 3, 4, 0]
    assert record["limits"][0]["model"] == "gpt-*"
    assert record["budgets"][0]["model"] == "o3"
    assert record.get("tags", ["a", "b:c"]) == ["a", "b:c"]
    id = [] if made[0] == "org" else [record["id"]]
    assert run(made[0], "show", *id) == {name: value for name, value in record.items() if name != "key"}
    options, fields = list(CLEARED), [field for field, _ in CLEARED.values()]
    for names in (options, fields):  # by either name
        changed = run(*then, *id, *(word for name in names for word in ("--clear", name)))
        assert [changed[field] for field in fields] == [value for _, value in CLEARED.values()]
        run(*then, *id, *CAPS, *RAISE, *RATES, *SOME)
    if made[0] == "keys":
        for both in (["model", "tag"], ["models", "tags"]):
            run(*then, *id, "--model", "gpt-*", "--tag", "a")
            changed = run(*then, *id, *(word for name in both for word in ("--clear", name)))
            assert changed["models"] == changed["tags"] == []


ODD = "ada//1?a=b#c%2F| é\n"


def test_an_end_user_from_the_default_and_back(run: Run) -> None:
    everyone = run("users", "create", "*", "--max-budget", "1")
    assert run("users", "show", ODD)["inherited"] is True
    own = run("users", "create", ODD, "--max-budget", "5")
    assert (own["inherited"], own["max_budget"]) == (False, "5")
    assert run("users", "list")["data"] == [everyone, own]
    assert run("users", "revoke", ODD)["revoked"] is True
    assert run("users", "show", ODD)["max_budget"] == "1"


def test_a_new_key_is_printed_to_be_copied(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--alias", "ci", "--max-budget", "3"]) == 0
    printed = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in printed.out.splitlines())
    assert lines["key"].startswith("sk-hg-")
    assert (lines["key_alias"], lines["max_budget"]) == ("ci", "3")
    assert "this once" in printed.err
    with desk_over(open_store(None, str(data), "")) as desk:
        holder = desk.holder(lines["key"])
    assert holder is not None
    assert holder.key.id == lines["id"]


def test_tables_are_for_people(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "--alias", "ci", "--max-budget", "3", "--budget-duration", "1d", "--json"])
    spend_on(data, json.loads(capsys.readouterr().out)["key"], 2_000_000_000)
    main(["keys", "list"])
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[1:] == ["ci", "-", "2", "0", "3/1d", "none", "all", "-", "live"]
    main(["teams", "list"])
    assert capsys.readouterr().out.startswith("ID")
    main(["users", "create", "ada", "--max-parallel-requests", "2"])
    capsys.readouterr()
    main(["users", "list"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["ada", "0", "0", "none", "parallel=2", "live"]


def test_a_long_list_says_how_to_go_on(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create"])
    main(["keys", "create"])
    capsys.readouterr()
    main(["keys", "list", "--limit", "1"])
    printed = capsys.readouterr()
    first = printed.out.splitlines()[1].split()[0]
    assert printed.err == f"more: --after {first}\n"
    main(["keys", "list", "--after", first, "--json"])
    assert len(json.loads(capsys.readouterr().out)["data"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["keys", "show", "key_none"], "key_none"),
        (["keys", "create", "--max-budget", "ten"], "max_budget"),
        (["keys", "create", "--budgets", '[{"max_budget": 1, "soft": 1}]'], "budgets.0.soft"),
        (["keys", "create", "--team", "team_none"], "team_none"),
        (["keys", "list", "--limit", "0"], "limit"),
        (["keys", "create", "--rpm-limit", "-1"], "rpm_limit"),
        (["keys", "create", "--tag", "no good"], "tags.0"),
        (["org", "update", "--time-zone", "Europe/Berlin"], "budget_time_zone"),
        (["users", "create", ".."], "user_id"),
        (["tags", "show", "none"], "none"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    main(["org", "update"])
    capsys.readouterr()
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("headgate: ")
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_options_that_are_no_json_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--budgets", "--limits", "--metadata"):
        with pytest.raises(SystemExit):
            main(["keys", "create", option, "{"])
        assert "is not JSON" in capsys.readouterr().err
    assert not data.exists()
