"""Errors of hosts that speak OpenAI's shape: one kind each, and never our key."""

from typing import Any

import pytest

from tests.fixtures import made
from tests.replay import body_of, recording
from translators import openai_error
from translators.errors import LLMError


@pytest.mark.parametrize(
    ("row", "kind", "status", "code", "message"),
    [
        (recording("openai.chat", "d6c4bb30c4a5"), "invalid_request", 400, "unsupported_parameter", "Unsupported para"),
        (recording("openai.chat", "18dea70c33b7"), "not_found", 404, "model_not_found", "gpt-4.1-nano-wrong"),
        (
            recording("openai.chat", "8faf97ec8c84"),
            "upstream_auth",
            502,
            "provider_auth_failed",
            "not allowed to sample",
        ),
        (recording("groq.chat", "937bd20ddff5"), "not_found", 400, "model_decommissioned", "has been decommissioned"),
        (recording("mistral.chat", "ee2a01a6987a"), "invalid_request", 400, "3051", "Logprobs are not enabled"),
        (
            recording("xai.chat", "43008a32c309"),
            "invalid_request",
            400,
            "Client specified an invalid argument",
            "reasoningEffort",
        ),
        (recording("azure.chat", "65602d282189"), "not_found", 404, "DeploymentNotFound", "deployment"),
        (recording("azure.chat", "cacf9066a658"), "invalid_request", 422, "Invalid input", "invalid input error"),
        (
            recording("openrouter.chat", "47a31c4beda3"),
            "invalid_request",
            400,
            None,
            r"\(OpenAI\): Unsupported parameter",
        ),
        (
            recording("openrouter.chat", "9f7f7b36013c"),
            "rate_limit",
            429,
            "rate_limit_exceeded",
            r"\(Chutes\): deepseek/",
        ),
        (made.OPENAI_429, "rate_limit", 429, "rate_limit_exceeded", "Rate limit reached"),
        (made.OPENAI_QUOTA, "upstream_quota", 429, "insufficient_quota", "exceeded your current quota"),
        (made.OPENAI_CONTEXT_LENGTH, "context_length", 400, "context_length_exceeded", "maximum context length"),
        (made.OPENAI_500, "bad_upstream", 502, "bad_provider_answer", "The server had an error"),
        (made.AZURE_CONTENT_FILTER, "content_policy", 400, "ResponsibleAIPolicyViolation", "filtered"),
    ],
    ids=lambda value: value["id"] if isinstance(value, dict) else None,
)
def test_each_hosts_error_becomes_one_kind(
    row: dict[str, Any], kind: str, status: int, code: str | None, message: str
) -> None:
    error = openai_error.error(row["response"]["status"], row["response"]["headers"], body_of(row))
    assert (error.kind, error.status, error.code) == (kind, status, code)
    with pytest.raises(LLMError, match=message):
        raise error


@pytest.mark.parametrize(
    ("api", "id"),
    [("openai.chat", "e9217d05f869"), ("deepseek.chat", "6dc79c913783"), ("mistral.chat", "e5212d892ce4")],
)
def test_a_refused_key_is_our_fault_and_never_quoted(api: str, id: str) -> None:
    error = openai_error.error(401, {}, body_of(recording(api, id)))
    assert (error.kind, error.status, error.code) == ("upstream_auth", 502, "provider_auth_failed")
    assert "key" not in error.message.lower()


def test_param_request_id_and_the_wait_are_kept() -> None:
    error = openai_error.error(400, {"X-Request-ID": "req_1"}, body_of(recording("openai.chat", "d6c4bb30c4a5")))
    assert error.param == "max_tokens" and error.headers == {"x-upstream-request-id": "req_1"}
    row = made.OPENAI_429
    assert openai_error.error(429, row["response"]["headers"], body_of(row)).retry_after_s == 19.5
    assert openai_error.error(429, {"retry-after": "20"}, b"{}").retry_after_s == 20
    assert openai_error.error(429, {"retry-after": "Fri, 20 Nov 2026 10:00:00 GMT"}, b"{}").retry_after_s is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (402, b'{"error":{"message":"Insufficient Balance"}}', "upstream_quota", "Insufficient Balance"),
        (422, b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "invalid_request", "field required"),
        (400, b'{"error":"Input is too long","error_type":"validation"}', "invalid_request", "Input is too long"),
        (400, b'[{"error":{"code":400,"message":"no such field"}}]', "invalid_request", "no such field"),
        (503, b"<html>Bad gateway</html>", "overloaded", "answered 503"),
        (500, b"upstream connect error", "bad_upstream", "upstream connect error"),
        (500, b"", "bad_upstream", "answered 500"),
        (400, b'{"error":{"message":"no \\ud83d","code":"context_length_exceeded"}}', "context_length", "no \ufffd"),
        (400, b'{"error":{"metadata":{"raw":"{\\"message\\":\\"no \\\\ud83d\\"}"}}}', "invalid_request", ": no \ufffd"),
    ],
)
def test_odd_error_bodies_still_say_something(status: int, body: bytes, kind: str, message: str) -> None:
    error = openai_error.error(status, {}, body)
    assert error.kind == kind and message in error.message


def _deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"detail":' + _deep(300) + b"}", "answered 429"),
        (b'{"error":{"message":"no","metadata":{"raw":' + _deep(1000) + b"}}}", "no (upstream): "),
        (b'{"error":{"message":"no","metadata":{"raw":{"a":1}}}}', 'no (upstream): {"a":1}'),
        (b'{"metadata":{"raw":' * 500 + b'"no"' + b"}}" * 500, "(upstream): "),
    ],
    ids=["detail", "raw", "raw but not deep", "raw within raw"],
)
def test_what_is_nested_too_deep_is_left_out_of_the_message(body: bytes, message: str) -> None:
    error = openai_error.error(429, {}, body)
    assert error.kind == "rate_limit" and message in error.message
