"""What a refused caller is told."""

import pytest

from gateway.ledger.refusals import rate_headers, refusal, told, whose_is
from gateway.ledger.store import Counter, Meter, Refused

COSTS: tuple[tuple[Counter, ...], int, int] = (), 1, 2


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
    spent = refusal(Refused("over_budget", "gpt-*@team:t|1d:2026-11-20"), (), *COSTS)
    assert (spent.status, spent.code, spent.headers) == (429, "insufficient_quota", {"x-should-retry": "false"})
    assert spent.message == "The budget of this team for gpt-* for 1d:2026-11-20 does not cover this request"
    held = refusal(Refused("held", "key:k|total"), (), *COSTS)
    assert (held.status, held.code, held.retry_after_s) == (429, "rate_limit_exceeded", 1)


def test_whose_budget_it_is_may_know_what_is_left_of_it() -> None:
    def said(scope: str, left: int, *more: Counter) -> str:
        counters = (Counter(scope, "total", cap_nanousd=5_000_000_000), *more)
        return refusal(
            Refused("over_budget", f"{scope}|total", left_nanousd=left), (), counters, 21_000, 900_000
        ).message

    begins = "The budget of this key does not cover this request: "
    assert said("key:k", 20_000) == f"{begins}it takes $0.000021 at least, and $0.00002 of $5 is left"
    strict = Counter("team:t", "total", cap_nanousd=10**12, on_cap="refuse")
    assert said("key:k", -3, strict) == f"{begins}it may cost $0.0009, and $0 of $5 is left"
    assert said("gpt-*@team:t", 1).endswith("$0.000000001 of $5 is left")
    for others in ("org:default", "tag:batch", "gpt-*@tag:x"):
        assert said(others, 1).endswith("does not cover this request")
    assert said("user:ada@org:x", 1).endswith("is left")


def test_a_full_meter_says_when_there_is_room_again() -> None:
    meter = Meter("key:k", "rpm", 10)
    full = refusal(Refused("rate", meter.name, retry_after_s=12.3), [meter], *COSTS)
    assert (full.status, full.code, full.retry_after_s) == (429, "rate_limit_exceeded", 12.3)
    assert full.headers["x-ratelimit-limit-requests"] == "10"
    assert full.headers["x-ratelimit-remaining-requests"] == "0"
    slots = Meter("key:k", "parallel", 2)
    assert refusal(Refused("rate", slots.name, retry_after_s=1), [slots], *COSTS).retry_after_s == 1
    assert full.message.endswith("try again in 13 s")
    none = refusal(Refused("too_large", slots.name), [Meter("key:k", "parallel", 0)], *COSTS)
    assert (none.retry_after_s, none.headers["x-should-retry"]) == (None, "false")
    large = refusal(Refused("too_large", meter.name), [meter], *COSTS)
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
