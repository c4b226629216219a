"""What can go wrong between a caller and a provider: one table, one class, one shape on the wire."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from translators.usage import Usage

Kind = Literal[
    "invalid_request",
    "unpriced_model",
    "context_length",
    "content_policy",
    "authentication",
    "permission",
    "not_found",
    "too_large",
    "over_budget",
    "budget_held",
    "rate_exceeded",
    "rate_limit",
    "upstream_quota",
    "upstream_auth",
    "upstream_conflict",
    "overloaded",
    "timeout",
    "connect",
    "bad_upstream",
    "unavailable",
    "internal",
]


class Policy(NamedTuple):
    """How one kind of failure is told to the client, and what the attempt loop may do about it."""

    status: int  # what our client sees
    type: str  # OpenAI's error.type
    code: str | None  # OpenAI's error.code, unless the provider gave a better one
    fall_back: bool  # may another target still answer?


POLICY: dict[Kind, Policy] = {
    # the caller's doing
    "invalid_request": Policy(400, "invalid_request_error", None, fall_back=False),
    "unpriced_model": Policy(400, "invalid_request_error", "unpriced_model", fall_back=True),
    "context_length": Policy(400, "invalid_request_error", "context_length_exceeded", fall_back=False),
    "content_policy": Policy(400, "invalid_request_error", "content_policy_violation", fall_back=False),
    "authentication": Policy(401, "authentication_error", "invalid_api_key", fall_back=False),
    "permission": Policy(403, "permission_error", "model_not_allowed", fall_back=False),
    "not_found": Policy(404, "invalid_request_error", "model_not_found", fall_back=False),
    "too_large": Policy(413, "invalid_request_error", "request_too_large", fall_back=False),
    "over_budget": Policy(429, "insufficient_quota", "insufficient_quota", fall_back=False),
    "budget_held": Policy(429, "rate_limit_error", "rate_limit_exceeded", fall_back=False),
    "rate_exceeded": Policy(429, "rate_limit_error", "rate_limit_exceeded", fall_back=False),
    # the provider's, or our account's there
    "rate_limit": Policy(429, "rate_limit_error", "rate_limit_exceeded", fall_back=True),
    "upstream_quota": Policy(429, "insufficient_quota", "provider_quota_exceeded", fall_back=True),
    "upstream_auth": Policy(502, "server_error", "provider_auth_failed", fall_back=True),
    "upstream_conflict": Policy(409, "server_error", None, fall_back=True),
    "overloaded": Policy(503, "server_error", "overloaded", fall_back=True),
    "timeout": Policy(504, "server_error", "timeout", fall_back=True),
    "connect": Policy(502, "server_error", "provider_unreachable", fall_back=True),
    "bad_upstream": Policy(502, "server_error", "bad_provider_answer", fall_back=True),
    # ours
    "unavailable": Policy(503, "server_error", "ledger_unavailable", fall_back=False),
    "internal": Policy(500, "server_error", "internal_error", fall_back=False),
}


MAX_REQUEST_ID = 200  # characters of it; a head has no room for more than its fields


class LLMError(Exception):
    """A request that cannot be answered, and whose fault it is.

    `status` overrides the kind's own where a provider's 4xx keeps its status. `retry_after_s` is seconds.
    `headers` are further response headers for the client (a provider's request id, say).
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        policy = POLICY[kind]
        self.kind: Kind = kind
        self.message = message
        self.param = param
        self.code = code or policy.code
        self.status = status or policy.status
        self.type = policy.type
        self.fall_back = policy.fall_back
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        self.usage: Usage | None = None  # what the provider said it used, where it failed in a 200

    def body(self) -> dict[str, Any]:
        """OpenAI's one shape for every error."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def forgotten(error: BaseException | None) -> None:
    """The way that `error` came: whoever keeps the error would keep every frame on it, and each frame the error."""
    while error is not None:
        error.__traceback__, error = None, error.__context__


def cut_off(message: str) -> LLMError:
    """An answer that stops before its end. What the provider had counted by then, it bills."""
    return LLMError("bad_upstream", message, code="provider_cut_off")


def of_status(
    status: int,
    message: str,
    *,
    kind: Kind | None = None,
    param: str | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> LLMError:
    """The error for a provider's HTTP `status` of 400 or more; `kind` where its structured code tells more.

    A 4xx keeps its status and message, save 401, 403 and 407, which are our fault and so 502; 529 is 503,
    504 stays 504, every other 5xx is 502.
    """
    if kind is None:
        kind = _KIND_OF_STATUS.get(status) or ("invalid_request" if 400 <= status < 500 else "bad_upstream")
    if kind == "upstream_auth":
        kept = None
    elif 400 <= status < 500:
        kept = status
    else:
        kept = {504: 504, 529: 503}.get(status, 502)
    return LLMError(kind, message, param=param, code=code, status=kept, retry_after_s=retry_after_s, headers=headers)


def unexplained(status: int, body: bytes) -> str:
    """The message for an answer with `status` whose body gives none."""
    looks = "an HTML page" if b"<html" in body[:1000].lower() else "no error message" if body.strip() else "no body"
    return f"The provider answered {status} with {looks}"


def request_id_header(value: object) -> dict[str, str]:
    """The header for a provider's own id of the request, where it gave one: what can be read of 200 characters."""
    if not isinstance(value, str):
        return {}
    id = "".join(filter(str.isprintable, value[:MAX_REQUEST_ID]))
    return {"x-upstream-request-id": id} if id else {}


def retry_after_s(value: str | None) -> float | None:
    """A Retry-After header in seconds; its other form, a date, is no use without a clock."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e9 else None


_KIND_OF_STATUS: dict[int, Kind] = {
    401: "upstream_auth",
    403: "upstream_auth",
    404: "not_found",
    407: "upstream_auth",
    408: "timeout",
    409: "upstream_conflict",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
