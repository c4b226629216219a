"""The command `headgate`: bad usage, and configurations good and broken."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main


@pytest.mark.parametrize(
    "words",
    [[], ["keys"], ["keys", "rotate"], ["keys", "show", ""], ["teams", "rotate", "team_1"], ["users", "create"]],
)
def test_what_is_no_command_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: headgate" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "status"), [(["audit"], 2), (["keys", "list"], 1)])
def test_a_file_that_may_not_be_looked_at_is_one_line(
    words: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", denied)
    for name in ("REDIS_URL", "HEADGATE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADGATE_DATA", "/closed/ledger.db")
    assert main(words) == status
    assert capsys.readouterr().err == "headgate: [Errno 13] Permission denied: '/closed/ledger.db'\n"


def test_a_full_disk_is_one_line(data: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [str(Path(sys.executable).parent / "headgate"), "check"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"headgate: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("words", [["usage", "--user"], ["usage", "--limit", "0", "--tag"]])
def test_an_argument_that_is_not_utf_8_is_said_so(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", "sk-of-the-administrator")
    assert main([*words, "caf\udce9", "--url", "http://127.0.0.1:9"]) == 1
    assert "not UTF-8" in capsys.readouterr().err


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
    ok, off, warning = capsys.readouterr().out.splitlines()
    assert ok.startswith("ok: 1 routes, ")
    assert ok.endswith("providers on: demo, local")
    assert off == "off: far (FAR_AWAY_KEY is not set)"
    assert warning.startswith("warning: the target local/")


@pytest.mark.parametrize("by", ["an option", "a variable"])
@pytest.mark.parametrize("command", ["check", "serve"])
def test_each_file_can_be_replaced(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    by: str,
) -> None:
    arguments = [command]
    for name in ("routes", "pricing", "models"):
        (file := tmp_path / f"{name}.yaml").write_text("nonsense: 1\n")
        if by == "an option":
            arguments += [f"--{name}", str(file)]
        else:
            monkeypatch.setenv(f"HEADGATE_{name.upper()}", str(file))
    assert main(arguments) == 1
    told = [line.split(" ")[0] for line in capsys.readouterr().err.splitlines()]
    assert told == [f"{tmp_path / name}:1:" for name in ("models.yaml", "pricing.yaml", "routes.yaml")]
    assert not data.exists()


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
