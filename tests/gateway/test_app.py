"""The application around the one hot route: unknown addresses, wrong methods, and a store that is gone."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from gateway import http1_exchange, telemetry
from tests.gateway.caller import Client
from tests.gateway.test_chat import HELLO, PRICES, ROUTES, STREAM
from tests.redis_server import own_server
from tests.replay import SILENCE, Upstream
from tests.running import ADMIN_KEY, Running, in_thread


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


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/admin/keys"])
def test_a_body_whose_rest_does_not_come_is_not_waited_for(
    gateway: Running, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1_exchange, "STALLED_S", 0.1)
    token = gateway.new_key() if path.startswith("/v1") else ADMIN_KEY
    caller = Client(int(gateway.url.rpartition(":")[2]))
    caller.send(f"POST {path}", authorization=f"Bearer {token}", content_length="100")
    caller.socket.sendall(b'{"model"')
    status, body = caller.whole()
    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    assert caller.ended()
    caller.hang_up()


def test_the_last_lines_are_written_before_the_process_ends(
    store_env: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(telemetry, "KEPT_S", 3600.0)
    with caplog.at_level(logging.INFO, "headgate"), in_thread(None, store_env) as gateway:
        hello = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
        id = gateway.chat(gateway.new_key(), hello).headers["x-request-id"]
    assert id in capsys.readouterr().err


def test_without_its_store_only_what_nothing_bounds_is_served_and_billed_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the spool is
    hello = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    with (
        own_server("--appendonly", "yes", "--appendfsync", "always") as server,
        in_thread(None, {"REDIS_URL": server.url}) as gateway,
    ):
        capped, uncapped, strange = gateway.new_key(max_budget=1), gateway.new_key(), gateway.new_key()
        assert all(gateway.chat(key, hello).status_code == 200 for key in (capped, uncapped))
        server.kill()
        refused = gateway.chat(capped, hello)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
        assert gateway.chat(strange, hello).status_code == 503  # it was never seen here
        served = [gateway.chat(uncapped, hello) for _ in range(3)]
        assert [answer.status_code for answer in served] == [200] * 3
        assert "x-headgate-dropped" not in served[0].headers
        assert httpx.get(f"{gateway.url}/readyz").status_code == 503
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
        server.start()
        end = time.monotonic() + 10
        while httpx.get(f"{gateway.url}/readyz").status_code != 200 and time.monotonic() < end:
            time.sleep(0.1)
        while len(gateway.entries()) < 5 and time.monotonic() < end:
            time.sleep(0.1)
        assert gateway.chat(capped, hello).status_code == 200
        ids = [entry["request_id"] for entry in gateway.entries()]
        assert len(ids) == len(set(ids)) == 6
        assert {answer.headers["x-request-id"] for answer in served} <= set(ids)


def test_a_request_that_the_end_of_the_process_cuts_off_is_billed_and_leaves_nothing_held(
    upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES.format(url=upstream.url, down=upstream.url))
    (tmp_path / "pricing.yaml").write_text(PRICES)
    upstream.answer(STREAM.stalled(len(STREAM.pieces[0])), SILENCE)
    with (
        ThreadPoolExecutor() as callers,
        in_thread(tmp_path / "routes.yaml", store_env, tmp_path / "pricing.yaml") as gateway,
    ):
        key = gateway.new_key(max_budget=1)
        streaming = callers.submit(gateway.chat, key, HELLO | {"stream": True})
        upstream.wait_until(lambda: len(upstream.requests) == 1)
        waiting = callers.submit(gateway.chat, key, HELLO)
        upstream.wait_until(lambda: len(upstream.requests) == 2)
        time.sleep(0.2)
    streamed, whole = streaming.result(), waiting.result()
    assert (streamed.status_code, whole.status_code) == (200, 503)
    last = json.loads(streamed.content.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert last["error"]["code"] == whole.json()["error"]["code"] == "gateway_stopping"
    with in_thread(tmp_path / "routes.yaml", store_env, tmp_path / "pricing.yaml") as gateway:
        entries = gateway.entries()
        assert [entry["ending"] for entry in entries] == ["cancelled", "cancelled"]
        assert all(entry["estimated"] and float(entry["cost_usd"]) > 0 for entry in entries)
        assert gateway.admin("GET", "usage")["held_usd"] == "0"
