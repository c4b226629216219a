"""Programs pinned to a core, and what else goes on on this machine."""

import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from bench.build import built
from gateway.commands.processes import TICK_S, cpu_s

CORES = sorted(os.sched_getaffinity(0))
WORKER_CORE, OTHER_CORE = CORES[0], CORES[-1]  # the gateway's; the upstream's, the load's and the store's
LEAST_S = 0.1  # ticks of 10 ms say nothing of less
START_S = 90.0  # the slowest peer's imports take half a minute on a busy machine


class NotStarted(Exception):
    """A program ended, or did not listen in time; the message has the end of what it said."""


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def memory_ns() -> dict[str, float]:
    """What a read from so much memory takes on the gateway's core, in nanoseconds (memory.c)."""
    pinned = partial(os.sched_setaffinity, 0, {WORKER_CORE})
    told = subprocess.run([str(built("memory"))], capture_output=True, check=True, preexec_fn=pinned).stdout
    found: dict[str, float] = json.loads(told)
    return found


def allow_many_files() -> None:
    """As many open files as the system lets us have, for us and for what we start: a stream takes two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listens(port: int) -> bool:
    """Whether the port accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _users_own() -> dict[str, str]:
    """Our environment, but that Python may keep what it compiles, as a user's does: a start takes a third less then."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def running(
    command: list[str], core: int, log: Path, ready: Callable[[], bool], env: Mapping[str, str] | None = None
) -> Iterator[int]:
    """The process id of `command`, pinned to `core`, once `ready` says so; ended, with its children, afterwards.

    `env` is added to ours. What it prints goes to `log`. Raises NotStarted.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env={**_users_own(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # children inherit it
            start_new_session=True,
        )
    try:
        end = time.monotonic() + START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise NotStarted(f"{command[0]} did not start: …{log.read_text(errors='replace')[-600:]}")
            time.sleep(0.005)
        yield process.pid
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: what it left behind
        process.wait()


def _busy_s() -> float:
    """CPU that all programs have had, and the host has taken, up to a constant: the time that no core was idle.

    Idle time is measured where the tick stops in it; the other columns of /proc/stat count ticks, and short runs
    between two of them not at all (a load of many small ones seemed to be a tenth smaller than it was).
    """
    _user, _nice, _system, idle, wait, *_ = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    return (os.cpu_count() or 1) * time.monotonic() - (int(idle) + int(wait)) * TICK_S


class Others:
    """What other programs than these process trees take of the machine."""

    def __init__(self, *ours: int) -> None:
        self._ours, self._cores = ours, 0.0
        self._at_s, self._had_s = time.monotonic(), self._so_far_s()

    def cores(self) -> float:
        """Since this was last asked; 0.5 is half of one core. Asked again at once, it is the same."""
        now_s, had_s = time.monotonic(), self._so_far_s()
        if now_s - self._at_s > LEAST_S:
            self._cores = (had_s - self._had_s) / (now_s - self._at_s)
            self._at_s, self._had_s = now_s, had_s
        return self._cores

    def _so_far_s(self) -> float:
        return _busy_s() - sum(map(cpu_s, self._ours))
