"""Whose certificates are believed: the system's where SSL_CERT_FILE or SSL_CERT_DIR names them, else certifi's."""

import os
import ssl

import certifi


def tls_context() -> ssl.SSLContext:
    """Verifies certificate and host name; offers HTTP/1.1 alone."""
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    context = ssl.create_default_context(cafile=None if named else certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context
