"""Programs that are started: that none of them is left, and why one did not start."""

import os
import sys
import time
from pathlib import Path

import pytest

from bench.processes import NotStarted, running
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
