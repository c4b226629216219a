"""Whose fault it was, and what the client sees of it."""

from pathlib import Path

import pytest

from translators.errors import POLICY, LLMError, of_status, request_id_header, retry_after_s, unexplained


@pytest.mark.parametrize("kind", POLICY)
def test_every_kind_has_openais_one_shape(kind: str) -> None:
    error = LLMError(kind, "What went wrong", param="n")  # type: ignore[arg-type]
    body = error.body()["error"]
    assert list(body) == ["message", "type", "param", "code"]
    assert (body["message"], body["param"], str(error)) == ("What went wrong", "n", "What went wrong")
    assert 400 <= error.status < 600


@pytest.mark.parametrize(
    ("status", "kind", "ours", "falls_back"),
    [
        (400, "invalid_request", 400, False),
        (401, "upstream_auth", 502, True),
        (403, "upstream_auth", 502, True),
        (404, "not_found", 404, False),
        (407, "upstream_auth", 502, True),
        (408, "timeout", 408, True),
        (409, "upstream_conflict", 409, True),
        (413, "too_large", 413, False),
        (418, "invalid_request", 418, False),
        (429, "rate_limit", 429, True),
        (500, "bad_upstream", 502, True),
        (503, "overloaded", 502, True),
        (504, "timeout", 504, True),
        (529, "overloaded", 503, True),
    ],
)
def test_a_providers_status(status: int, kind: str, ours: int, falls_back: bool) -> None:
    error = of_status(status, "no")
    assert (error.kind, error.status, error.fall_back) == (kind, ours, falls_back)


def test_a_structured_code_tells_more_than_the_status() -> None:
    error = of_status(400, "too long", kind="context_length", retry_after_s=2.5, headers={"x-upstream-request-id": "r"})
    assert (error.kind, error.status, error.code) == ("context_length", 400, "context_length_exceeded")
    assert (error.retry_after_s, error.headers) == (2.5, {"x-upstream-request-id": "r"})
    assert of_status(400, "no", code="their_code").code == "their_code"


def test_over_budget_is_told_apart_from_too_fast() -> None:
    spent, fast = LLMError("over_budget", "x"), LLMError("rate_limit", "x")
    assert (spent.status, spent.code) == (429, "insufficient_quota")
    assert (fast.status, fast.code) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3), ("0.5", 0.5), ("-1", None), ("1e12", None), ("nan", None), ("", None), (None, None)],
)
def test_retry_after_is_seconds_or_nothing(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds
    assert retry_after_s("Fri, 20 Nov 2026 15:00:00 GMT") is None


def test_a_providers_id_of_a_request_is_short_and_can_stand_in_a_header() -> None:
    assert request_id_header("req_1") == {"x-upstream-request-id": "req_1"}
    assert request_id_header("a\r\nx-evil: 1\0b") == {"x-upstream-request-id": "ax-evil: 1b"}
    assert request_id_header("r" * 100_000) == {"x-upstream-request-id": "r" * 200}
    for none in (None, "", "\0", 7, {"a": 1}):
        assert request_id_header(none) == {}


def test_a_body_without_a_message_is_told_by_its_looks() -> None:
    assert unexplained(502, b"<!doctype html><HTML>") == "The provider answered 502 with an HTML page"
    assert unexplained(400, b"{}").endswith("no error message") and unexplained(500, b" ").endswith("no body")


def test_every_code_stands_in_the_operators_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## Errors\n")[2].partition("\n## ")[0]
    for kind, policy in POLICY.items():
        assert f"| {policy.status}" in table, kind
        assert policy.code is None or f"`{policy.code}`" in table, kind
