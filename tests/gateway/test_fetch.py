"""Control calls, and what is fetched on a caller's behalf: what goes out, and what each kind of answer becomes."""

import asyncio
import gzip
import ipaddress
import logging
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import pytest
from pytest_httpx import HTTPXMock, IteratorStream

from gateway import fetch
from gateway.fetch import MAX_URLS, MOST_FILES, Fetcher, Network, admin_call, admin_lines, post
from tests.replay import JSON, SILENCE, Reply, Upstream, refused_url
from translators.errors import LLMError
from translators.exchange import Media

URL = "https://gateway.example"


def call(method: str = "GET", query: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> Any:
    return asyncio.run(admin_call(f"{URL}/", "admin-key", method, "/admin/keys", query or {}, body))


def test_an_admin_call_carries_key_query_and_body(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=201, json={"id": "key_1"})
    assert call("POST", {"limit": "1"}, {"max_budget": "0.1"}) == {"id": "key_1"}
    (request,) = httpx_mock.get_requests()
    assert (request.method, str(request.url)) == ("POST", f"{URL}/admin/keys?limit=1")
    assert request.headers["authorization"] == "Bearer admin-key"
    assert orjson.loads(request.content) == {"max_budget": "0.1"}


def test_a_refusal_keeps_its_status_and_message(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=422, json={"error": {"message": "`a` is not known", "type": "t", "code": None}})
    with pytest.raises(LLMError) as refused:
        call()
    assert (refused.value.status, refused.value.message) == (422, "`a` is not known")


def lines(url: str = f"{URL}/") -> list[Any]:
    async def read() -> list[Any]:
        found = admin_lines(url, "admin-key", "/admin/usage/export", {"format": "jsonl"})
        return [line async for some in found for line in some]

    return asyncio.run(read())


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_streamed_lines_are_the_same_however_they_are_cut(httpx_mock: HTTPXMock, size: int) -> None:
    body = '{"a": 1}\n{"b": "\u2028ü"}\n'.encode()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    httpx_mock.add_response(stream=IteratorStream(pieces))
    assert lines() == [{"a": 1}, {"b": "\u2028ü"}]
    (request,) = httpx_mock.get_requests()
    assert str(request.url) == f"{URL}/admin/usage/export?format=jsonl"
    assert request.headers["authorization"] == "Bearer admin-key"


def test_a_stream_that_is_refused_or_breaks_off_is_an_error(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=503, json={"error": {"message": "try again"}})
    with pytest.raises(LLMError, match="try again") as refused:
        lines()
    assert refused.value.status == 503
    httpx_mock.add_exception(httpx.RemoteProtocolError("peer closed connection"))
    with pytest.raises(LLMError, match="peer closed connection"):
        lines()
    httpx_mock.add_response(content=b"<html>\n")
    with pytest.raises(LLMError, match="not answer as Headgate"):
        lines()


@pytest.mark.parametrize(
    ("status", "content"), [(200, b"<html>"), (200, b""), (200, b"[]"), (302, b"{}"), (500, b"{}"), (404, b"Not Found")]
)
def test_what_is_no_headgate_is_said_to_be_none(httpx_mock: HTTPXMock, status: int, content: bytes) -> None:
    httpx_mock.add_response(status_code=status, content=content)
    with pytest.raises(LLMError, match=f"{URL}/ answered {status} and not as Headgate does"):
        call()


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("x")]
)
def test_silence_names_the_url_and_never_the_key(httpx_mock: HTTPXMock, error: Exception) -> None:
    httpx_mock.add_exception(error)
    with pytest.raises(LLMError, match="no answer from") as refused:
        call()
    assert refused.value.kind == "connect"
    assert URL in refused.value.message
    assert "admin-key" not in refused.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1"])
