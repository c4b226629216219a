"""What a refused caller is told."""

import pytest

from gateway.ledger.refusals import rate_headers, refusal, told, whose_is
from gateway.ledger.store import Meter, Refused


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("key:key_1", "this key"),
        ("team:t", "this team"),
        ("org:default", "the organisation"),
        ("gpt-*@key:key_1", "this key for gpt-*"),
        ("claude-3@2024*@team:t", "this team for claude-3@2024*"),
        ("user:ada@example.com", "this end user"),
        ("user:x@key:key_1", "this end user"),  # a name that a caller chose looks like no other scope
        ("tag:batch", "the tag 'batch'"),
    ],
)
def test_a_scope_in_words(scope: str, words: str) -> None:
    assert whose_is(scope) == words


def test_a_spent_budget_is_not_worth_a_retry_and_a_held_one_is() -> None:
    spent = refusal(Refused("over_budget", "gpt-*@team:t|1d:2026-11-20"), ())
    assert (spent.status, spent.code, spent.headers) == (429, "insufficient_quota", {"x-should-retry": "false"})
    assert spent.message == "The budget of this team for gpt-* for 1d:2026-11-20 does not cover this request"
    held = refusal(Refused("held", "key:k|total"), ())
    assert (held.status, held.code, held.retry_after_s) == (429, "rate_limit_exceeded", 1)


def test_a_full_meter_says_when_there_is_room_again() -> None:
    meter = Meter("key:k", "rpm", 10)
    full = refusal(Refused("rate", meter.name, retry_after_s=12.3), [meter])
    assert (full.status, full.code, full.retry_after_s) == (429, "rate_limit_exceeded", 12.3)
    assert full.headers["x-ratelimit-limit-requests"] == "10"
    assert full.headers["x-ratelimit-remaining-requests"] == "0"
    slots = Meter("key:k", "parallel", 2)
    assert refusal(Refused("rate", slots.name, retry_after_s=1), [slots]).retry_after_s == 1
    assert full.message.endswith("try again in 13 s")
    none = refusal(Refused("too_large", slots.name), [Meter("key:k", "parallel", 0)])
    assert (none.retry_after_s, none.headers["x-should-retry"]) == (None, "false")
    large = refusal(Refused("too_large", meter.name), [meter])
    assert (large.retry_after_s, large.headers["x-should-retry"]) == (None, "false")


def test_the_headers_are_of_the_tightest_limit_of_each_kind() -> None:
    meters = [
        Meter("key:k", "rpm", 10),
        Meter("team:t", "rpd", 1000),
        Meter("key:k", "tpm", 5000),
        Meter("key:k", "parallel", 1),
    ]
    levels = [(4, 59.5), (999, 3723.0), (100, 0.02), (1, 0.0)]
    assert rate_headers(told(meters), levels) == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1h2m3s",
        "x-ratelimit-limit-tokens": "5000",
        "x-ratelimit-remaining-tokens": "4900",
        "x-ratelimit-reset-tokens": "20ms",
    }
