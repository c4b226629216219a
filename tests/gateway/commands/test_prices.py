"""`headgate prices diff` on the command line."""

import json
from pathlib import Path

import pytest

from gateway.cli import main

FACTS = {
    "litellm_provider": "openai",
    "mode": "chat",
    "input_cost_per_token": 3e-6,
    "output_cost_per_token": 8e-6,
    "max_output_tokens": 9,
    "surcharge": 1,
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    pricing, facts = tmp_path / "pricing.yaml", tmp_path / "facts.json"
    pricing.write_text("models:\n  m: {input: 2, output: 8, as_of: 2026-10}\n  old: {input: 1, as_of: 2026-10}\n")
    facts.write_text(json.dumps({"m": FACTS, "n": FACTS}))
    return [str(facts), "--pricing", str(pricing)]


def test_a_table_tells_what_changed(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "diff", *files]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["m", "input", "2", "3", "+50"] in lines
    assert ["old"] in lines and ["n", "3", "8"] in lines and ["surcharge", "m"] in lines
    assert lines[-1][:3] == ["1", "rates", "changed,"]


def test_json_is_for_programs(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "diff", "--json", *files]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["changed"] == [{"name": "m", "rate": "input", "old": "2", "new": "3", "percent": "50"}]
    assert (told["gone"], told["unknown"]) == (["old"], {"surcharge": "m"})


@pytest.mark.parametrize("text", [None, "models:", "[]"])
def test_a_file_that_is_no_collection_is_named(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "facts.json"
    if text is not None:
        path.write_text(text)
    assert main(["prices", "diff", str(path)]) == 1
    assert f"{path} cannot be read as model facts" in capsys.readouterr().err