def test_an_address_that_cannot_be_is_an_error_like_any(url: str) -> None:
    with pytest.raises(LLMError, match="is no address"):
        asyncio.run(admin_call(url, "admin-key", "GET", "/admin/keys", {}, None))
    with pytest.raises(LLMError, match="is no address"):
        lines(url)


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def fetched(url: str, *, allow: Sequence[Network] = LOOPBACK, max_bytes: int = 1000, timeout_s: float = 5) -> Media:
    async def once() -> Media:
        fetcher = Fetcher(allow, max_bytes, timeout_s)
        try:
            return (await fetcher.media([url]))[url]
        finally:
            await fetcher.close()

    return asyncio.run(once())


def unfetched(url: str, **bounds: Any) -> str:
    with pytest.raises(LLMError) as caught:
        fetched(url, **bounds)
    assert caught.value.status == 400
    return caught.value.message


def test_an_image_is_fetched_and_its_type_read_from_its_bytes(upstream: Upstream) -> None:
    upstream.answer(Reply(200, {"content-type": "text/plain"}, (PNG,)))
    assert fetched(f"{upstream.url}/a.png") == Media("image/png", PNG)
    assert upstream.requests[0].headers["host"] == upstream.url.removeprefix("http://")
    upstream.answer(Reply(200, {"content-type": "application/pdf; x=y"}, (b"%PDF-1.7",)))
    assert fetched(f"{upstream.url}/a.pdf").mime == "application/pdf"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0:1/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::a00:1]/",
        "http://[fd00::1]/",
        "http://[fec0::1]/",
        "http://[::10.0.0.1]/",
        "http://[2002:a00:1::]/",
        "http://2130706433/",
        "http://168.63.129.16/metadata",
        "http://192.0.0.192/latest",
        "http://[::ffff:168.63.129.16]/",
    ],
)
def test_an_address_that_is_not_public_is_never_reached(url: str) -> None:
    assert "not public" in unfetched(url, allow=())


def test_a_redirect_is_checked_like_any_address(upstream: Upstream) -> None:
    upstream.answer(Reply(302, {"location": "http://10.0.0.1/secret"}))
    assert "not public" in unfetched(f"{upstream.url}/a.png")
    upstream.answer(Reply(302, {"location": "/b.png"}), Reply(200, {}, (PNG,)))
    assert fetched(f"{upstream.url}/a.png").data == PNG
    upstream.answer(Reply(302, {"location": "file:///etc/passwd"}))
    assert "no http(s) URL" in unfetched(f"{upstream.url}/a.png")
    upstream.handler = lambda _: Reply(302, {"location": "/again"})
    assert "redirects more than" in unfetched(f"{upstream.url}/a.png")


def test_size_and_time_are_bounded_and_failures_are_told(upstream: Upstream) -> None:
    upstream.answer(Reply(200, {}, (b"x" * 1001,)), SILENCE, Reply(404), Reply(200, JSON, (b"12",)).cut(1))
    assert "larger than 1000" in unfetched(upstream.url)
    assert "took longer" in unfetched(upstream.url, timeout_s=0.2)
    assert "answered 404" in unfetched(upstream.url)
    assert "could not be fetched" in unfetched(upstream.url)
    assert "could not be fetched" in unfetched(refused_url())


def test_many_urls_are_fetched_a_few_at_a_time_and_too_many_not_at_all(upstream: Upstream) -> None:
    upstream.handler = lambda _: Reply(200, {}, (PNG,), first_byte_s=0.02)

    async def fetch(count: int) -> int:
        fetcher = Fetcher(LOOPBACK, 1000, 5)
        try:
            return len(await fetcher.media([f"{upstream.url}/{at}" for at in range(count)]))
        finally:
            await fetcher.close()

    assert asyncio.run(fetch(MAX_URLS)) == MAX_URLS
    with pytest.raises(LLMError):
        asyncio.run(fetch(MAX_URLS + 1))
    assert len(upstream.requests) == MAX_URLS


def test_what_is_compressed_is_not_taken_since_a_few_bytes_may_become_billions(upstream: Upstream) -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 10_000_000))
    for coding in ("gzip", "gzip, gzip", "deflate", "br"):
        upstream.answer(Reply(200, {"content-encoding": coding}, (bomb,)))
        assert "compressed" in unfetched(upstream.url, max_bytes=10**9)
    for coding in ("identity", "aws-chunked", ""):  # S3's kin keep the second, and what is no compression is as it is
        upstream.answer(Reply(200, {"content-encoding": coding}, (PNG,)))
        assert fetched(upstream.url).data == PNG


