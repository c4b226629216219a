"""The processes of a chaos run, each ended when its `with` block is left: the gateway and its workers, Redis behind the
proxy that loses answers, the counting upstream, and whoever keeps the embedded store locked.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.upstream import Count

ROOT = Path(__file__).parents[2]
ADMIN_KEY = "admin-key-of-the-chaos"
START_S = 30.0
LOCK = """
import sqlite3, sys, time
file = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
file.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
file.execute("ROLLBACK")
"""

Process = subprocess.Popen[bytes]


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until(ready: Callable[[], bool], process: Process, what: str) -> None:
    end = time.monotonic() + START_S
    while not ready():
        assert process.poll() is None, f"{what} stopped before it had started"
        assert time.monotonic() < end, f"{what} did not start"
        time.sleep(0.02)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: Process) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ── the upstream ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class CountingUpstream:
    """tests.chaos.upstream, running."""

    port: int

    def counts(self) -> list[Count]:
        """What became of every request so far."""
        told = httpx.get(f"http://127.0.0.1:{self.port}/counts", timeout=30).json()["counts"]
        return [Count(**count) for count in told]


@contextmanager
def counting_upstream() -> Iterator[CountingUpstream]:
    """A counting upstream of its own process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.chaos.upstream", str(port)], cwd=ROOT)
    try:
        _wait_until(lambda: _accepts(port), process, "the upstream")
        yield CountingUpstream(port)
    finally:
        _end(process)


# ── Redis ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class RedisServer:
    """A server that can be killed, started again on its file, paused, and lose its answers on the way."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._port = free_port()
        self.url_port = free_port()

    def start(self) -> None:
        """On the same port and the same append-only file as before."""
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self._folder, "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        command = ["redis-server", *(str(word) for name, value in options.items() for word in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _wait_until(lambda: _accepts(self._port), self._process, "redis-server")

    def start_cutter(self) -> None:
        words = [sys.executable, "-m", "tests.chaos.cutter", self.url_port, self._port, self._seed]
        self._cutter = subprocess.Popen([str(word) for word in words], cwd=ROOT, stdin=subprocess.PIPE)
        _wait_until(lambda: _accepts(self.url_port), self._cutter, "the proxy before Redis")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def lose(self, share: float) -> None:
        """That share of the answers from now on, each with its connection."""
        assert self._cutter.stdin is not None
        self._cutter.stdin.write(f"{share}\n".encode())
        self._cutter.stdin.flush()

    def end(self) -> None:
        if self._cutter.stdin is not None:
            self._cutter.stdin.close()
        _end(self._cutter)
        _end(self._process)


@contextmanager
def redis_behind_a_cutter(folder: Path, seed: int) -> Iterator[RedisServer]:
    """A Redis that forgets nothing it has acknowledged; clients reach it at `url_port`."""
    server = RedisServer(folder, seed)
    server.start()
    server.start_cutter()
    try:
        yield server
    finally:
        server.end()


# ── the embedded store ───────────────────────────────────────────────────────────────────────────────────────────────


def lock_file(path: Path, seconds: float) -> Process:
    """A process that writes to the file, and takes that long; locked when this returns."""
    process = subprocess.Popen([sys.executable, "-c", LOCK, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    process.stdout.close()
    return process


# ── the gateway ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Gateway:
    """`headgate serve` with two workers, its admin API, and its processes."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {"HEADGATE_ADMIN_KEY": ADMIN_KEY, "PYTHONPATH": str(ROOT)}  # the gateway that these files belong to
        self._env = {**clean, **own, **env}

    def start(self) -> None:
        """On the same port as before."""
        command = [Path(sys.executable).parent / "headgate", "serve", "--port", self.port, "--workers", 2]
        command += ["--routes", self._folder / "routes.yaml", "--pricing", self._folder / "pricing.yaml"]
        words = [str(word) for word in command]
        path = self._folder / "gateway.log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(
                words, env=self._env, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=log
            )
        try:
            _wait_until(lambda: _ready(self.port), self._process, "the gateway")
        except AssertionError as failed:
            _end(self._process)
            raise AssertionError(f"{failed}:\n{path.read_text()[-2000:]}") from None

    async def admin(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """What the admin API answers, parsed. Raises httpx.HTTPError for anything but a success."""
        async with httpx.AsyncClient(timeout=30, headers={"authorization": f"Bearer {ADMIN_KEY}"}) as client:
            url = f"http://127.0.0.1:{self.port}/admin/{path}"
            answer = await client.request(method, url, params=query, json=body)
        answer.raise_for_status()
        return answer.json()

    def workers(self) -> list[int]:
        """The pids of the worker processes, oldest first."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in _command_of(int(pid))]

    def clients(self) -> dict[int, int]:
        """How many connections each worker has with clients, by its pid."""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        port, established = f"{self.port:04X}", "01"
        sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port}") and row[3] == established}
        return {pid: sum(name in sockets for name in _open_files(pid)) for pid in self.workers()}

    def kill_the_busiest_worker(self) -> None:
        """Without a word of warning."""
        clients = self.clients()
        os.kill(max(clients, key=clients.__getitem__), signal.SIGKILL)

    def kill(self) -> None:
        """Every process of it, without a word of warning."""
        workers = self.workers()
        self._process.kill()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        _end(self._process)


def _open_files(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(entry.readlink())


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # gone meanwhile


@contextmanager
def gateway(env: Mapping[str, str], routes: str, pricing: str, folder: Path) -> Iterator[Gateway]:
    """On a free port, with these two files' texts, in `folder`."""
    (folder / "routes.yaml").write_text(routes)
    (folder / "pricing.yaml").write_text(pricing)
    running = Gateway(env, folder)
    running.start()
    try:
        yield running
    finally:
        running.end()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
