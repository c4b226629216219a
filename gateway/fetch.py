"""HTTP where nothing is hot: the one door to httpx."""

import asyncio
import ipaddress
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from gateway.proxies import DEFAULT_PORTS, Proxies
from gateway.trust import tls_context
from translators.errors import LLMError
from translators.exchange import Media
from translators.media import image_mime

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_REDIRECTS = 3
MAX_URLS = 50  # in one request
COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd"})
MOST_FILES = 4  # of the largest size: all that one request may bring along
AT_ONCE = 8
# Global unicast (RFC 4291, section 2.4) without 6to4 and Teredo, which stand for an IPv4 address that may be private.
_UNICAST = ipaddress.ip_network("2000::/3")
_TRANSLATED = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
# Global by the book, at least for an older Python, and within a cloud its own: metadata of Oracle's older hosts, 6to4
# relays, Azure's host agent (learn.microsoft.com, what-is-ip-address-168-63-129-16).
_INTERNAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))

POST_TIMEOUT_S = 5.0
POSTS = 2  # tries
ADMIN_TIMEOUT_S = 600.0  # a report over a long journal, or an audit of it, takes a while
ADMIN_CONNECT_S = 10.0

logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it writes every URL into the log (0.28, _client.py)


async def admin_call(
    url: str, admin_key: str, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None
) -> Any:
    """What the admin API of the gateway at `url` answers, parsed.

    Raises LLMError: as the gateway refused, or that it cannot be reached or is no Headgate.
    """
    headers = _headers(url, admin_key) | {"content-type": "application/json"}
    try:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        async with _client(url, _patience()) as client:
            response = await client.request(
                method, url.rstrip("/") + path, params=query, content=content, headers=headers
            )
    except UnicodeEncodeError:
        raise LLMError("invalid_request", "what is to be sent holds half a character, or is not UTF-8") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise LLMError("connect", f"no answer from {url}: {error or type(error).__name__}") from error
    answer = _parsed(response.content)
    if isinstance(answer, dict) and response.is_success and "error" not in answer:
        return answer
    raise _refused(url, response.status_code, answer)


async def admin_lines(url: str, admin_key: str, path: str, query: Mapping[str, str]) -> AsyncIterator[list[Any]]:
    """What the admin API of the gateway at `url` streams as JSON Lines, some of them parsed at a time.

    Raises LLMError as `admin_call` does, and when the stream breaks off.
    """
    headers, rest = _headers(url, admin_key), b""
    try:
        async with (
            _client(url, _patience()) as client,
            client.stream("GET", url.rstrip("/") + path, params=query, headers=headers) as response,
        ):
            if not response.is_success:
                raise _refused(url, response.status_code, _parsed(await response.aread()))
            async for piece in response.aiter_bytes():  # not aiter_lines, which also cuts at U+2028
                *lines, rest = (rest + piece).split(b"\n")
                yield [orjson.loads(line) for line in lines]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise LLMError("connect", f"no answer from {url}: {error or type(error).__name__}") from error
    except orjson.JSONDecodeError:
        raise LLMError("bad_upstream", f"{url} does not answer as Headgate does") from None


def _headers(url: str, key: str) -> dict[str, str]:
    """Raises LLMError for what httpx and the socket would not refuse as their own errors."""
    try:
        urlsplit(url).port  # noqa: B018 - raises ValueError
    except ValueError as error:
        raise LLMError("connect", f"{url} is no address: {error}") from None
    return {"authorization": f"Bearer {key}"}


def _patience() -> httpx.Timeout:
    return httpx.Timeout(ADMIN_TIMEOUT_S, connect=ADMIN_CONNECT_S)


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _refused(url: str, status: int, answer: Any) -> LLMError:
    match answer:
        case {"error": {"message": str(message)}}:
            return LLMError("invalid_request", message, status=status)
    return LLMError("bad_upstream", f"{url} answered {status} and not as Headgate does")


def _client(url: str, patience: httpx.Timeout) -> httpx.AsyncClient:
    """For an address of the operator's, through the proxy that leads there: httpx would ask one for loopback too.

    Raises httpx.InvalidURL, LLMError where the environment names a proxy of another kind.
    """
    at = httpx.URL(url)
    port = at.port or DEFAULT_PORTS.get(at.scheme, 0)
    found = Proxies(os.environ).to(at.scheme == "https", at.host, port)
    proxy = None
    if found is not None:
        host = f"[{found.host}]" if ":" in found.host else found.host
        headers = {"proxy-authorization": found.authorization} if found.authorization else {}
        scheme, context = ("https", tls_context()) if found.tls else ("http", None)
        proxy = httpx.Proxy(f"{scheme}://{host}:{found.port}", headers=headers, ssl_context=context)
    return httpx.AsyncClient(timeout=patience, verify=tls_context(), trust_env=False, proxy=proxy)


