"""The admin's desk over both stores, and a terminal to type `headgate` at."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gateway.admin import http
from gateway.cli import main
from gateway.http1 import Connection
from gateway.ledger.opening import open_store
from tests.gateway.caller import KEPT_S, Client, app
from tests.gateway.desk import ADMIN_KEY, Desk, Worker, desk_over
from tests.gateway.terminal import Run
from tests.redis_server import redis_prefix


@pytest.fixture(params=["sqlite", "redis"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """The admin API over an empty store."""
    if request.param == "sqlite":
        with desk_over(open_store(None, str(tmp_path / "ledger.db"), "")) as desk:
            yield desk
        return
    url: str = request.getfixturevalue("redis_url")
    with redis_prefix(url) as prefix, desk_over(open_store(url, "", prefix)) as desk:
        yield desk


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded store, and an environment that names it."""
    path = tmp_path / "ledger.db"
    for name in ("REDIS_URL", "HEADGATE_URL", "HEADGATE_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADGATE_DATA", str(path))
    return path


@pytest.fixture
def running(data: Path) -> Iterator[str]:
    """The URL of a gateway that serves the admin API over the same store."""
    routed = Starlette(routes=http.routes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        store = open_store(None, str(data), "")
        await store.open()
        try:
            await routed({**scope, "state": {"gateway": Worker(store)}}, receive, send)
        finally:
            await store.close()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error", http="httptools"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(params=["store", "url"])
def run(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """One command that must succeed, with `--json`, either way; what it prints."""
    request.getfixturevalue("data")
    if request.param == "url":
        monkeypatch.setenv("HEADGATE_URL", request.getfixturevalue("running"))
        monkeypatch.setenv("HEADGATE_ADMIN_KEY", ADMIN_KEY)

    def command(*words: str) -> dict[str, Any]:
        assert main([*words, "--json"]) == 0, capsys.readouterr().err
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    return command


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a server of our connections listens, whose application answers by the path."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_config=None,
                date_header=False,
                server_header=False,
                timeout_keep_alive=KEPT_S,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    """A caller of it."""
    made = Client(port)
    yield made
    made.socket.close()
