"""Reports on the command line: the same words on a store and on a running gateway."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.ledger.opening import open_store
from tests import replay
from tests.gateway.desk import desk_over
from tests.gateway.terminal import Run, spend_on

EXPORTS = Path(__file__).parents[2] / "fixtures" / "reconcile"


def test_usage_is_the_admin_apis_report(run: Run, data: Path) -> None:
    for alias, nanousd in (("ada", 5), ("bob", 70)):
        spend_on(data, run("keys", "create", "--alias", alias)["key"], nanousd)
    report = run("usage", "--by", "key", "--from", "2026-01-01", "--limit", "1")
    assert report["spend_usd"] == "0.000000075"
    assert {group["key_alias"]: group["spend_usd"] for group in report["groups"]} == {
        "ada": "0.000000005",
        "bob": "0.00000007",
    }
    assert len(report["entries"]) == 1
    by_alias = run("usage", "--key", "ada")
    assert by_alias["spend_usd"] == "0.000000005"
    assert run("usage", "--key", by_alias["entries"][0]["key_id"]) == by_alias
    assert run("usage", "--to", "2026-01-01", "--team", "t", "--model", "m")["requests"] == 0
    assert run("usage", "--user", "ann", "--tag", "prod")["requests"] == 0


def spent(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key called ci that has spent 2 USD."""
    main(["keys", "create", "--alias", "ci", "--max-budget", "3", "--json"])
    spend_on(data, json.loads(capsys.readouterr().out)["key"], 2_000_000_000)


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[str]:
    """What a command prints."""
    assert main([*words]) == status
    return capsys.readouterr().out.splitlines()


