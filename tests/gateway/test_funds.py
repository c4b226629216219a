"""What a request has to spend: what its hold affords, and whether it can be raised for another attempt."""

import json
from typing import Any

import pytest

from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Ask, Granted, Promise, Refused
from tests.gateway.test_chat import ANSWER, CHUNK, COST, HELLO, error_of, gateway
from tests.replay import Reply, Upstream, event_reply, json_reply
from tests.running import Running

__all__ = ["gateway"]


def test_a_whole_answer_gets_what_the_cap_affords(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(400, {"error": {"message": "stop here"}})
    answer = gateway.chat(gateway.new_key(max_budget="0.005"), HELLO)
    assert error_of(answer)["message"] == "stop here"
    assert 50 < json.loads(upstream.requests[0].body)["max_completion_tokens"] < 500


VIDEO = [{"type": "image_url", "image_url": {"url": "https://youtu.be/a"}}]


@pytest.mark.parametrize(
    "more",
    [
        {"cached_content": "cachedContents/a"},
        {"messages": [{"role": "user", "content": VIDEO}]},
        {"messages": [{"role": "assistant", "content": "", "images": VIDEO}, *HELLO["messages"]]},
    ],
    ids=["a kept prompt", "a video for an image", "a video for an answer's image"],
)
def test_what_may_be_of_any_length_is_not_for_a_small_budget(
    gateway: Running, upstream: Upstream, more: dict[str, Any]
) -> None:
    answer = gateway.chat(gateway.new_key(max_budget="0.1"), HELLO | more)
    assert (answer.status_code, error_of(answer)["code"]) == (429, "insufficient_quota")
    assert not upstream.requests


def test_another_target_may_answer_after_a_half_answer_and_both_are_paid_for(
    gateway: Running, upstream: Upstream
) -> None:
    upstream.answer(json_reply(200, ANSWER).cut(60), json_reply(200, ANSWER))
    answer = gateway.chat(gateway.new_key(max_budget="10"), HELLO | {"model": "safe"})
    assert (answer.status_code, answer.headers["x-headgate-attempts"]) == (200, "2")
    (entry,) = gateway.entries()
    assert entry["estimated"] and float(entry["cost_usd"]) > float(COST)
    assert answer.headers["x-headgate-cost-usd"] == entry["cost_usd"]


def test_a_second_attempt_that_the_budget_does_not_cover_as_well_is_not_made(
    gateway: Running, upstream: Upstream
) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER).cut(60)
    body = HELLO | {"model": "safe", "max_tokens": 100}
    cap = "0.0014"  # 1,275 µ$ are held: what is left does not cover the 165 µ$ that the first attempt cost
    answer = gateway.chat(gateway.new_key(max_budget=cap), body)
    assert (answer.status_code, len(upstream.requests)) == (502, 1)


def test_a_failed_attempt_is_paid_for_once_when_the_next_target_cannot_take_the_request(
    gateway: Running, upstream: Upstream
) -> None:
    upstream.answer(json_reply(200, {"error": {"message": "no"}, "usage": ANSWER["usage"]}))
    answer = gateway.chat(gateway.new_key(max_budget="10"), HELLO | {"model": "mixed", "logit_bias": {"1": 5}})
    assert (answer.status_code, answer.headers["x-headgate-target"]) == (502, "openai/small")
    (entry,) = gateway.entries()
    assert (entry["cost_usd"], entry["target"], entry["attempts"]) == (COST, "openai/small", 1)


def test_what_a_failed_attempt_cost_is_billed_even_if_the_key_may_not_go_on(
    gateway: Running, upstream: Upstream
) -> None:
    key = gateway.new_key(key_alias="narrowed", max_budget="10")
    (record,) = [each for each in gateway.admin("GET", "keys")["data"] if each["key_alias"] == "narrowed"]

    def narrowed(_: object) -> Reply:
        gateway.admin("PATCH", f"keys/{record['id']}", {"models": ["another"]})
        return json_reply(200, {"error": {"message": "no"}, "usage": ANSWER["usage"]})

    upstream.handler = narrowed
    assert gateway.chat(key, HELLO | {"model": "safe"}).status_code == 502
    assert len(upstream.requests) == 1
    (entry,) = gateway.entries()
    assert entry["cost_usd"] == COST


LONG = [{"role": "user", "content": "word " * 400}]


@pytest.mark.parametrize(("choices", "status"), [(1, 502), (4, 429)])
def test_a_limit_on_tokens_counts_the_prompt_of_each_call(
    gateway: Running, upstream: Upstream, choices: int, status: int
) -> None:
    upstream.handler = lambda _: json_reply(500, {"error": {"message": "stop here"}})
    body = {"model": "claude", "messages": LONG, "max_tokens": 16, "n": choices}  # Claude takes a call for each
    answer = gateway.chat(gateway.new_key(tpm_limit=1000), body)
    assert answer.status_code == status
    assert bool(upstream.requests) == (status != 429)


@pytest.mark.parametrize(
    ("change", "body", "status"),
    [
        ({"max_budget": 1.0}, {"search_parameters": {"mode": "on"}}, 400),
        ({"models": ["small"]}, {"search_parameters": {"mode": "on"}}, 400),
        ({"tpm_limit": 100}, {"messages": LONG}, 429),
    ],
    ids=["a budget", "a list of models", "a limit on tokens"],
)
def test_what_a_key_is_bound_by_holds_from_its_next_request_on(
    gateway: Running, upstream: Upstream, change: dict[str, Any], body: dict[str, Any], status: int
) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    key, id = _key(gateway)
    assert gateway.chat(key, HELLO).status_code == 200  # the worker has it in mind
    gateway.admin("PATCH", f"keys/{id}", change)
    assert gateway.chat(key, HELLO | body).status_code == status


def test_a_tag_counts_from_the_next_request_on(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    key, id = _key(gateway)
    assert gateway.chat(key, HELLO).status_code == 200
    gateway.admin("PATCH", f"keys/{id}", {"tags": ["irrigation"]})
    assert gateway.chat(key, HELLO).status_code == 200
    assert [entry["tags"] for entry in gateway.entries()] == [["irrigation"], []]


def _key(gateway: Running) -> tuple[str, str]:
    made = gateway.admin("POST", "keys", {})
    return made["key"], made["id"]


def test_a_stream_is_watched_although_the_answer_to_its_reserve_was_lost(
    gateway: Running, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = SqliteStore.reserve

    def twice(store: SqliteStore, ask: Ask) -> Promise[Granted | Refused]:
        once(store, ask)
        return once(store, ask)

    monkeypatch.setattr(SqliteStore, "reserve", twice)
    words = CHUNK | {"choices": [{"index": 0, "delta": {"content": "word " * 20}, "finish_reason": None}]}
    upstream.handler = lambda _: event_reply(*[words] * 200).dripped(20_000, 0.02)
    gateway.chat(gateway.new_key(max_budget="0.01"), HELLO | {"stream": True})
    (entry,) = gateway.entries()
    assert entry["ending"] == "cut" and float(entry["cost_usd"]) < 0.03  # all of it would be 0.05