def test_no_cookie_of_one_callers_goes_along_with_the_next(upstream: Upstream) -> None:
    async def fetch() -> None:
        fetcher = Fetcher(LOOPBACK, 1000, 5)
        for _ in range(2):
            upstream.answer(Reply(200, {"set-cookie": "session=1; Path=/"}, (PNG,)))
            await fetcher.media([f"{upstream.url}/a.png"])
        await fetcher.close()

    asyncio.run(fetch())
    assert len(upstream.requests) == 2
    assert not any("cookie" in request.headers for request in upstream.requests)


def test_all_that_one_request_brings_along_is_bounded(upstream: Upstream) -> None:
    upstream.handler = lambda _: Reply(200, {}, (b"x" * 900,))

    async def fetch(count: int) -> None:
        fetcher = Fetcher(LOOPBACK, 1000, 5)
        try:
            await fetcher.media([f"{upstream.url}/{at}" for at in range(count)])
        finally:
            await fetcher.close()

    asyncio.run(fetch(MOST_FILES))
    with pytest.raises(LLMError, match="together"):
        asyncio.run(fetch(MOST_FILES + 1))


def test_what_a_caller_may_have_hidden_in_an_address_is_not_told() -> None:
    told = unfetched(refused_url().replace("//", "//ada:pa55word@") + "/a.png?sig=s1gnature")
    assert "/a.png" in told and "pa55word" not in told and "s1gnature" not in told


def test_no_proxy_is_asked_for_loopback(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, refused_url())
    upstream.answer(Reply(200, JSON, (b'{"id":"key_1"}',)), Reply(200))
    assert asyncio.run(admin_call(upstream.url, "admin-key", "GET", "/admin/keys", {}, None)) == {"id": "key_1"}
    assert posted(upstream.url) == ""
    assert posted("http://hooks.example/") == "ConnectError"


def test_a_proxy_of_another_kind_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert posted("http://hooks.example/") == "LLMError"
    with pytest.raises(LLMError, match="socks5"):
        asyncio.run(admin_call("http://gateway.example", "admin-key", "GET", "/admin/keys", {}, None))


def posted(url: str) -> str:
    return asyncio.run(post(url, b'{"a":1}'))


def test_what_is_posted_is_tried_twice_and_its_address_is_in_no_log(
    upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    upstream.answer(Reply(503), Reply(200))
    assert posted(f"{upstream.url}/t0ken") == ""
    assert [(request.method, request.path, request.body) for request in upstream.requests] == [
        ("POST", "/t0ken", b'{"a":1}')
    ] * 2
    assert "t0ken" not in caplog.text
    assert upstream.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ((Reply(503), Reply(404)), "status 404"),
        ((Reply(302, {"location": "/b"}), Reply(302, {"location": "/b"})), "status 302"),
        ((SILENCE, SILENCE), "Timeout"),
        ((Reply(200, JSON, (b"12",)).cut(1), Reply(200, JSON, (b"12",)).cut(1)), "RemoteProtocolError"),
    ],
)
def test_a_post_that_is_not_taken_is_no_error_and_says_why(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, replies: tuple[Reply, ...], why: str
) -> None:
    monkeypatch.setattr(fetch, "POST_TIMEOUT_S", 0.2)
    upstream.answer(*replies)
    assert why in posted(upstream.url)
    assert len(upstream.requests) == len(replies)


@pytest.mark.parametrize(
    "url", ["http://h\x00/t0ken", "ftp://h/t0ken", "http://[t0ken", "http://" + "a" * 70 + ".b/t0ken"]
)
def test_a_post_to_what_is_no_address_is_no_error_either(url: str) -> None:
    assert posted(url)
    assert "t0ken" not in posted(url)
