"""What HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY mean."""

import pytest

from gateway.proxies import Proxies, Proxy
from translators.errors import LLMError

HERE = Proxy(False, "proxy.test", 3128, "")


def test_each_scheme_has_its_own_and_small_letters_come_first() -> None:
    env = {"HTTP_PROXY": "http://one.test:1", "HTTPS_PROXY": "http://two.test:2", "https_proxy": "http://three.test"}
    proxies = Proxies(env)
    assert proxies.to(False, "api.test", 80) == Proxy(False, "one.test", 1, "")
    assert proxies.to(True, "api.test", 443) == Proxy(False, "three.test", 80, "")
    assert Proxies({"HTTP_PROXY": "http://one.test:1"}).to(True, "api.test", 443) is None
    assert Proxies({}).to(True, "api.test", 443) is None


def test_all_proxy_stands_in_for_both() -> None:
    proxies = Proxies({"ALL_PROXY": "proxy.test:3128", "HTTPS_PROXY": "https://us:p%3A@other.test"})
    assert proxies.to(False, "api.test", 80) == HERE
    assert proxies.to(True, "api.test", 443) == Proxy(True, "other.test", 443, "Basic dXM6cDo=")


@pytest.mark.parametrize(
    ("direct", "host", "port", "is_direct"),
    [
        ("*", "api.test", 443, True),
        ("api.test", "api.test", 443, True),
        ("API.test", "api.test", 443, True),
        ("api.test", "eu.api.test", 443, True),
        ("api.test", "myapi.test", 443, False),
        (".api.test", "eu.api.test", 443, True),
        (".api.test", "api.test", 443, False),
        ("*.api.test", "eu.api.test", 443, True),
        ("*.api.test:443", "eu.api.test", 443, True),
        ("*.api.test", "api.test", 443, False),
        ("api.test:8443", "api.test", 443, False),
        ("api.test:443", "api.test", 443, True),
        ("other.test, api.test", "api.test", 443, True),
        ("10.0.0.5", "10.0.0.5", 8000, True),
        ("10.0.0.5", "10.0.0.51", 8000, False),
        ("10.0.0.0/8", "10.9.8.7", 8000, True),
        ("10.0.0.0/8", "11.9.8.7", 8000, False),
        ("10.0.0.0/8", "api.test", 443, False),
        ("10.0.0.0/8:8000", "10.9.8.7", 8000, True),
        ("10.0.0.0/8:8000", "10.9.8.7", 8001, False),
        ("10.0.0.5:8000", "10.0.0.5", 8000, True),
        ("10.0.0.5:8000", "10.0.0.5", 8001, False),
        ("fd00::/8", "fd00::1", 80, True),
        ("fd00::1", "fd00::1", 80, True),
        ("[fd00::1]:80", "fd00::1", 80, True),
        ("[fd00::1]:80", "fd00::1", 81, False),
        ("no/network", "api.test", 443, False),
        (" ,", "api.test", 443, False),
        ("", "localhost", 443, True),
        ("", "127.9.9.9", 443, True),
        ("", "::1", 443, True),
        ("", "api.test", 443, False),
    ],
)
def test_who_is_reached_directly(direct: str, host: str, port: int, is_direct: bool) -> None:
    proxies = Proxies({"ALL_PROXY": "http://proxy.test:3128", "NO_PROXY": direct})
    assert proxies.to(True, host, port) == (None if is_direct else HERE)


@pytest.mark.parametrize(
    "url",
    ["socks5://us:secret@proxy.test", "http://", "http://us:secret@:3128", "http://a:b:c", "us:[secret@proxy.test"],
)
def test_a_proxy_that_cannot_be_used_is_said_so_without_its_password(url: str) -> None:
    with pytest.raises(LLMError) as caught:
        Proxies({"ALL_PROXY": url})
    assert "ALL_PROXY" in caught.value.message
    assert "secret" not in caught.value.message
