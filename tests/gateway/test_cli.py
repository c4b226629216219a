"""The command `headgate`: the same words on a store and on a running gateway."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gateway import admin
from gateway.cli import main
from gateway.ledger.opening import open_store
from tests.gateway.desk import ADMIN_KEY, Desk, Worker, desk_over

Json = dict[str, Any]
Run = Callable[..., Json]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded store, and an environment that names it."""
    path = tmp_path / "ledger.db"
    for name in ("REDIS_URL", "HEADGATE_URL", "HEADGATE_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADGATE_DATA", str(path))
    return path


@pytest.fixture
def running(data: Path) -> Iterator[str]:
    """The URL of a gateway that serves the admin API over the same store."""
    routed = Starlette(routes=admin.routes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        store = open_store(None, str(data), "")
        await store.open()
        try:
            await routed({**scope, "state": {"gateway": Worker(store)}}, receive, send)
        finally:
            await store.close()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error", http="httptools"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(params=["store", "url"])
def run(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """One command that must succeed, with `--json`, either way; what it prints."""
    request.getfixturevalue("data")
    if request.param == "url":
        monkeypatch.setenv("HEADGATE_URL", request.getfixturevalue("running"))
        monkeypatch.setenv("HEADGATE_ADMIN_KEY", ADMIN_KEY)

    def command(*words: str) -> Json:
        assert main([*words, "--json"]) == 0, capsys.readouterr().err
        printed: Json = json.loads(capsys.readouterr().out)
        return printed

    return command


def spend_on(data: Path, token: str, nanousd: int) -> None:
    """As the gateway would."""
    with desk_over(open_store(None, str(data), "")) as desk:
        Desk.spend(desk, token, nanousd, usage={"input_tokens": 3})


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
    assert row[1:] == ["ci", "-", "2", "0", "3/1d", "all", "-", "live"]
    main(["usage"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("AT")
    assert lines[1].split()[2:6] == ["ci", "demo", "demo/demo", "2"]
    assert lines[-1] == "spent 2 USD in 1 requests; held now 0 USD"
    main(["usage", "--by", "provider"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["demo", "2", "1", "input=3"]
    main(["teams", "list"])
    assert capsys.readouterr().out.startswith("ID")


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
        (["usage", "--by", "colour"], "by"),
        (["usage", "--from", "then"], "from"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("headgate: ")
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [[], ["keys"], ["keys", "rotate"], ["keys", "show", ""], ["teams", "rotate", "team_1"], ["audit"]]
)
def test_what_is_no_command_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: headgate" in capsys.readouterr().err


def test_options_that_are_no_json_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--budgets", "--metadata"):
        with pytest.raises(SystemExit):
            main(["keys", "create", option, "{"])
        assert "is not JSON" in capsys.readouterr().err
    assert not data.exists()


def test_a_gateway_that_refuses_or_is_not_there(
    running: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["keys", "list", "--url", running]) == 1
    assert "HEADGATE_ADMIN_KEY" in capsys.readouterr().err
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", "wrong")
    assert main(["keys", "list", "--url", running]) == 1
    assert "admin key is missing or wrong" in capsys.readouterr().err
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", ADMIN_KEY)
    assert main(["keys", "show", "key_none", "--url", running]) == 1
    assert "key_none" in capsys.readouterr().err
    assert main(["keys", "list", "--url", f"{running}/elsewhere"]) == 1
    assert "not as Headgate does" in capsys.readouterr().err
    assert main(["keys", "list", "--url", "http://127.0.0.1:1"]) == 1
    assert "no answer from" in capsys.readouterr().err
    assert main(["keys", "list", "--url", "nonsense"]) == 1
    assert "nonsense" in capsys.readouterr().err


def test_a_store_that_cannot_be_opened_is_told(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data.write_text("this is no database, and never was one")
    assert main(["keys", "list"]) == 1
    assert capsys.readouterr().err.startswith("headgate: the store does not answer")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert main(["keys", "list"]) == 1
    assert capsys.readouterr().err.startswith("headgate: the store does not answer")


ROUTES = """\
providers:
  local: {dialect: openai, base_url: "http://127.0.0.1:11434/v1"}
  far: {dialect: anthropic, api_key: "${FAR_AWAY_KEY}"}
routes:
  fast: local/llama
"""


def test_a_good_configuration_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAR_AWAY_KEY", raising=False)
    routes = tmp_path / "routes.yaml"
    routes.write_text(ROUTES)
    assert main(["check", "--routes", str(routes)]) == 0
    ok, off = capsys.readouterr().out.splitlines()
    assert ok.startswith("ok: 1 routes, ")
    assert ok.endswith("providers on: demo, local")
    assert off == "off: far (FAR_AWAY_KEY is not set)"


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_broken_configuration_is_told_line_by_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text(ROUTES.replace("openai", "esperanto").replace("local/llama", "nowhere/llama"))
    assert main([command, "--routes", str(routes)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in told if "routes.yaml" in line] == [f"{routes}:2:", f"{routes}:5:"]
    assert not data.exists()
