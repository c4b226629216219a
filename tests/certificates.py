"""A certificate of our own making for `localhost`, and the servers' contexts that show it."""

import datetime
import ssl
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@cache
def _made() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.DNSName("provider.test")]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signed.public_bytes(Encoding.PEM), secret


def certificate(folder: Path) -> Path:
    """Where it stands, for SSL_CERT_FILE; it is good for `localhost` and `provider.test`."""
    path = folder / "certificate.pem"
    path.write_bytes(_made()[0])
    return path


def server_context() -> ssl.SSLContext:
    """A server's, of whichever TLS the client likes best."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        for name, content in zip(("certificate.pem", "key.pem"), _made(), strict=True):
            (Path(folder) / name).write_bytes(content)
        context.load_cert_chain(Path(folder) / "certificate.pem", Path(folder) / "key.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
