"""Where a command is carried out, and what is said when that cannot be."""

from pathlib import Path

import pytest

from gateway.cli import main
from tests.gateway.desk import ADMIN_KEY
from tests.gateway.terminal import Run


def test_a_gateway_that_refuses_or_is_not_there(
    running: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["keys", "list", "--url", running]) == 1
    assert "HEADGATE_ADMIN_KEY" in capsys.readouterr().err
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", "schlüssel")
    assert main(["keys", "list", "--url", running]) == 1
    assert "ASCII" in capsys.readouterr().err
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", " \n")
    assert main(["keys", "list", "--url", running]) == 1
    assert "set HEADGATE_ADMIN_KEY" in capsys.readouterr().err
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", f"{ADMIN_KEY}\n")
    assert main(["keys", "list", "--url", running]) == 0
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


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:abc", "http://[::1"])
def test_an_address_that_cannot_be_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", ADMIN_KEY)
    for words in (["keys", "list"], ["usage", "--csv", "-"]):
        assert main([*words, "--url", url]) == 1
        printed = capsys.readouterr().err
        assert printed.startswith(f"headgate: {url} is no address: ")
        assert printed.count("\n") == 1


READING = [
    ["audit"],
    ["usage"],
    ["usage", "--csv", "-"],
    ["keys", "list"],
    ["keys", "show", "key_1"],
    ["keys", "update", "key_1", "--alias", "a"],
    ["keys", "revoke", "key_1"],
    ["keys", "rotate", "key_1"],
    ["keys", "why", "key_1"],
    ["users", "update", "ada", "--max-budget", "1"],
    ["org", "show"],
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_where_there_is_no_ledger_that_is_said_and_none_is_made(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == (2 if words == ["audit"] else 1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"headgate: there is no ledger at {data}: ")
    assert list(data.parent.iterdir()) == []


MAKING = [
    ["keys", "create"],
    ["teams", "create"],
    ["users", "create", "ada"],
    ["tags", "create", "batch"],
    ["org", "update", "--max-budget", "1"],
]


@pytest.mark.parametrize("words", MAKING, ids=" ".join)
def test_what_can_be_first_in_a_ledger_makes_it(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 0
    capsys.readouterr()
    assert main(["audit"]) == 0
    assert "1 records" in capsys.readouterr().out


@pytest.mark.parametrize("id", [".", ".."])
@pytest.mark.parametrize(
    "words",
    [
        ["users", "show"],
        ["tags", "show"],
        ["tags", "update"],
        ["keys", "revoke"],
        ["keys", "rotate"],
        ["keys", "why"],
    ],
    ids=" ".join,
)
def test_what_clients_take_out_of_a_url_is_no_id(
    running: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], id: str
) -> None:
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", ADMIN_KEY)
    for where in ([], ["--url", running]):
        with pytest.raises(SystemExit) as ended:
            main([*words, id, *where])
        assert ended.value.code == 2
        assert "cannot be . or .." in capsys.readouterr().err


def test_an_id_that_only_begins_like_that_is_one(run: Run) -> None:
    run("users", "create", "..ada")
    assert run("users", "show", "..ada")["id"] == "..ada"
