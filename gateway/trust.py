"""TLS to others: whose certificates are believed, and how a second connection spares the handshake.

Believed are the system's certificates where SSL_CERT_FILE or SSL_CERT_DIR names them, else certifi's.
"""

import os
import ssl
from collections.abc import Mapping

import certifi

from translators.errors import LLMError


class Resuming(ssl.SSLContext):
    """A client's context that gives a new connection the session of the last one to the same host.

    asyncio and uvloop take no session; both come to `wrap_bio` (sslproto.py of 3.11, uvloop 0.23's sslproto.pyx).
    A session that the server does not know is passed over, and the handshake is a whole one.
    """

    def __init__(self, protocol: int) -> None:
        super().__init__()
        self._sessions: dict[str, ssl.SSLSession] = {}

    def remember(self, host: str, tls: ssl.SSLObject) -> None:
        """Keep the session of a whole handshake; with TLS 1.3 there is one only once the server has spoken."""
        if not tls.session_reused and (session := tls.session) is not None and session.has_ticket:  # read once: a copy
            self._sessions[host] = session

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As ssl.SSLContext's, with the host's session."""
        if session is None and isinstance(server_hostname, str):
            session = self._sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def tls_context() -> Resuming:
    """Verifies certificate and host name; offers HTTP/1.1 alone."""
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    if named:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_named(env: Mapping[str, str]) -> None:
    """Raises LLMError where SSL_CERT_FILE names no certificate: OpenSSL passes over it, and nobody is believed then."""
    if file := env.get("SSL_CERT_FILE"):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
        except ssl.SSLError:
            raise LLMError("unavailable", f"SSL_CERT_FILE is {file}, which holds no certificate") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise LLMError("unavailable", f"SSL_CERT_FILE is {file}, which cannot be read: {why}") from None
