"""TLS to providers: a stranger's certificate is refused, one that is named is believed, a session serves twice."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.proxies import Proxies
from gateway.trust import check_named
from gateway.upstream import Timeouts, Upstream
from tests.certificates import certificate, server_context
from tests.loops import LOOPS, run
from translators.errors import LLMError

PATIENT = Timeouts(5, 5, 5)


class Server:
    """Answers once a connection, a byte at a time; remembers how each connection was agreed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.url = ""
        self.agreed: list[tuple[str | None, str | None, bool]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        self.agreed.append((tls.version(), tls.selected_alpn_protocol(), tls.session_reused))
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok":
            writer.write(bytes((byte,)))
            await writer.drain()
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        """A pool beside it."""
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0, ssl=self.context)
        self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
        pool = Upstream(4, Proxies({}))
        try:
            yield pool
        finally:
            await pool.close()
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0.05)  # asyncio's transports say their last


async def call(server: Server, times: int) -> list[bytes]:
    found = []
    async with server.running() as pool:
        for _ in range(times):
            reply = await pool.send(server.url, {}, b"", PATIENT, lambda _: None)
            found.append(await reply.read(100))
            reply.close()
    return found


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stranger_s_certificate_is_refused(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(LLMError) as caught:
        run(loop, call(Server(server_context()), 1))
    assert caught.value.kind == "connect"


def test_a_certificate_for_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))

    async def misnamed() -> None:
        server = Server(server_context())
        async with server.running() as pool:
            await pool.send(server.url.replace("localhost", "127.0.0.1"), {}, b"", PATIENT, lambda _: None)

    with pytest.raises(LLMError) as caught:
        run("uvloop", misnamed())
    assert caught.value.kind == "connect"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_connection_resumes_the_session_of_the_first(
    loop: str, version: ssl.TLSVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))
    server = Server(server_context())
    server.context.maximum_version = version
    assert run(loop, call(server, 3)) == [b"ok"] * 3
    name = version.name.replace("_", ".")
    assert server.agreed == [(name, "http/1.1", False), (name, "http/1.1", True), (name, "http/1.1", True)]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_has_forgotten_the_session_is_greeted_anew(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))

    async def restarted() -> list[bool]:
        pool, found = Upstream(4, Proxies({})), []
        for _ in range(2):  # each with ticket keys of its own
            server = Server(server_context())
            async with server.running():
                for _ in range(2):
                    reply = await pool.send(server.url, {}, b"", PATIENT, lambda _: None)
                    assert await reply.read(100) == b"ok"
                    reply.close()
            found += [reused for _, _, reused in server.agreed]
        await pool.close()
        return found

    assert run(loop, restarted()) == [False, True, False, True]


def test_a_file_without_a_certificate_is_said_to_be_so(tmp_path: Path) -> None:
    check_named({"SSL_CERT_FILE": str(certificate(tmp_path))})
    check_named({"SSL_CERT_FILE": ""})
    empty, broken = tmp_path / "empty.pem", tmp_path / "broken.pem"
    empty.write_text("")
    broken.write_text("-----BEGIN CERTIFICATE-----\nno base64\n-----END CERTIFICATE-----\n")
    for file, told in (
        (empty, "holds no certificate"),
        (broken, "holds no certificate"),
        (tmp_path / "missing.pem", "cannot be read: No such file"),
    ):
        with pytest.raises(LLMError, match=told) as raised:
            check_named({"SSL_CERT_FILE": str(file)})
        assert raised.value.message.startswith(f"SSL_CERT_FILE is {file}, which ")