def test_tables_are_for_people(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spent(data, capsys)
    lines = told(capsys, "usage")
    assert lines[0].startswith("AT")
    assert lines[1].split()[2:6] == ["ci", "demo", "demo/demo", "2"]
    assert lines[-1] == "spent 2 USD in 1 requests; held now 0 USD"
    assert told(capsys, "usage", "--by", "provider")[1].split() == ["demo", "2", "1", "input=3"]


def test_a_terminal_gets_shares_and_a_trend(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent(data, capsys)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    header, row, *_ = told(capsys, "usage", "--by", "provider")
    assert header.split() == ["PROVIDER", "SPENT", "USD", "SHARE", "TREND", "REQUESTS", "TOKENS"]
    assert row.split() == ["demo", "2", "100.0", "%", "█", "1", "input=3"]
    header, row, *_ = told(capsys, "usage", "--by", "day")
    assert "TREND" not in header
    assert "100.0 %" in row


@pytest.mark.parametrize(("words", "said"), [(["--by", "colour"], "by"), (["--from", "then"], "from")])
def test_what_cannot_be_asked_is_one_line_and_status_1(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    main(["keys", "create"])
    capsys.readouterr()
    assert main(["usage", *words]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("headgate: ")
    assert said in printed.err


# --- audit, why


def test_audit(run: Run, data: Path) -> None:
    spend_on(data, run("keys", "create")["key"], 5)
    answer = run("audit")
    assert answer["clean"] is True
    assert answer["checked"]["entries"] == 1


def test_an_audit_that_is_not_clean_has_status_1(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent(data, capsys)
    lines = told(capsys, "audit")
    assert lines == ["clean; checked 1 entries, 1 counters, 0 holds, 0 slots, 1 records; spent 2 USD, 0 of it folded"]
    finding = {"what": "spent", "name": "key:k|total", "message": "is wrong\x1b[2J\nclean"}
    found = {"clean": False, "checked": _checked(), "findings": [finding], "overruns": []}

    async def answered(*_: Any) -> Any:
        return found

    monkeypatch.setattr("gateway.commands.desk.answer", answered)
    lines = told(capsys, "audit", status=1)
    assert lines[0] == "WRONG  spent  key:k|total: is wrong?[2J?clean"
    assert lines[-1].startswith("NOT CLEAN: 1 findings")
    assert json.loads("".join(told(capsys, "audit", "--json", status=1))) == found


def test_an_audit_that_could_not_be_made_is_told_from_one_that_is_not_clean(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{replay.refused_url().rpartition(':')[2]}")
    assert told(capsys, "audit", status=2) == []


def _checked() -> dict[str, Any]:
    numbers = dict.fromkeys(("counters", "entries", "holds", "slots", "records"), 0)
    return numbers | {"spent_usd": "0", "folded_usd": "0"}


def test_why(run: Run, data: Path) -> None:
    key = run("keys", "create", "--max-budget", "0.00000001")
    assert run("keys", "why", key["id"])["refused"] is False
    spend_on(data, key["key"], 10)
    answer = run("keys", "why", key["id"], "--model", "demo", "--user", "ann", "--tag", "x")
    assert answer["refused"] is True
    assert "has spent" in answer["verdict"]


def test_why_for_people(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk_over(open_store(None, str(data), "")) as desk:
        token = desk.make("key", max_budget="1", rpm_limit=5)
        held = desk.hold(token["key"], 10**9)
    lines = told(capsys, "keys", "why", token["id"])
    assert lines[0].startswith("Refused (429), after waiting for it: ")
    assert lines[2].split() == [
        "CAP",
        "ON",
        "WINDOW",
        "CAP",
        "USD",
        "SPENT",
        "USD",
        "HELD",
        "USD",
        "LEFT",
        "USD",
        "FREES",
    ]
    assert lines[3].split() == ["✗", f"key:{token['id']}", "total", "1", "0", "1", "0", "never"]
    assert lines[6].split() == [f"key:{token['id']}", "rpm", "5", "0", "-"]
    assert lines[9].split()[:2] == [held.request_id, "1"]


# --- reconcile


@pytest.fixture
def billed(data: Path) -> Path:
    """What the fixtures say was used on 2026-11-19, but for 10 tokens."""
    at_s = 1_795_046_400 + 3600
    with desk_over(open_store(None, str(data), "")) as desk:
        token = desk.make("key")["key"]
        usage = {"input_tokens": 1000, "cache_read_tokens": 200, "output_tokens": 200, "reasoning_tokens": 90}
        desk.spend(token, 3_000_000, usage=usage, model="fast", target="openai/gpt-5.4-mini")
        other = {"input_tokens": 900, "cache_write_tokens": 100, "output_tokens": 500}
        desk.spend(token, 250_000_000, usage=other, model="best", target="openai/gpt-6-astra")
    with sqlite3.connect(data) as db:
        db.execute("UPDATE journal SET at_ms = ?", (at_s * 1000,))
    db.close()
    return data


def test_reconcile(billed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reconcile", str(EXPORTS / "openai_usage.json"), "--provider", "openai", "--to", "2026-11-20"]
    lines = told(capsys, *words, status=1)
    differing = [line.split() for line in lines if line.startswith("✗")]
    assert differing == [
        ["✗", "2026-11-19", "gpt-5.4-mini-2026-03-17", "output_tokens", "290", "300", "-10", "3.33"],
    ]
    assert lines[-1] == "1 of 6 figures differ by more than 1 % (usage)"
    assert "output_tokens: ours 790, theirs 800" in lines
    assert told(capsys, *words, "--tolerance", "4")[-1] == "all 6 figures agree within 4 % (usage)"
    found = json.loads("".join(told(capsys, *words, "--json", status=1)))
    assert (found["differs"], found["beyond"]) == (True, 1)


def test_reconcile_costs_and_several_files(billed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(EXPORTS / name) for name in ("openai_usage.json", "openai_costs.json")]
    words = [
        "reconcile",
        *files,
        "--provider",
        "openai",
        "--tolerance",
        "4",
        "--from",
        "2026-11-19",
        "--to",
        "2026-11-20",
    ]
    lines = told(capsys, *words)
    assert "cost_usd: ours 0.253000, theirs 0.253000" in lines
    assert lines[-1] == "all 8 figures agree within 4 % (costs and usage)"
    assert told(capsys, *words[:-4], status=1)[-1].startswith("3 of 11 figures differ"), "of the 20th we know nothing"


def test_a_provider_may_have_another_name_here(billed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reconcile", str(EXPORTS / "openai_costs.csv"), "--provider", "openai", "--name", "azure"]
    assert "missing here" in "".join(told(capsys, *words, status=1))
    assert told(capsys, *words[:-2])[-1] == "all 1 figures agree within 1 % (costs)"


@pytest.mark.parametrize(
    "words",
    [
        ["no/such/file", "--provider", "openai"],
        [str(EXPORTS / "README.md"), "--provider", "openai"],
        [str(EXPORTS / "openai_usage.csv"), "--provider", "anthropic"],
        [str(EXPORTS / "openai_usage.csv"), "--provider", "openai", "--to", "2026-01-01"],
    ],
)
def test_what_cannot_be_reconciled(data: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["reconcile", *words]) == 2, "1 would say that figures differ"
    assert capsys.readouterr().err.startswith("headgate: ")


@pytest.mark.parametrize("amount", ["NaN", "Infinity", '"NaN"', '"-Infinity"', "1e999999999", "1e999"])
def test_an_amount_that_is_none_is_one_error(
    billed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], amount: str
) -> None:
    result = f'{{"object": "organization.costs.result", "amount": {{"value": {amount}, "currency": "usd"}}}}'
    (tmp_path / "costs.json").write_text(f'{{"data": [{{"start_time": 1795046400, "results": [{result}]}}]}}')
    assert main(["reconcile", str(tmp_path / "costs.json"), "--provider", "openai"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("headgate: this is not what openai exports: ")


def test_what_cannot_be_asked_of_the_ledger_is_no_difference_either(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["reconcile", str(EXPORTS / "openai_costs.json"), "--provider", "openai"]
    assert main(words) == 2
    assert "no ledger" in capsys.readouterr().err
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert main(words) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--tolerance", "-1"], ["--tolerance", "x"], ["--from", "then"], []])
def test_bad_usage_has_status_2(data: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["reconcile", "f", *(["--provider", "openai"] if words else []), *words])
    assert left.value.code == 2