async def post(url: str, body: bytes) -> str:
    """Post JSON to an address of the operator's, a second time if need be; "" when it was taken, else why it was not.

    Never raises, and does not repeat the URL, which may hold a token.
    """
    why = ""
    for _ in range(POSTS):
        try:
            async with asyncio.timeout(POST_TIMEOUT_S):
                async with _client(url, httpx.Timeout(POST_TIMEOUT_S)) as client:
                    response = await client.post(url, content=body, headers={"content-type": "application/json"})
        # TimeoutError is an OSError; LLMError: a proxy of another kind
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, LLMError) as error:
            why = type(error).__name__
            continue
        if response.is_success:
            return ""
        why = f"status {response.status_code}"
    return why


class Fetcher:
    """Fetches what a caller's URL points to: public addresses alone, bounded in size and time."""

    def __init__(self, allow: Sequence[Network], max_bytes: int, timeout_s: float) -> None:
        self._allow = tuple(allow)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def media(self, urls: Sequence[str]) -> Mapping[str, Media]:
        """What each URL holds, all fetched side by side.

        Raises LLMError("invalid_request") that names the first that fails.
        """
        if len(urls) > MAX_URLS:
            raise LLMError("invalid_request", f"This provider takes at most {MAX_URLS} images by URL in one request")
        places, left = asyncio.Semaphore(AT_ONCE), [MOST_FILES * self._max_bytes]
        found: dict[str, Media] = {}

        async def fetch(url: str) -> None:
            async with places:
                found[url] = await self._fetch(url, left)

        try:
            async with asyncio.TaskGroup() as group:  # the first failure ends the others
                for url in dict.fromkeys(urls):
                    group.create_task(fetch(url))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return found

    async def close(self) -> None:
        """Close what was opened."""
        if self._client is not None:
            await self._client.aclose()

    async def _fetch(self, url: str, left: list[int]) -> Media:
        """`left`: how many bytes all of a request's may still have."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url, left)
        except TimeoutError:
            raise _unfetched(url, f"it took longer than {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise _unfetched(url, str(error) or type(error).__name__) from None

    async def _follow(self, url: str, left: list[int]) -> Media:
        if self._client is None:
            bounds = httpx.Limits(max_keepalive_connections=0)  # an address may stand for several host names
            nothing = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # is kept of one caller's for the next
            self._client = httpx.AsyncClient(
                verify=tls_context(), trust_env=False, limits=bounds, cookies=nothing, timeout=self._timeout_s
            )
        at = httpx.URL(url)
        for _ in range(MAX_REDIRECTS + 1):
            request = await self._pinned(self._client, at, url)
            response = await self._client.send(request, stream=True)
            try:
                if response.is_redirect:
                    at = at.join(response.headers.get("location", ""))
                    continue
                if not response.is_success:
                    raise _unfetched(url, f"it answered {response.status_code}")
                data = await self._bounded(response, url, left)
                stated = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                return Media(image_mime(data) or stated or "application/octet-stream", data)
            finally:
                await response.aclose()
        raise _unfetched(url, f"it redirects more than {MAX_REDIRECTS} times")

    async def _pinned(self, client: httpx.AsyncClient, at: httpx.URL, url: str) -> httpx.Request:
        """A request to the very address that was checked, whatever the name resolves to a moment later."""
        if at.scheme not in ("http", "https") or not at.host:
            raise _unfetched(url, "it is no http(s) URL")
        port = at.port or (443 if at.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(at.host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        if not addresses or not all(self._may_reach(address) for address in addresses):
            raise _unfetched(url, "its address is not public")
        return client.build_request(
            "GET",
            at.copy_with(host=str(addresses[0])),
            headers={"host": at.netloc.decode("ascii"), "accept-encoding": "identity"},
            extensions={"sni_hostname": at.host},
        )

    def _may_reach(self, address: Address) -> bool:
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if any(address in network for network in self._allow):
            return True
        if isinstance(address, ipaddress.IPv6Address) and (
            address not in _UNICAST or any(address in network for network in _TRANSLATED)
        ):
            return False
        if any(address in network for network in _INTERNAL):
            return False
        return address.is_global and not address.is_multicast

    async def _bounded(self, response: httpx.Response, url: str, left: list[int]) -> bytes:
        codings = {coding.strip().lower() for coding in response.headers.get("content-encoding", "").split(",")}
        if codings & COMPRESSED:
            # a few bytes may become billions
            raise _unfetched(url, "it is compressed, although it was asked not to be")
        data = bytearray()
        async for piece in response.aiter_raw():
            data += piece
            left[0] -= len(piece)
            if len(data) > self._max_bytes:
                raise _unfetched(url, f"it is larger than {self._max_bytes} bytes")
            if left[0] < 0:
                most = MOST_FILES * self._max_bytes
                raise _unfetched(url, f"the request's files are larger than {most} bytes together")
        return bytes(data)


def _unfetched(url: str, why: str) -> LLMError:
    try:
        parts = urlsplit(url)
    except ValueError:
        return LLMError("invalid_request", f"what is to be fetched is no URL: {why}", code="invalid_image_url")
    # a user, a password, a signed query stay with the caller
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
    return LLMError("invalid_request", f"`{shown}` could not be fetched: {why}", code="invalid_image_url")
