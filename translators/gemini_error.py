"""Google's errors: one JSON object, in a list where the stream was one, to one of ours.

Sources: google-genai 3.4, errors.py; google.rpc error details (google/rpc/error_details.proto); the recorded 4xx.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from translators.errors import Kind, LLMError, of_status, request_id_header
from translators.json_values import piece_of

_KIND_OF_STATUS: dict[str, Kind] = {  # google.rpc.Code, where it tells more than the HTTP status
    "UNAUTHENTICATED": "upstream_auth",
    "PERMISSION_DENIED": "upstream_auth",
    "FAILED_PRECONDITION": "upstream_auth",  # our account: no billing, or a country without the service
    "NOT_FOUND": "not_found",
    "ABORTED": "upstream_conflict",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "timeout",
    "INTERNAL": "bad_upstream",
    "CANCELLED": "bad_upstream",
    "UNKNOWN": "bad_upstream",
}
_HTTP_OF_STATUS = {
    **dict.fromkeys(("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"), 400),
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# There is no structured code for these: the only places where a message's words decide.
_CONTEXT = re.compile(
    r"(input|prompt) token count .{0,40}exceeds the maximum|exceeds the maximum number of tokens", re.I
)
_DAILY = re.compile(r"PerDay|PerMonth", re.I)


def error(status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """The error for an answer with `status` of 400 or more. An HTML page or an empty body gets a clear message."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        parsed = piece_of(body)
    except orjson.JSONDecodeError:
        parsed = None
    found = error_object(parsed)
    if found is None:
        what = "an HTML page" if body.lstrip()[:1] == b"<" else "no error it explains" if body.strip() else "nothing"
        found = {"message": f"The provider answered with status {status} and {what}"}
    return _of(found, status, _seconds(lower.get("retry-after")))


def error_object(parsed: object) -> dict[str, Any] | None:
    """The `error` within a decoded body, a list of one included; None where there is none."""
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    found = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(found, str):
        return {"message": found}
    return found if isinstance(found, dict) else None


def within(found: dict[str, Any]) -> LLMError:
    """The error for an `error` object that came with status 200, in a stream or alone."""
    code, status = found.get("code"), _HTTP_OF_STATUS.get(_text(found.get("status")), 502)
    return _of(found, code if isinstance(code, int) and 400 <= code < 600 else status, None)


def _of(found: dict[str, Any], status: int, retry_after_s: float | None) -> LLMError:
    details = _objects(found.get("details"))
    message = _text(found.get("message")) or f"The provider answered with status {status}"
    request_id = next((each["requestId"] for each in details if each.get("requestId")), None)
    fields = [each.get("field") for detail in details for each in _objects(detail.get("fieldViolations"))]
    delays = [delay for each in details if (delay := _seconds(each.get("retryDelay"))) is not None]
    return of_status(
        status,
        message,
        kind=_kind(found, status, message, details),
        param=next((field for field in fields if isinstance(field, str) and field), None),
        retry_after_s=delays[0] if delays else retry_after_s,
        headers=request_id_header(request_id),
    )


def _kind(found: dict[str, Any], status: int, message: str, details: list[dict[str, Any]]) -> Kind | None:
    if any(_text(each.get("reason")).startswith("API_KEY_") for each in details):
        return "upstream_auth"  # with status 400
    if status == 429 or found.get("status") == "RESOURCE_EXHAUSTED":
        return _exhausted(details)
    if status == 400 and _CONTEXT.search(message):
        return "context_length"
    return _KIND_OF_STATUS.get(_text(found.get("status")))


def _exhausted(details: list[dict[str, Any]]) -> Kind:
    """A rate passes in a minute; a quota for the day, or of nothing at all, does not."""
    violations = [each for detail in details for each in _objects(detail.get("violations"))]
    spent = any(_DAILY.search(_text(each.get("quotaId"))) or each.get("quotaValue") in ("0", 0) for each in violations)
    return "upstream_quota" if spent else "rate_limit"


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    """What is none is nothing: written out, a value nested too deep would be a RecursionError."""
    return value if isinstance(value, str) else ""


def _seconds(value: object) -> float | None:
    """Seconds from "34.4s" (google.protobuf.Duration) or "30" (Retry-After); a date is not read."""
    if not isinstance(value, str | int | float):
        return None
    try:
        found = float(str(value).removesuffix("s"))
    except ValueError:
        return None
    return found if 0 <= found < 1e9 else None
