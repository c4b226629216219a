import json
from typing import Any

import orjson
import pytest

from tests.replay import body_of, recording
from translators import gemini_error
from translators.errors import LLMError


def refusal(status: int, name: str, message: str = "no", *details: dict[str, Any]) -> LLMError:
    body = {"error": {"code": status, "message": message, "status": name, "details": list(details)}}
    return gemini_error.error(status, {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "name", "kind", "ours"),
    [
        (400, "INVALID_ARGUMENT", "invalid_request", 400),
        (400, "FAILED_PRECONDITION", "upstream_auth", 502),
        (401, "UNAUTHENTICATED", "upstream_auth", 502),
        (403, "PERMISSION_DENIED", "upstream_auth", 502),
        (404, "NOT_FOUND", "not_found", 404),
        (429, "RESOURCE_EXHAUSTED", "rate_limit", 429),
        (500, "INTERNAL", "bad_upstream", 502),
        (503, "UNAVAILABLE", "overloaded", 502),
        (504, "DEADLINE_EXCEEDED", "timeout", 504),
    ],
)
def test_kinds(status: int, name: str, kind: str, ours: int) -> None:
    error = refusal(status, name, "what it said")
    assert (error.kind, error.status, error.message) == (kind, ours, "what it said")


def test_a_wrong_key_of_ours_is_not_the_clients_fault() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    assert refusal(400, "INVALID_ARGUMENT", "API key not valid.", detail).status == 502


def test_a_recorded_rate_limit_says_when_to_try_again() -> None:
    error = gemini_error.error(429, {}, body_of(recording("gemini.generateContent", "49fd2fb525f1")))
    assert (error.kind, error.status, error.retry_after_s) == ("rate_limit", 429, 48.0)


def test_a_spent_daily_quota_is_told_apart() -> None:
    daily = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}]}
    assert refusal(429, "RESOURCE_EXHAUSTED", "quota", daily).kind == "upstream_quota"
    none = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject", "quotaValue": "0"}]}
    assert refusal(429, "RESOURCE_EXHAUSTED", "quota", none).kind == "upstream_quota"


def test_too_long_a_context_has_openais_code() -> None:
    said = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    error = refusal(400, "INVALID_ARGUMENT", said)
    assert (error.kind, error.code, error.status) == ("context_length", "context_length_exceeded", 400)


def test_field_and_request_id_are_kept() -> None:
    error = refusal(
        400, "INVALID_ARGUMENT", "bad", {"fieldViolations": [{"field": "contents[0]"}]}, {"requestId": "r-1"}
    )
    assert error.param == "contents[0]"
    assert error.headers == {"x-upstream-request-id": "r-1"}


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"<html><body>", "HTML"), (b"", "nothing"), (b'{"a":', "no error"), (b"[]", "no error"), (b"17", "no error")],
)
def test_what_is_no_error_of_googles_gets_a_clear_message(body: bytes, words: str) -> None:
    error = gemini_error.error(502, {"Retry-After": "3"}, body)
    assert words in error.message and "502" in error.message
    assert (error.kind, error.retry_after_s) == ("bad_upstream", 3.0)


def test_the_error_of_a_stream_that_was_a_list() -> None:
    body = b'[{"error":{"code":503,"message":"The model is overloaded","status":"UNAVAILABLE"}}]'
    assert gemini_error.error(503, {}, body).message == "The model is overloaded"


@pytest.mark.parametrize(
    "odd", [{"code": "x"}, {"details": 3}, {"details": [{"violations": 1, "fieldViolations": "a"}]}]
)
def test_an_odd_error_is_an_error_all_the_same(odd: dict[str, Any]) -> None:
    assert gemini_error.within({"message": "no", **odd}).message == "no"
    assert gemini_error.within({"status": "UNAVAILABLE"}).kind == "overloaded"


def test_a_message_cut_within_a_character_keeps_its_kind() -> None:
    body = b'{"error":{"code":400,"message":"no \\ud83d","status":"FAILED_PRECONDITION"}}'
    assert gemini_error.error(400, {}, body).kind == "upstream_auth"
    body = b'{"error":{"code":404,"message":"no \\ud83d","status":"NOT_FOUND"}}'
    assert gemini_error.error(404, {}, body).message == "no \ufffd"


@pytest.mark.parametrize(
    "told",
    [
        '{"message":"deep"}',
        '{"status":"deep"}',
        '{"details":[{"requestId":"deep"}]}',
        '{"details":[{"reason":"deep"}]}',
        '{"details":[{"retryDelay":"deep"}]}',
        '{"details":[{"violations":[{"quotaId":"deep"}]}]}',
    ],
)
def test_what_is_nested_too_deep_to_be_looked_at_is_left_out(told: str) -> None:
    body = told.replace('"deep"', "[" * 1000 + "]" * 1000).join(('{"error":', "}")).encode()
    error = gemini_error.error(429, {}, body)
    assert (error.kind, error.message) == ("rate_limit", "The provider answered with status 429")
    assert gemini_error.within(orjson.loads(body)["error"]).status == 502
