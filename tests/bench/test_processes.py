"""Programs that are started: that none of them is left, and why one did not start."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.processes import NotStarted, Others, memory_ns, running
from gateway.commands.processes import cpu_s, rss_bytes, tree

PARENT = """
import subprocess, sys, time
child = "import time\\nfor _ in range(10**7): pass\\nprint(1, flush=True)\\ntime.sleep(60)"
subprocess.Popen([sys.executable, "-c", child])
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Not of one that is dead and waits to be buried by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_tree_is_counted_as_one_and_ended_as_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", PARENT]
    with running(command, min(os.sched_getaffinity(0)), log, lambda: b"1" in log.read_bytes()) as pid:
        processes = tree(pid)
        assert len(processes) == 2
        assert cpu_s(pid) > cpu_s(processes[1]) > 0
        assert rss_bytes(pid) > rss_bytes(processes[1]) > 0
    while any(map(alive, processes)):  # a kill takes a moment; pytest's own time-out, or CI's, ends what never does
        time.sleep(0.01)


def test_a_program_that_ends_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such store')"]
    with pytest.raises(NotStarted, match="no such store"), running(command, 0, tmp_path / "log", lambda: False):
        pass


def test_others_are_those_that_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    all_s, ours_s = iter([100.0, 103.0, 103.0, 103.5]), iter([10.0, 7.0, 11.0, 7.5, 11.0, 7.5, 11.0, 7.5])
    monkeypatch.setattr("bench.processes._busy_s", lambda: next(all_s))
    monkeypatch.setattr("bench.processes.cpu_s", lambda _: next(ours_s))
    now_s = iter([0.0, 1.5, 1.51, 2.0])
    monkeypatch.setattr("bench.processes.time", SimpleNamespace(monotonic=lambda: next(now_s)))
    others = Others(1, 2)
    assert others.cores() == (3.0 - 1.5) / 1.5
    assert others.cores() == (3.0 - 1.5) / 1.5  # of the moment since, nothing can be said
    assert others.cores() == 0.5 / 0.5


def test_what_a_read_of_memory_takes_is_told_by_how_much_there_is() -> None:
    found = memory_ns()
    assert list(found) == ["1 MB", "8 MB"]
    assert all(ns > 0 for ns in found.values())
