"""What processes cost: their CPU and memory, as /proc tells it."""

import os
import sys

from gateway.commands.processes import cpu_s, rss_bytes, there, tree


def test_cpu_of_children_that_ended_is_kept() -> None:
    before = cpu_s(os.getpid())
    child = os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", "for _ in range(10**7): pass"])
    assert child == 0
    assert cpu_s(os.getpid()) > before


def test_memory_is_what_is_held() -> None:
    before = rss_bytes(os.getpid())
    held = bytearray(os.urandom(64 * 1024)) * 500  # written to: a page that nobody wrote to is not resident
    assert rss_bytes(os.getpid()) - before > len(held) / 2


def test_a_process_that_is_gone_costs_nothing() -> None:
    gone = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    assert there(gone)
    os.waitpid(gone, 0)
    assert not there(gone)
    assert (tree(gone), cpu_s(gone), rss_bytes(gone)) == ([gone], 0.0, 0)
