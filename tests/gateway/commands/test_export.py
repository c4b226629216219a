"""Exports on the command line: a whole file or none, from a store and from a running gateway alike."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from gateway.cli import main
from tests.gateway.terminal import Run, spend_on


@pytest.fixture
def spent(run: Run, data: Path) -> None:
    """Two requests of a key."""
    token = run("keys", "create", "--alias", "ada")["key"]
    for nanousd in (5, 70):
        spend_on(data, token, nanousd)


def test_every_format_says_the_same(run: Run, spent: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("csv", "jsonl", "parquet"):
        assert main(["usage", f"--{kind}", str(tmp_path / f"out.{kind}")]) == 0
    assert capsys.readouterr().out == ""
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    cells = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [line["cost_nanousd"] for line in lines] == [5, 70]
    assert [int(row["cost_nanousd"]) for row in cells] == [row["cost_nanousd"] for row in table] == [5, 70]
    assert [row["request_id"] for row in cells] == [row["request_id"] for row in table]
    assert sorted(path.name for path in tmp_path.glob("out.*")) == ["out.csv", "out.jsonl", "out.parquet"]


def test_groups(run: Run, spent: None, tmp_path: Path) -> None:
    assert main(["usage", "--by", "key,model", "--parquet", str(tmp_path / "out")]) == 0
    [row] = parquet.read_table(tmp_path / "out").to_pylist()
    assert (row["key_alias"], row["model"], row["cost_nanousd"], row["requests"]) == ("ada", "demo", 75, 2)


def test_a_dash_is_standard_output(run: Run, spent: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--csv", "-", "--by", "model"]) == 0
    [row] = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["model"], row["cost_usd"]) == ("demo", "0.000000075")


def test_nothing_is_a_file_too(run: Run, spent: None, tmp_path: Path) -> None:
    for kind in ("csv", "jsonl", "parquet"):
        assert main(["usage", "--to", "2026-01-01", f"--{kind}", str(tmp_path / kind)]) == 0
    assert (tmp_path / "csv").read_text().startswith("at,request_id,")
    assert (tmp_path / "jsonl").read_text() == ""
    assert parquet.read_table(tmp_path / "parquet").num_rows == 0


def test_what_fails_leaves_no_file(run: Run, spent: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("from yesterday")
    for words in (["--by", "colour"], ["--url", "http://127.0.0.1:9"]):
        assert main(["usage", *words, "--csv", str(tmp_path / "out")]) == 1
        assert capsys.readouterr().err.startswith("headgate: ")
    assert main(["usage", "--csv", str(tmp_path / "no" / "such" / "folder")]) == 1
    assert (tmp_path / "out").read_text() == "from yesterday"
    assert not list(tmp_path.glob("*.part"))


def test_a_link_is_followed_and_a_file_keeps_who_may_read_it(run: Run, spent: None, tmp_path: Path) -> None:
    (target := tmp_path / "2026-11.jsonl").write_text("from yesterday")
    target.chmod(0o640)
    (link := tmp_path / "latest.jsonl").symlink_to(target.name)
    assert main(["usage", "--jsonl", str(link)]) == 0
    assert link.is_symlink() and len(target.read_text().splitlines()) == 2
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_written_to_and_not_replaced(run: Run, spent: None, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert main(["usage", "--jsonl", str(pipe)]) == 0
        assert len(reader.communicate()[0].splitlines()) == 2
    assert pipe.is_fifo()


def test_why_a_file_cannot_be_written_is_told_whatever_else_goes_wrong(
    run: Run, spent: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.part").mkdir()  # which cannot be unlinked either
    assert main(["usage", "--csv", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"headgate: {tmp_path / 'out'} cannot be written: Is a directory\n"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("run", ["store"], indirect=True)
def test_a_reader_that_goes_away_ends_it_quietly(run: Run, spent: None, kind: str) -> None:
    words = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
    with subprocess.Popen(
        [*words, "usage", f"--{kind}", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None and command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141, "as a shell tells of a program that SIGPIPE ended"
