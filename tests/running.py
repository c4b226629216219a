"""A gateway that runs, for tests that are clients of it: in a thread, or as the process that `headgate serve` is."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from gateway.app import create_app
from gateway.config import load
from gateway.http1 import Connection
from gateway.ledger.opening import store_of

ADMIN_KEY = "admin-key-of-the-tests"


@dataclass(frozen=True)
class Running:
    """Where it listens, and what an admin and a client do there."""

    url: str

    def admin(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """What the admin API answers, parsed; anything but a success fails the test."""
        answer = httpx.request(
            method,
            f"{self.url}/admin/{path}",
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
            params=query,
            json=body,
            timeout=30,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def new_key(self, **fields: object) -> str:
        """A virtual key's token."""
        token: str = self.admin("POST", "keys", fields)["key"]
        return token

    def chat(self, key: str | None, body: object, **headers: str) -> httpx.Response:
        """POST /v1/chat/completions; `body` as JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if key is not None:
            headers.setdefault("authorization", f"Bearer {key}")
        return httpx.post(f"{self.url}/v1/chat/completions", content=content, headers=headers, timeout=30)

    def entries(self, **query: str) -> list[dict[str, Any]]:
        """The journal, newest first."""
        found: list[dict[str, Any]] = self.admin("GET", "usage", **query)["entries"]
        return found

    def entry(self) -> dict[str, Any]:
        """The one entry of the journal, waited for; and nothing is held any more."""
        end = time.monotonic() + 5
        while not (entries := self.entries()) and time.monotonic() < end:
            time.sleep(0.01)
        (entry,) = entries
        assert self.admin("GET", "usage")["held_usd"] == "0"
        return entry


@contextmanager
def in_thread(routes: Path | None, env: Mapping[str, str], pricing: Path | None = None) -> Iterator[Running]:
    """One worker in this process. `env` says where the store is, and holds what the configuration refers to."""
    config = load(routes, pricing, None, env)
    os.environ["HEADGATE_ADMIN_KEY"] = ADMIN_KEY
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(config, store_of(dict(env))),
                log_config=None,
                access_log=False,
                http=Connection,
                ws="none",
                loop="uvloop",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            _wait_until_started(lambda: server.started, thread.is_alive)
            yield Running(f"http://127.0.0.1:{port}")
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def configured(routes: str, pricing: str, env: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """One worker in this process with these two files' texts, written to `folder`."""
    paths = folder / "routes.yaml", folder / "pricing.yaml"
    for path, text in zip(paths, (routes, pricing), strict=True):
        path.write_text(text)
    with in_thread(paths[0], env, paths[1]) as running:
        yield running


@contextmanager
def as_process(arguments: list[str], env: Mapping[str, str]) -> Iterator[Running]:
    """`headgate serve` with these arguments, on a free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "headgate"), "serve", "--port", str(port), *arguments]
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = subprocess.Popen(
        command, env={**clean, "HEADGATE_ADMIN_KEY": ADMIN_KEY, **env}, stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_started(lambda: _ready(url), lambda: process.poll() is None)
        yield Running(url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _wait_until_started(started: Any, alive: Any) -> None:
    end = time.monotonic() + 30
    while not started():
        assert alive(), "the gateway stopped before it had started"
        assert time.monotonic() < end, "the gateway did not start"
        time.sleep(0.02)
