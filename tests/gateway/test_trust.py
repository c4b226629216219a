"""TLS to providers: a certificate that nobody vouches for is refused, one that is named is believed."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.upstream import Timeouts, Upstream
from translators.errors import LLMError


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    for piece in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".split(b" "):
        writer.write(piece if piece.endswith(b"ok") else piece + b" ")
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def call(folder: Path) -> bytes:
    """What a TLS server with a certificate of its own making answers."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, made.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(made, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    async def once() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        pool = Upstream()
        try:
            url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
            reply = await pool.send(url, {}, b"", Timeouts(5, 5, 5), lambda: None)
            body = await reply.read(100)
            reply.close()
            return body
        finally:
            await pool.close()
            server.close()
            await server.wait_closed()

    return asyncio.run(once())


def test_a_stranger_s_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(LLMError) as caught:
        call(tmp_path)
    assert caught.value.kind == "connect"


def test_the_operator_may_name_whom_to_believe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    assert call(tmp_path) == b"ok"
