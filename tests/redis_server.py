"""Redis servers for tests: the one at REDIS_URL, or one of our own on a free port; a cluster, and one with a sentinel.

Where there is neither, what asks for it fails: nothing is skipped.
"""

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

SLOTS = 16384
DEADLINE_S = 15.0


@dataclass
class Server:
    """A server of our own, on a port and in a folder that outlive its process."""

    folder: str
    options: Sequence[str] = ()
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.port = self.port or free_port()
        command = ["redis-server", *self.options, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(self._answers)

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def do(self, *command: str | int) -> Any:
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "redis-server did not start"
        try:
            return bool(self.do("PING"))
        except redis.ConnectionError:
            return False


@contextmanager
def own_server(*options: str) -> Iterator[Server]:
    """A server that keeps nothing on disk unless `options` say so."""
    with tempfile.TemporaryDirectory() as folder:
        quick = ("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
        server = Server(folder, options if "--sentinel" in options else (*quick, *options))
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a running server. One of our own is ended afterwards; REDIS_URL's is left as it is."""
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    with own_server() as server:
        yield server.url


@contextmanager
def redis_cluster() -> Iterator[Sequence[Server]]:
    """Three masters of our own, with a third of the slots each."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(own_server(*_of_cluster())) for _ in range(3)]
        for at, node in enumerate(nodes):
            node.do("CLUSTER", "ADDSLOTSRANGE", SLOTS * at // 3, SLOTS * (at + 1) // 3 - 1)
            bus = nodes[0].options[nodes[0].options.index("--cluster-port") + 1]
            node.do("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
        until(lambda: all(_at_one(node) for node in nodes))
        yield nodes


def cluster_url(nodes: Sequence[Server]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


@contextmanager
def redis_sentinel() -> Iterator[tuple[str, Server, Server]]:
    """A master and its replica, watched by one sentinel: its URL, and the two."""
    with own_server() as master, own_server("--replicaof", f"127.0.0.1 {master.port}") as replica:
        until(lambda: caught_up(master, replica))
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "sentinel.conf"
            config.write_text(
                f"sentinel monitor ledger 127.0.0.1 {master.port} 1\n"
                "sentinel down-after-milliseconds ledger 300\nsentinel failover-timeout ledger 2000\n"
            )
            with own_server(str(config), "--sentinel") as sentinel:
                until(lambda: len(sentinel.do("SENTINEL", "REPLICAS", "ledger")) == 1)
                yield f"redis+sentinel://127.0.0.1:{sentinel.port}/ledger", master, replica


def caught_up(master: Server, replica: Server) -> bool:
    """Whether the replica has all that the master has."""
    about = replica.do("INFO", "replication")
    there: int = master.do("INFO", "replication")["master_repl_offset"]
    return bool(about.get("master_link_status") == "up" and about["slave_repl_offset"] == there)


@contextmanager
def redis_prefix(url: str) -> Iterator[str]:
    """A prefix that nobody else has; what was kept under it (or under `<prefix>:…`) is deleted afterwards."""
    prefix = f"headgate-test-{secrets.token_hex(6)}"
    try:
        yield prefix
    finally:
        scheme, _, hosts = url.partition("://")
        for one in [f"redis://{host}" for host in hosts.split(",")] if scheme == "redis+cluster" else [url]:
            with redis.Redis.from_url(one) as client:
                for key in client.scan_iter(match=f"{{{prefix}:*", count=1000):
                    client.delete(key)


def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _of_cluster() -> Sequence[str]:
    return ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-port", str(free_port()))


def _at_one(node: Server) -> bool:
    about = node.do("CLUSTER", "INFO")
    text = about if isinstance(about, str) else "\n".join(f"{name}:{value}" for name, value in about.items())
    return "cluster_state:ok" in text and "cluster_known_nodes:3" in text
