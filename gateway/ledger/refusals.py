"""How a reserve that was refused is told to the caller: whose cap or limit it was, and when to come back."""

import re
from collections.abc import Sequence
from math import ceil, inf

from gateway.ledger.store import Level, Meter, Refused
from translators.errors import LLMError

_WHOSE = {"org": "the organisation", "team": "this team", "key": "this key", "user": "this end user"}
_SPAN = {
    "parallel": "requests at once",
    "rpm": "requests a minute",
    "rpd": "requests a day",
    "tpm": "tokens a minute",
    "tpd": "tokens a day",
}
_REQUESTS, _TOKENS = (
    tuple(f"x-ratelimit-{what}-{counted}" for what in ("limit", "remaining", "reset"))
    for counted in ("requests", "tokens")
)
_SHOWN = {"parallel": None, "rpm": _REQUESTS, "rpd": _REQUESTS, "tpm": _TOKENS, "tpd": _TOKENS}
_SCOPE = re.compile(r"(?:(.*?)@)??(org|team|key|user|tag):(.*)", re.DOTALL)
_STOP = {"x-should-retry": "false"}


def refusal(answer: Refused, meters: Sequence[Meter]) -> LLMError:
    """The 429 for `answer`."""
    if answer.reason in ("rate", "too_large"):
        return _over_a_limit(answer, next(meter for meter in meters if meter.name == answer.name))
    scope, _, window = answer.name.rpartition("|")
    whose = f"the budget of {whose_is(scope)}{'' if window == 'total' else f' for {window}'}"
    if answer.reason == "over_budget":
        return LLMError("over_budget", f"{_capital(whose)} does not cover this request", headers=_STOP)
    return LLMError("budget_held", f"The rest of {whose} is held by requests that are still running", retry_after_s=1)


def _over_a_limit(answer: Refused, meter: Meter) -> LLMError:
    whose = whose_is(meter.scope)
    if meter.measure == "parallel" and answer.reason == "rate":
        message = f"{_capital(whose)} may have {meter.limit} requests running at once, and has"
        return LLMError("rate_exceeded", message, retry_after_s=answer.retry_after_s)
    allowed = f"{whose} is limited to {meter.limit} {_SPAN[meter.measure]}"
    if answer.reason == "too_large":
        return LLMError("rate_exceeded", f"This request alone is larger: {allowed}", headers=_STOP)
    return LLMError(
        "rate_exceeded",
        f"{_capital(allowed)}: try again in {ceil(answer.retry_after_s)} s",
        retry_after_s=answer.retry_after_s,
        headers=rate_headers([meter], [Level(meter.limit, answer.retry_after_s)]),
    )


def whose_is(scope: str) -> str:
    """A scope in words: "this key", "this team for gpt-*"."""
    pattern, kind, id = _SCOPE.fullmatch(scope).groups()  # type: ignore[union-attr]  # every scope is of this form
    return _WHOSE.get(kind, f"the tag {id!r}") + (f" for {pattern}" if pattern else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def rate_headers(meters: Sequence[Meter], levels: Sequence[Level]) -> dict[str, str]:
    """OpenAI's `x-ratelimit-*` headers, for the tightest limit on requests and the tightest on tokens.

    Source: platform.openai.com/docs/guides/rate-limits, "Rate limits in headers".
    """
    headers: dict[str, str] = {}
    shown: dict[str, float] = {}  # how much is left of the tightest so far, as a share
    for meter, level in zip(meters, levels, strict=True):
        names = _SHOWN[meter.measure]
        if names is None:
            continue
        limit, left = meter.limit, meter.limit - level.used
        share = left / (limit or 1)
        if share >= shown.get(names[0], inf):
            continue
        shown[names[0]] = share
        headers[names[0]] = str(limit)
        headers[names[1]] = str(left) if left > 0 else "0"
        headers[names[2]] = _span(level.full_s)
    return headers


def _span(seconds: float) -> str:
    """As OpenAI writes it: 1h2m3s, 6m0s, 1s, 20ms."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if (whole := round(seconds)) < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
