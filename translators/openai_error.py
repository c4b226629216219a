"""The errors of hosts that speak OpenAI's shape: by their status, or inside a 200."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from translators.errors import POLICY, Kind, LLMError, of_status, request_id_header
from translators.json_values import Json, object_of, piece_of

_KIND_OF_CODE: dict[str, Kind] = {
    "context_length_exceeded": "context_length",
    "content_filter": "content_policy",  # Azure
    "content_policy_violation": "content_policy",
    "moderation_blocked": "content_policy",
    "ResponsibleAIPolicyViolation": "content_policy",  # Azure's innererror
    "insufficient_quota": "upstream_quota",
    "billing_hard_limit_reached": "upstream_quota",
    "billing_not_active": "upstream_quota",
    "rate_limit_exceeded": "rate_limit",
    "model_not_found": "not_found",
    "model_decommissioned": "not_found",  # Groq, with a 400
    "invalid_model": "not_found",  # Mistral's type, with a 400
    "DeploymentNotFound": "not_found",  # Azure
    "invalid_api_key": "upstream_auth",
}
_STATUS_OF_TYPE = {  # for an error inside a 200, which has no status of its own
    "invalid_request_error": 400,
    "authentication_error": 401,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "overloaded_error": 529,
    "service_unavailable": 503,
}
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid")
_MAX_TEXT = 500  # characters of a plain-text error that are passed on


class Told(NamedTuple):
    """What a provider said of its failure."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None


def error(status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """The error for an HTTP `status` of 400 or more, whichever of the hosts' shapes its body has."""
    try:
        payload = piece_of(body)
    except orjson.JSONDecodeError:
        payload = _plain_text(body)
    lowered = {name.lower(): value for name, value in headers.items()}
    request_id = next((lowered[name] for name in _REQUEST_IDS if name in lowered), None)
    return failure(told_in(payload), status, _retry_after_s(lowered), request_id_header(request_id))


def failure(
    told: Told, status: int | None, retry_after_s: float | None = None, headers: Mapping[str, str] | None = None
) -> LLMError:
    """The error for what a host said; `status` None: inside a 200, which has none of its own."""
    kind = _KIND_OF_CODE.get(told.code or "") or _KIND_OF_CODE.get(told.type or "")
    status = status or told.status or _STATUS_OF_TYPE.get(told.type or "") or (POLICY[kind].status if kind else 502)
    if kind is None and status == 402:  # DeepSeek, OpenRouter: our balance there is used up
        kind = "upstream_quota"
    if status in (401, 407) or kind == "upstream_auth":  # these messages quote our key: not for the client
        message = f"The provider refused the gateway's credentials ({status})"
        return of_status(status, message, kind="upstream_auth", retry_after_s=retry_after_s, headers=headers)
    message = told.message or f"The provider answered {status} without a readable error"
    return of_status(
        status, message, kind=kind, param=told.param, code=told.code, retry_after_s=retry_after_s, headers=headers
    )


def told_in(payload: object) -> Told:
    """Reads every shape recorded: OpenAI's, xAI's `error` string, Mistral's bare message, FastAPI's `detail`."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if isinstance(payload, str):
        return Told(payload)
    if not isinstance(payload, dict):
        return Told("")
    inner = payload.get("error")
    if isinstance(inner, dict):
        return _detailed(inner)
    if isinstance(inner, str):
        return Told(inner, code=_text(payload.get("code")), type=_text(payload.get("error_type")))
    return _detailed(payload)


def _detailed(error: Json) -> Told:
    message, code, kind = _text(error.get("message")) or "", error.get("code"), _text(error.get("type"))
    if not message and (detail := error.get("detail")):
        message = _written(detail)
    numbers = (value for value in (error.get("status_code"), error.get("status"), code) if isinstance(value, int))
    status = next((number for number in numbers if 400 <= number <= 599), None)
    inner = _text(object_of(error, "innererror").get("code"))
    told = Told(message, kind, inner if inner in _KIND_OF_CODE else _text(code), _text(error.get("param")), status)
    metadata = object_of(error, "metadata")
    raw = metadata.get("raw")
    if not raw:
        return told
    # OpenRouter says only "Provider returned error" and puts what the provider said beside it
    try:
        within = told_in(piece_of(raw.encode()) if isinstance(raw, str) else raw)
    except orjson.JSONDecodeError:
        within = Told(raw)
    except RecursionError:  # one within the other, hundreds of times
        within = Told("")
    name = _text(metadata.get("provider_name")) or "upstream"
    message = f"{message} ({name}): {within.message or _written(raw)}"
    return Told(message, told.type or within.type, told.code or within.code, told.param or within.param, status)


def _written(value: object) -> str:
    """Text as it is, anything else as JSON; nothing where it is nested too deep to be written."""
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _plain_text(body: bytes) -> str:
    text = body.decode(errors="replace").strip()
    return "" if text.startswith("<") else text[:_MAX_TEXT]


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value):  # a date would need a clock
            return float(value) * unit_s
    return None


def failure_within(answer: Json) -> LLMError | None:
    """The error inside a 200, for the whole or for one choice (OpenRouter does both), or None."""
    if answer.get("error") or answer.get("object") == "error":
        return failure(told_in(answer), None)
    if stopped := object_of(answer, "x_groq").get("error"):  # Groq: why a stream was stopped early
        return failure(told_in(stopped), None)
    for choice in answer.get("choices") or ():
        if choice.get("error"):
            return failure(told_in(choice), None)
        if choice.get("finish_reason") == "error":
            return LLMError("bad_upstream", "The provider ended its answer with an error")
    return None
