"""Where a command is carried out, and what is said when that cannot be."""

from pathlib import Path

import pytest

from gateway.cli import main
from tests.gateway.desk import ADMIN_KEY


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
