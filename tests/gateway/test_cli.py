"""The command `headgate`: bad usage, and configurations good and broken."""

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
