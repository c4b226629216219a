"""What a request has to spend: what its hold affords, and whether it can be raised for another attempt."""

import json

from tests.gateway.test_chat import ANSWER, COST, HELLO, error_of, gateway
from tests.replay import Reply, Upstream, json_reply
from tests.running import Running

__all__ = ["gateway"]


def test_a_whole_answer_gets_what_the_cap_affords(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(400, {"error": {"message": "stop here"}})
    answer = gateway.chat(gateway.new_key(max_budget="0.005"), HELLO)
    assert error_of(answer)["message"] == "stop here"
    assert 50 < json.loads(upstream.requests[0].body)["max_completion_tokens"] < 500


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
