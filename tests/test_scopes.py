"""Caps and limits on every scope, as callers meet them: the organisation, end users, tags, models; rates and slots."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.test_chat import ANSWER, COST, HELLO, PRICES, error_of
from tests.replay import SILENCE, Upstream, json_reply
from tests.running import Running, configured

ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
routes:
  small: openai/small
  big: openai/large
  other: openai/small
wait_s: 0
"""
LARGE = "  large: {input: 2.5, output: 10, source: made, as_of: 2026-11-20}\n"
ENOUGH = HELLO | {"max_tokens": 40}  # costs 350 µ$, and wants 420 to be free


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    with configured(ROUTES.format(url=upstream.url), PRICES + LARGE, store_env, tmp_path) as running:
        yield running


def post(gateway: Running, path: str, **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = gateway.admin("POST", path, body)
    return made


def spends(gateway: Running, key: str, body: object, times: int = 12, tags: str = "") -> int:
    """How many of so many requests are answered before one is refused for its budget."""
    for answered in range(times):
        answer = gateway.chat(key, body, **({"x-headgate-tags": tags} if tags else {}))
        if answer.status_code != 200:
            assert error_of(answer)["code"] == "insufficient_quota", answer.text
            return answered
    return times


def test_an_organisation_s_cap_is_over_all_keys(gateway: Running) -> None:
    keys = [gateway.new_key(), gateway.new_key()]
    assert gateway.chat(keys[0], ENOUGH).status_code == 200
    gateway.admin("PATCH", "organization", {"max_budget": "0.0015"})
    assert sum(spends(gateway, key, ENOUGH) for key in keys) == 4
    told = gateway.admin("GET", "organization")
    assert Decimal(told["spend_usd"]) == 4 * Decimal(COST)  # since it has a cap


def test_every_end_user_has_the_default_cap_and_some_have_their_own(gateway: Running) -> None:
    key = gateway.new_key()
    post(gateway, "users", user_id="*", max_budget="0.001")
    post(gateway, "users", user_id="ada@example.com", max_budget="0.0014")
    assert spends(gateway, key, ENOUGH | {"user": "bob"}) == 2
    assert spends(gateway, key, ENOUGH | {"user": "eve"}) == 2
    assert spends(gateway, key, ENOUGH | {"safety_identifier": "ada@example.com"}) == 3
    assert spends(gateway, key, ENOUGH) == 12  # nobody is named
    refused = gateway.chat(key, ENOUGH | {"user": "bob"})
    assert "end user" in error_of(refused)["message"]
    assert {entry["end_user"] for entry in gateway.entries(limit="100")} == {"bob", "eve", "ada@example.com", None}


def test_a_user_s_cap_made_later_holds_at_once_on_a_worker_that_knew_of_none(gateway: Running) -> None:
    key = gateway.new_key()
    assert spends(gateway, key, ENOUGH | {"user": "bob"}, times=3) == 3
    post(gateway, "users", user_id="bob", max_budget="0.0008")
    assert spends(gateway, key, ENOUGH | {"user": "bob"}) == 1
    gateway.admin("DELETE", "users/bob")
    assert spends(gateway, key, ENOUGH | {"user": "bob"}, times=3) == 3


def test_a_tag_comes_with_the_key_or_with_the_request(gateway: Running) -> None:
    post(gateway, "tags", tag="batch", max_budget="0.0015")
    tagged, plain = gateway.new_key(tags=["batch"]), gateway.new_key()
    assert spends(gateway, tagged, ENOUGH, times=1) == 1
    assert spends(gateway, plain, ENOUGH, tags="nightly, batch") == 3
    assert spends(gateway, tagged, ENOUGH) == 0
    assert spends(gateway, plain, ENOUGH, times=2) == 2
    assert [entry["tags"] for entry in gateway.entries()][-1] == ["batch"]


def test_a_cap_may_be_on_some_models_alone(gateway: Running) -> None:
    key = gateway.new_key(budgets=[{"max_budget": "0.001", "model": "sm*"}])
    assert spends(gateway, key, ENOUGH) == 2
    assert spends(gateway, key, ENOUGH | {"model": "openai/small"}) == 0  # by its provider's name as well
    assert spends(gateway, key, ENOUGH | {"model": "other"}) == 0  # and by a route that leads there
    assert spends(gateway, key, ENOUGH | {"model": "big"}, times=3) == 3
    assert "for sm*" in error_of(gateway.chat(key, ENOUGH))["message"]


def test_a_cap_that_is_raised_for_a_time_lets_more_through(gateway: Running) -> None:
    key = gateway.new_key(key_alias="raised", max_budget="0.001")
    assert spends(gateway, key, ENOUGH) == 2
    records = gateway.admin("GET", "keys", limit="1000")["data"]
    record = next(record for record in records if record["key_alias"] == "raised")
    raised = {"temp_budget_increase": "0.001", "temp_budget_expiry": "2199-01-01T00:00:00Z"}
    gateway.admin("PATCH", f"keys/{record['id']}", raised)
    assert spends(gateway, key, ENOUGH) == 3  # 5 in all have spent 0.00175 of 0.002


def test_no_more_requests_than_the_limit_and_the_headers_say_so(gateway: Running) -> None:
    key = gateway.new_key(rpm_limit=5, tpm_limit=100_000)
    answers = [gateway.chat(key, ENOUGH) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["4", "3", "2", "1", "0", "0", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "5"
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "100000"
    refused = answers[-1]
    assert error_of(refused)["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert gateway.admin("GET", "usage")["requests"] == 5  # a refused request consumes nothing


def test_a_burst_gets_exactly_its_limit(gateway: Running) -> None:
    key = gateway.new_key(rpm_limit=10)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(gateway.chat(key, ENOUGH).status_code)) for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 10 + [429] * 20


def test_tokens_are_taken_before_and_given_back_after(gateway: Running) -> None:
    key = gateway.new_key(tpm_limit=200)
    first = gateway.chat(key, HELLO | {"max_tokens": 100})  # 50 are used in the end
    assert first.status_code == 200
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 100
    assert gateway.chat(key, HELLO | {"max_tokens": 100}).status_code == 200
    refused = gateway.chat(key, HELLO | {"max_tokens": 150})
    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
    assert "tokens a minute" in error_of(refused)["message"]


def test_an_answer_is_kept_within_a_limit_on_tokens(gateway: Running, upstream: Upstream) -> None:
    assert gateway.chat(gateway.new_key(tpm_limit=60), HELLO | {"max_tokens": 5000}).status_code == 200
    assert b'"max_tokens":5000' not in upstream.requests[0].body
    too_small = gateway.chat(gateway.new_key(tpm_limit=5), HELLO)
    assert (too_small.status_code, too_small.headers["x-should-retry"]) == (429, "false")


def test_no_more_run_at_once_than_the_limit_and_every_slot_comes_back(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key(max_parallel_requests=2)
    upstream.answer(SILENCE, SILENCE)
    body = json.dumps(ENOUGH).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with ExitStack() as running:
        for _ in range(2):
            connection = running.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        upstream.wait_until(lambda: len(upstream.requests) == 2)
        refused = gateway.chat(key, ENOUGH)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "2 requests running at once" in error_of(refused)["message"]
    upstream.wait_until(lambda: upstream.hung_up == 2)
    end = time.monotonic() + 5
    while len(gateway.entries()) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert [gateway.chat(key, ENOUGH).status_code for _ in range(3)] == [200] * 3


def test_limits_may_be_on_a_team_and_on_models(gateway: Running) -> None:
    team = post(gateway, "teams", team_alias="t", limits=[{"model": "big", "rpm_limit": 1}], rpm_limit=3)
    keys = [gateway.new_key(team_id=team["id"]) for _ in range(2)]
    assert [gateway.chat(key, ENOUGH | {"model": "big"}).status_code for key in keys] == [200, 429]
    assert [gateway.chat(key, ENOUGH).status_code for key in (*keys, *keys)] == [200, 200, 429, 429]


def test_a_name_that_is_no_name_is_refused(gateway: Running) -> None:
    key = gateway.new_key()
    assert error_of(gateway.chat(key, ENOUGH | {"user": "x" * 300}))["param"] == "user"
    refused = gateway.chat(key, ENOUGH, **{"x-headgate-tags": "x" * 65})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "x-headgate-tags")
