"""The mock upstream, and nginx and Headgate before it, each as one worker on the core that is measured."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import answers
from bench.answers import Dialect
from bench.build import built
from bench.load import Work
from bench.processes import OTHER_CORE, WORKER_CORE, free_port, listens, running

PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parent.parent
PACE_MS = 20
ADMIN_KEY = "sk-hg-admin-of-the-bench"
PROVIDER_KEY = "sk-of-the-mock-upstream"

LIMITS = {"rpm_limit": 100_000_000, "tpm_limit": 1_000_000_000_000, "max_parallel_requests": 100_000}
CAP = {"max_budget": "1000000", "budget_duration": "1mo"}


@dataclass(frozen=True)
class Upstream:
    """Where the mock upstream listens, and the folder of its answers."""

    port: int
    pid: int
    folder: Path

    def pace(self, ms: int = PACE_MS, events: int = answers.EVENTS, in_step: bool = False) -> None:
        """Of the streams that begin from now on; 0 is as fast as may be. In step: all are due at the same moments."""
        answers.write(self.folder, events)
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/control/{ms}/{in_step:d}", timeout=10).read()


@dataclass(frozen=True)
class Gateway:
    """One that runs, with one worker: where, as whom it is called, and which process tree is measured."""

    name: str
    version: str
    port: int
    pid: int
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/v1/chat/completions"
    native: bool = False  # passes a provider's own shape on, and translates nothing
    models: dict[Dialect, str] = field(default_factory=lambda: dict(answers.MODELS))
    store: int | None = None  # the process id of a store whose CPU is told beside
    note: str = ""

    def work(self, dialect: Dialect, streamed: bool, **how: Any) -> Work:
        """The bench's request to this gateway; `how` are the other fields of Work."""
        path, body = answers.native(dialect, streamed)
        if not self.native:
            path, body = self.path, answers.chat(self.models[dialect], streamed)
        mark = answers.end_mark(dialect if self.native else "openai", streamed)
        request = answers.http(path, body, self.headers)
        return Work(request, mark, answers.FIRST, least=len(answers.TEXT), **how)


@contextmanager
def upstream(folder: Path, port: int) -> Iterator[Upstream]:
    """The mock upstream, paced."""
    (answered := folder / "answers").mkdir()
    answers.write(answered)
    command = [str(built("upstream")), str(port), str(answered)]
    with running(command, OTHER_CORE, folder / "upstream.log", lambda: listens(port)) as pid:
        there = Upstream(port, pid, answered)
        there.pace()
        yield there


def nginx_program() -> Path | None:
    """The one that `scripts/bench peers` unpacked, or the system's."""
    unpacked, system = PEERS / "nginx" / "usr" / "sbin" / "nginx", shutil.which("nginx")
    return unpacked if unpacked.exists() else Path(system) if system else None


NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  keepalive_requests 100000000;
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""  # as nginx.org recommends for keep-alive upstreams (ngx_http_upstream_module) and streams (ngx_http_proxy_module)


@contextmanager
def nginx(there: Upstream, folder: Path, program: Path) -> Iterator[Gateway]:
    """`proxy_pass` and no more: what the least costs, and what machine this is."""
    port, config = free_port(), folder / "nginx.conf"
    files = os.sysconf("SC_OPEN_MAX")
    config.write_text(
        NGINX.format(folder=folder, port=port, upstream=there.port, files=files, connections=min(files, 16384) - 16)
    )
    command = [str(program), "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.err")]
    version = subprocess.run([str(program), "-v"], capture_output=True, text=True, check=True).stderr.partition("/")[2]
    with running(command, WORKER_CORE, folder / "nginx.log", lambda: listens(port)) as pid:
        yield Gateway("nginx", version.strip(), port, pid, native=True)


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, int]]:
    """URL and process id of a Redis of our own, with its append-only file as its documentation recommends."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise FileNotFoundError("the bench needs redis-server (Debian: apt-get install redis-server)")
    port = free_port()
    kept = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *kept]
    with running(command, OTHER_CORE, folder / "redis.log", lambda: listens(port)) as pid:
        yield f"redis://127.0.0.1:{port}/0", pid


@dataclass(frozen=True)
class Headgate:
    """How ours is started: its files, its store and its key, so that it can be started again."""

    port: int
    command: list[str]
    env: dict[str, str]
    log: Path

    def listens(self) -> bool:
        """Whether it accepts connections."""
        return listens(self.port)

    def ready(self) -> bool:
        """Whether it answers its health check."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def admin(self, path: str, body: dict[str, Any]) -> Any:
        """What the admin API answers. Raises HTTPError."""
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/admin/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def new_key(self) -> tuple[str, str]:
        """A key of a team, both with a cap and with rate limits; and a word where this version knows no rate limits."""
        for limits, note in ((LIMITS, ""), ({}, "this version knows no rate limits: keys and caps only")):
            try:
                team = self.admin("teams", {**CAP, **limits})["id"]
                return self.admin("keys", {"team_id": team, **CAP, **limits})["key"], note
            except urllib.error.HTTPError as error:
                if error.code != 422:
                    raise
        raise AssertionError("a key with a cap is always understood")


def headgate_files(there: Upstream, folder: Path) -> list[str]:
    """The arguments that name the bench's own routes and prices."""
    host = f"http://127.0.0.1:{there.port}"
    urls: dict[Dialect, str] = {"openai": f"{host}/v1", "anthropic": host, "gemini": host}
    providers = {d: {"dialect": d, "base_url": url, "api_key": PROVIDER_KEY} for d, url in urls.items()}
    routes = {model: f"{dialect}/{model}" for dialect, model in answers.MODELS.items()}
    rates = {"input": 0.4, "cache_read": 0.1, "cache_write": 0.5, "cache_write_1h": 0.8, "output": 1.6}
    routes_file, pricing_file = folder / "routes.yaml", folder / "pricing.yaml"
    written = {"max_connections": 10_000, "providers": providers, "routes": routes}
    routes_file.write_text(json.dumps(written))  # JSON is YAML
    pricing_file.write_text(json.dumps({"unpriced": "refuse", "models": dict.fromkeys(answers.MODELS.values(), rates)}))
    return ["--routes", str(routes_file), "--pricing", str(pricing_file)]


def headgate_as(there: Upstream, folder: Path, redis_url: str | None) -> Headgate:
    """Ours on a free port with Redis, or with the embedded store in `folder`."""
    port = free_port()
    program = Path(sys.executable).parent / "headgate"
    command = [str(program), "serve", "--port", str(port), "--workers", "1", *headgate_files(there, folder)]
    env = {"HEADGATE_ADMIN_KEY": ADMIN_KEY, "REDIS_URL": redis_url or "", "HEADGATE_DATA": str(folder / f"{port}.db")}
    return Headgate(port, command, env, folder / f"headgate-{port}.log")


@contextmanager
def headgate(
    there: Upstream, folder: Path, redis: tuple[str, int] | None, under: Sequence[str] = ()
) -> Iterator[Gateway]:
    """Ours, with a key, caps, rates and the ledger on: in Redis, or in the embedded store. `under`: a program that
    runs it, with its own arguments."""
    ours = headgate_as(there, folder, redis[0] if redis else None)
    version = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    with running([*under, *ours.command], WORKER_CORE, ours.log, ours.ready, ours.env) as pid:
        key, note = ours.new_key()
        headers = {"authorization": f"Bearer {key}"}
        store = redis[1] if redis else None
        yield Gateway("headgate", version.stdout.strip() or "?", ours.port, pid, headers, store=store, note=note)
