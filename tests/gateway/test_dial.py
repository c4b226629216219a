"""How a connection is made: past addresses that are dead, and through a proxy."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.proxies import Proxies
from gateway.upstream import Timeouts, Upstream
from tests.certificates import certificate, server_context
from tests.loops import LOOPS, run
from tests.proxy import Proxy
from translators.errors import LLMError

BRISK = Timeouts(connect_s=2, first_byte_s=2, idle_s=2)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nthe provider"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


@asynccontextmanager
async def provider(tls: bool = False) -> AsyncIterator[int]:
    """The port of one that answers."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=server_context() if tls else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.05)  # it sees the end of its connections
        await server.wait_closed()


@asynccontextmanager
async def pool(**env: str) -> AsyncIterator[Upstream]:
    made = Upstream(4, Proxies(env))
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def behind(proxy: Proxy, url: str) -> AsyncIterator[Upstream]:
    """A pool whose HTTPS_PROXY is at `url`, which leaves out the port."""
    async with proxy.running(), pool(HTTPS_PROXY=f"{url}:{proxy.port}") as upstream:
        yield upstream


async def told(pool: Upstream, url: str) -> bytes:
    """The whole answer."""
    reply = await pool.send(url, {}, b"{}", BRISK, lambda _: None)
    try:
        return await reply.read(1000)
    finally:
        reply.close()


def resolve_to(*addresses: str) -> None:
    """To the running loop, every name has these addresses."""

    async def found(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        known = addresses if host.endswith(".test") else (host,)  # uvloop's sock_connect looks addresses up, too
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known]

    asyncio.get_running_loop().getaddrinfo = found  # type: ignore[method-assign, assignment]


@contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """The kernel answers no more SYN there: nobody accepts, and the queue is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind((address, port))
        listening.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex((address, port))
        yield


@pytest.mark.parametrize("loop", LOOPS)
def test_an_address_that_never_answers_is_passed_over(loop: str) -> None:
    async def reached() -> bytes:
        async with provider() as port, pool() as upstream:
            with black_hole("127.0.0.2", port):
                resolve_to("127.0.0.2", "127.0.0.1")
                return await told(upstream, f"http://provider.test:{port}/")

    assert run(loop, reached()) == b"the provider"


@pytest.mark.parametrize("loop", LOOPS)
def test_an_address_that_refuses_is_passed_over(loop: str) -> None:
    async def reached() -> bytes:
        async with provider() as port, pool() as upstream:
            resolve_to("127.0.0.2", "127.0.0.3", "127.0.0.1")
            return await told(upstream, f"http://provider.test:{port}/")

    assert run(loop, reached()) == b"the provider"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("addresses", [(), ("127.0.0.2",), ("127.0.0.2", "127.0.0.3")])
def test_no_address_at_all_is_said_so(addresses: tuple[str, ...], loop: str) -> None:
    async def nowhere() -> bytes:
        async with provider() as port, pool() as upstream:
            resolve_to(*addresses)
            return await told(upstream, f"http://provider.test:{port}/")

    with pytest.raises(LLMError) as caught:
        run(loop, nowhere())
    assert caught.value.kind == "connect"


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_but_black_holes_ends_in_time(loop: str) -> None:
    async def nowhere() -> None:
        async with provider() as port, pool() as upstream:
            with black_hole("127.0.0.2", port), black_hole("127.0.0.3", port):
                resolve_to("127.0.0.2", "127.0.0.3")
                hurried = BRISK._replace(connect_s=0.4)
                await upstream.send(f"http://provider.test:{port}/", {}, b"", hurried, lambda _: None)

    with pytest.raises(LLMError) as caught:
        run(loop, nowhere())
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize("name", ["http://no..name/", f"http://{'a' * 70}.test/", "http://no-such-host.invalid/"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_name_that_is_none_is_said_so(loop: str, name: str) -> None:
    async def nowhere() -> bytes:
        async with pool() as upstream:
            return await told(upstream, name)

    with pytest.raises(LLMError) as caught:
        run(loop, nowhere())
    assert caught.value.kind == "connect"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("loop", LOOPS)
def test_tls_goes_through_a_proxy_s_tunnel(
    loop: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))

    async def tunnelled() -> tuple[list[bytes], list[bytes]]:
        async with provider(tls=True) as port:
            proxy = Proxy(port, context=server_context() if scheme == "https" else None)
            async with behind(proxy, f"{scheme}://us:p%40ss@localhost") as upstream:
                return [await told(upstream, "https://provider.test/v1") for _ in range(3)], proxy.heads

    answers, heads = run(loop, tunnelled())
    assert answers == [b"the provider"] * 3
    assert heads == [  # one tunnel, used three times
        b"CONNECT provider.test:443 HTTP/1.1\r\nhost: provider.test:443\r\n"
        b"proxy-authorization: Basic dXM6cEBzcw==\r\n\r\n"
    ]


@pytest.mark.parametrize("loop", LOOPS)
def test_without_tls_the_proxy_is_asked_for_the_whole_url(loop: str) -> None:
    async def asked() -> tuple[bytes, bytes]:
        async with Proxy(0).running() as proxy, pool(http_proxy=f"http://us:x@127.0.0.1:{proxy.port}") as upstream:
            return await told(upstream, "http://provider.test:8000/v1?x=1"), proxy.heads[0]

    answer, head = run(loop, asked())
    assert answer == b"its proxy"
    assert head.startswith(b"POST http://provider.test:8000/v1?x=1 HTTP/1.1\r\nhost: provider.test:8000\r\n")
    assert b"\r\nproxy-authorization: Basic dXM6eA==\r\n" in head


@pytest.mark.parametrize("loop", LOOPS)
def test_the_providers_key_and_the_proxys_password_go_to_their_own_alone(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ANSWER)
        writer.close()

    async def tunnelled() -> list[bytes]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context())
        proxy = Proxy(server.sockets[0].getsockname()[1])
        async with behind(proxy, "us:pass@127.0.0.1") as upstream:
            reply = await upstream.send("https://provider.test/", {"authorization": "k"}, b"", BRISK, lambda _: None)
            await reply.read(100)
            reply.close()
        server.close()
        await server.wait_closed()
        return proxy.heads

    (head,) = run(loop, tunnelled())
    assert b"\r\nauthorization" not in head
    assert b"\r\nauthorization: k\r\n" in seen[0] and b"proxy" not in seen[0]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "refusal",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 503 No\r\n", b"", b"no HTTP", b"x" * 20_000],
)
def test_a_proxy_that_does_not_lead_there_is_named(refusal: bytes, loop: str) -> None:
    async def refused() -> bytes:
        async with behind(Proxy(0, refusal), "http://us:secret@localhost") as upstream:
            return await told(upstream, "https://provider.test/")

    with pytest.raises(LLMError) as caught:
        run(loop, refused())
    assert caught.value.kind == "connect"
    assert "secret" not in caught.value.message
    if refusal.startswith(b"HTTP/1.1 407"):
        assert caught.value.message == (
            "The proxy localhost does not lead to provider.test: HTTP/1.1 407 Proxy Authentication Required"
        )


@pytest.mark.parametrize("loop", LOOPS)
def test_a_proxy_that_says_nothing_is_waited_for_no_longer_than_a_connection(loop: str) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def silent() -> None:
        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with pool(HTTPS_PROXY=f"http://127.0.0.1:{port}") as upstream:
                await upstream.send("https://provider.test/", {}, b"", BRISK._replace(connect_s=0.2), lambda _: None)
        finally:
            server.close()
            await asyncio.sleep(0.05)  # it sees the end of its connection

    with pytest.raises(LLMError) as caught:
        run(loop, silent())
    assert caught.value.kind == "timeout"
