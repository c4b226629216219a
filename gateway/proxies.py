"""Which HTTP proxy leads to a provider: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

They are read as Go's net/http reads them (pkg.go.dev/golang.org/x/net/http/httpproxy, read 2026-11), which has no
ALL_PROXY; that is curl's.
"""

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from translators.errors import LLMError

DEFAULT_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """Where it listens, whether behind TLS, and the value of `proxy-authorization`, "" for none."""

    tls: bool
    host: str
    port: int
    authorization: str


class Proxies:
    """What the environment says."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Raises LLMError for a proxy that cannot be used, without its password."""
        self._http, self._https = _proxy(env, "HTTP_PROXY"), _proxy(env, "HTTPS_PROXY")
        self._direct = [word.strip().lower() for word in _value(env, "NO_PROXY").split(",") if word.strip()]

    def to(self, tls: bool, host: str, port: int) -> Proxy | None:
        """The proxy for this host; None where it is reached directly, as every loopback address is."""
        proxy = self._https if tls else self._http
        if proxy is None or host == "localhost":
            return None
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is not None and address.is_loopback:
            return None
        return None if any(_matches(word, host, port, address) for word in self._direct) else proxy


def _matches(word: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Whether a word of NO_PROXY means this host: `*`, an address, a network, a domain, `.its.subdomains`; `:port`."""
    if word == "*":
        return True
    name, colon, wanted = word.rpartition(":")
    if colon and wanted.isdigit() and (":" not in name or name.startswith("[")):
        if int(wanted) != port:
            return False
        word = name
    if "/" in word:
        try:
            return address is not None and address in ipaddress.ip_network(word, strict=False)
        except ValueError:
            return False
    word = word[1:] if word.startswith("*.") else word.strip("[]")
    if address is not None:
        return word == str(address)
    return host.endswith(word if word.startswith(".") else f".{word}") or host == word


def _value(env: Mapping[str, str], name: str) -> str:
    return env.get(name.lower()) or env.get(name) or ""


def _proxy(env: Mapping[str, str], name: str) -> Proxy | None:
    name = name if _value(env, name) else "ALL_PROXY"
    if not (url := _value(env, name)):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:  # of brackets, which are an IPv6 address's; it would repeat the password
        why = "write [ and ] in a user or password as %5B and %5D"
        raise LLMError("invalid_request", f"{name} is no address of a proxy: {why}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise LLMError(
            "invalid_request", f"{name} is a {parts.scheme}:// proxy; only http:// and https:// are understood"
        )
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except ValueError:
        port = 0
    if not parts.hostname or not port:
        raise LLMError("invalid_request", f"{name} does not say where the proxy is, as http://host:port does")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(pair.encode()).decode()}"
    return Proxy(parts.scheme == "https", parts.hostname, port, authorization)
