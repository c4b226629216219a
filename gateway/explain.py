"""What would become of a request, without sending or reserving anything: `?dry_run=1` and `headgate explain`."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.types import Scope

from gateway import ceilings
from gateway.attempts import Course, translated
from gateway.ceilings import Quote
from gateway.config import Config
from gateway.prices.estimate import text_alone
from gateway.routing import Target, targets_for
from gateway.virtual_keys import usd
from translators import chat_request
from translators.errors import LLMError
from translators.exchange import Json, Media, UpstreamRequest
from translators.outcomes import calls
from translators.registry import TRANSLATORS

MASK = "•••"
_DRY = {"1": True, "true": True, "0": False, "false": False}
_SECRET = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})

NOT_FETCHED = Media("image/png", b"")  # stands for what would be fetched: a dry run asks nobody


def asked(scope: Scope) -> bool:
    """Whether the request is to be explained and not sent: `?dry_run=1` or `=true`.

    Raises LLMError for a word that is neither that nor `0` or `false`: the request would cost something.
    """
    query = scope.get("query_string")
    if not query:
        return False
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("dry_run", ["0"])[-1]
    if (said := _DRY.get(given.lower())) is None:
        message = "`dry_run` must be 1 or true, or 0 or false"
        raise LLMError("invalid_request", message, param="dry_run", code="invalid_value")
    return said


def explained(
    chat: Json,
    targets: Sequence[Target],
    quotes: Sequence[Quote],
    usual_tokens: int,
    remembered: Mapping[str, Any],
    signed: Collection[str],
    *,
    capped: bool,
) -> Json:
    """For each target in order: what would be sent, what is left out and why, and the most that it can cost.

    Amounts are exact USD strings. `signed` are the providers whose requests get their authentication when they are
    sent. A target that cannot take the request says so; when none can, the first one's LLMError is raised, as it
    would be to the caller.
    """
    ceiling = ceilings.highest(chat, quotes, usual_tokens)
    limits = ceilings.lengths(quotes, ceiling.most, capped=capped)
    course = Course("dry-run", 0, chat, tuple(quote.target for quote in quotes), limits, remembered=remembered)
    found: list[Json] = []
    refusals: list[LLMError] = []
    priced = {quote.target: quote for quote in quotes}
    for target in targets:
        about = {"target": target.name, "dialect": target.dialect}
        if (quote := priced.get(target)) is None:
            why = "has no complete price here, and is not asked"
            found.append(about | LLMError("unpriced_model", f"`{target.name}` {why}", param="model").body())
            continue
        try:
            found.append(_target(course, quote, signed))
        except LLMError as refusal:
            refusals.append(refusal)
            found.append(about | refusal.body())
    if len(refusals) == len(quotes):
        raise refusals[0]
    return {
        "object": "headgate.explanation",
        "model": chat["model"],
        "targets": found,
        "hold": {"least_usd": usd(ceiling.least), "usual_usd": usd(ceiling.usual), "most_usd": usd(ceiling.most)},
    }


def explained_by(config: Config, body: bytes) -> Json:
    """The same for a body as a caller would send it, by a configuration alone: no key, no store, nothing remembered."""
    chat = chat_request.parse(body)
    targets = targets_for(config, chat["model"], 0.0)
    quotes = ceilings.quotes(chat, len(body), targets, config.prices.unpriced, text_alone(chat), time.time())
    return explained(chat, targets, quotes, config.settings.usual_output_tokens, {}, (), capped=True)


def _target(course: Course, quote: Quote, signed: Collection[str]) -> Json:
    target, translator = quote.target, TRANSLATORS[quote.target.dialect]
    urls = translator.media_urls(course.chat, target.endpoint)
    sent = translated(course, target, dict.fromkeys(urls, NOT_FETCHED))
    return {
        "target": target.name,
        "dialect": target.dialect,
        "request": _request(sent, target, target.provider in signed),
        "fetches": list(urls),
        "calls": calls(course.chat, translator.OUTCOMES, target.endpoint),
        "dropped": [{"feature": drop.feature, "why": drop.why} for drop in sent.dropped],
        "most_usd": None if quote.price is None else usd(quote.nanousd(quote.output_tokens)),
        "price": None if quote.price is None else quote.price.named(quote.at_s),
        "limits": {
            "input_tokens": quote.input_tokens,
            "output_tokens": quote.output_tokens,
            "choices": quote.choices,
            "searches": quote.extras.searches,
        },
    }


def _request(sent: UpstreamRequest, target: Target, signed: bool) -> Json:
    """The upstream request as JSON, its secrets masked: keys, and whatever the operator's own headers say."""
    own = {name.lower() for name in target.endpoint.headers}
    headers = {name: MASK if name.lower() in _SECRET | own else value for name, value in sent.headers.items()}
    if signed:
        headers["authorization"] = MASK
    return {"method": "POST", "url": sent.url, "headers": headers, "body": orjson.loads(sent.body)}
