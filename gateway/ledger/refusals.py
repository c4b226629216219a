"""How a reserve that was refused is told to the caller: whose cap or limit it was, and when to come back."""

import re
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, inf

from gateway.ledger.store import Counter, Level, Meter, Refused
from gateway.virtual_keys import usd
from translators.errors import LLMError

Names = tuple[str, str, str]  # of the headers for the limit, what remains of it, and when it is whole again
Told = tuple[
    tuple[Names, tuple[tuple[int, int, int, str], ...]], ...
]  # place, limit, and what it is divided by; in words

_WHOSE = {"org": "the organisation", "team": "this team", "key": "this key", "user": "this end user"}
_SPAN = {
    "parallel": "requests at once",
    "rpm": "requests a minute",
    "rpd": "requests a day",
    "tpm": "tokens a minute",
    "tpd": "tokens a day",
}
_REQUESTS: Names = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
_TOKENS: Names = ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")
_NAMES = {"parallel": None, "rpm": _REQUESTS, "rpd": _REQUESTS, "tpm": _TOKENS, "tpd": _TOKENS}
_SCOPE = re.compile(r"(?:(.*?)@)??(org|team|key|user|tag):(.*)", re.DOTALL)
_SHARED = ("org", "tag")  # whose figures are not for every caller
_STOP = {"x-should-retry": "false"}


def refusal(
    answer: Refused, meters: Sequence[Meter], counters: Sequence[Counter], least_nanousd: int, most_nanousd: int
) -> LLMError:
    """The 429 for `answer` to a request that costs so much at least, and at most."""
    if answer.reason in ("rate", "too_large"):
        return _over_a_limit(answer, next(meter for meter in meters if meter.name == answer.name))
    scope, _, window = answer.name.rpartition("|")
    whose = f"the budget of {whose_is(scope)}{'' if window == 'total' else f' for {window}'}"
    if answer.reason == "over_budget":
        strict = any(counter.on_cap == "refuse" for counter in counters)
        needs = f"it may cost ${usd(most_nanousd)}" if strict else f"it takes ${usd(least_nanousd)} at least"
        caps = {counter.name: counter.cap_nanousd for counter in counters}
        left, cap = answer.left_nanousd, caps.get(answer.name)
        message = f"{_capital(whose)} does not cover this request"
        if cap is not None and _parts(scope)[1] not in _SHARED:
            message += f": {needs}, and ${usd(max(0, left))} of ${usd(cap)} is left"
        return LLMError("over_budget", message, headers=_STOP)
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
        headers=rate_headers(told([meter]), [(meter.limit, answer.retry_after_s)]),
    )


def whose_is(scope: str) -> str:
    """A scope in words: "this key", "this team for gpt-*"."""
    pattern, kind, id = _parts(scope)
    return _WHOSE.get(kind, f"the tag {id!r}") + (f" for {pattern}" if pattern else "")


def _parts(scope: str) -> tuple[str | None, str, str]:
    """The pattern of models, the kind and the id."""
    return _SCOPE.fullmatch(scope).groups()  # type: ignore[union-attr, return-value]  # every scope is of this form


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def told(meters: Sequence[Meter]) -> Told:
    """Which of them the rate headers are about: the headers' names, each with its meters."""
    places: dict[Names, list[tuple[int, int, int, str]]] = {}
    for place, meter in enumerate(meters):
        if (names := _NAMES[meter.measure]) is not None:
            places.setdefault(names, []).append((place, meter.limit, meter.limit or 1, str(meter.limit)))
    return tuple((names, tuple(found)) for names, found in places.items())


def rate_headers(told: Told, levels: Sequence[Level]) -> dict[str, str]:
    """OpenAI's `x-ratelimit-*` headers, for the tightest limit on requests and the tightest on tokens.

    Source: platform.openai.com/docs/guides/rate-limits, "Rate limits in headers".
    """
    headers: dict[str, str] = {}
    for (limit, remaining, reset), places in told:
        tightest = inf  # the share of its limit that is left
        for place, allowed, whole, words in places:
            used, full_s = levels[place]
            if (share := (allowed - used) / whole) < tightest:
                tightest, headers[limit], left, reset_s = share, words, allowed - used, full_s
        headers[remaining] = str(left) if left > 0 else "0"
        headers[reset] = _whole(round(reset_s)) if reset_s >= 1 else f"{max(0, round(reset_s * 1000))}ms"
    return headers


@lru_cache(maxsize=4096)
def _whole(seconds: int) -> str:
    """As OpenAI writes it: 1h2m3s, 6m0s, 1s; what is less, 20ms."""
    if seconds < 60:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + f"{minutes}m{rest}s"
