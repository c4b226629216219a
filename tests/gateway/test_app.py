"""The application around the one hot route: unknown addresses, wrong methods, and a store that is gone."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.gateway.test_chat import HELLO, PRICES, ROUTES, STREAM
from tests.redis_server import redis_server
from tests.replay import SILENCE, Upstream
from tests.running import Running, in_thread


@pytest.fixture
def gateway(store_env: Mapping[str, str]) -> Iterator[Running]:
    with in_thread(None, store_env) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/embeddings", 404), ("GET", "/v1/chat/completions", 404), ("PUT", "/healthz", 405)],
)
def test_what_is_not_served_is_said_in_the_one_shape(gateway: Running, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, gateway.url + path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_without_its_store_nothing_is_sent_and_all_is_well_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    hello = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    with redis_server() as url:
        running = in_thread(None, {"REDIS_URL": url})
        gateway = running.__enter__()
        key = gateway.new_key()
        assert gateway.chat(key, hello).status_code == 200
    try:
        answer = gateway.chat(key, hello)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
        assert httpx.get(f"{gateway.url}/readyz").status_code == 503
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
    finally:
        running.__exit__(None, None, None)


def test_a_request_that_the_end_of_the_process_cuts_off_is_billed_and_leaves_nothing_held(
    upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES.format(url=upstream.url, down=upstream.url))
    (tmp_path / "pricing.yaml").write_text(PRICES)
    upstream.answer(STREAM.stalled(len(STREAM.pieces[0])), SILENCE)
    with in_thread(tmp_path / "routes.yaml", store_env, tmp_path / "pricing.yaml") as gateway:
        key = gateway.new_key(max_budget=1)
        for stream in (True, False):
            body = HELLO | {"stream": stream}
            threading.Thread(target=lambda body=body: _ignored(gateway, key, body), daemon=True).start()
        upstream.wait_until(lambda: len(upstream.requests) == 2)
        time.sleep(0.2)
    with in_thread(tmp_path / "routes.yaml", store_env, tmp_path / "pricing.yaml") as gateway:
        entries = gateway.entries()
        assert [entry["ending"] for entry in entries] == ["cancelled", "cancelled"]
        assert all(entry["estimated"] and float(entry["cost_usd"]) > 0 for entry in entries)
        assert gateway.admin("GET", "usage")["held_usd"] == "0"


def _ignored(gateway: Running, key: str, body: object) -> None:
    with contextlib.suppress(httpx.HTTPError):
        gateway.chat(key, body)
