"""What an answer used, as each host that speaks OpenAI's shape counts it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from translators.json_values import Json, object_of
from translators.usage import MOST_TOKENS, Usage, count

# Where hosts differ from OpenAI's `prompt_tokens_details` and `completion_tokens_details` (all as recorded; None ≠ 0):
#
#   cached prompt     DeepSeek prompt_cache_hit_tokens; Mistral num_cached_tokens; Venice cache_read_input_tokens
#   written to cache  OpenAI, OpenRouter cache_write_tokens; Venice, Vercel cache_creation_input_tokens
#                     (2161 read and 2161 written of a prompt of 2168 on OpenRouter: no token is counted twice here)
#   audio prompt      Mistral counts it outside prompt_tokens: 11 + 375 (audio) + 15 = total 401
#   reasoning         xAI counts it outside completion_tokens: 165 + 2 + 125 (reasoning) = total 292; Vercel outside the
#                     total too for Gemini (61 + 10 = 71, 96 reasoning, and its price is for 106); OpenRouter may say
#                     more than completion_tokens (260 of 256) and bills 256; Perplexity's deep research outside both
#                     (4240, total 5428, 92431 reasoning, and its costs are for 4240 and for 92431)
#   images, video     Azure's Grok and OpenRouter detail them within prompt_tokens, at the prompt's own rate
#   price             OpenRouter, Vercel `cost` (with is_byok also cost_details.upstream_inference_cost); Perplexity
#                     cost.total_cost; xAI cost_in_usd_ticks of 1e-10 USD (0 where Azure hosts it: not a price)
#   searches          OpenRouter server_tool_use.web_search_requests; Perplexity num_search_queries, citation_tokens
#                     (beside prompt_tokens) and search_context_size, which choose its fees
#   in a stream       Groq also x_groq.usage; Perplexity and Baseten cumulative on every frame
MOST_USD = 10**6  # for one answer; a larger figure is nonsense
_CACHED = ("prompt_cache_hit_tokens", "num_cached_tokens", "cache_read_input_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens")


def usage_of(answer: Json) -> Usage | None:
    """The usage in a whole answer or in one frame, in disjoint buckets; None where there is none."""
    told = answer.get("usage") or object_of(answer, "x_groq").get("usage")
    if not isinstance(told, dict) or not told:
        return None
    return _usual(answer, told) or _read(answer, told)


_USUAL = {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}


def _usual(answer: Json, told: Json) -> Usage | None:
    """What `_read` makes of OpenAI's own form of text alone, some of it cached or reasoning; None for any other.

    A third of the time: nearly every answer is of that form, and this is read at each.
    """
    if not _USUAL.issuperset(told):
        return None
    prompt, completion = told.get("prompt_tokens"), told.get("completion_tokens")
    if type(prompt) is not int or type(completion) is not int or told.get("total_tokens") != prompt + completion:
        return None
    if not (0 <= prompt <= MOST_TOKENS and 0 <= completion <= MOST_TOKENS):
        return None
    reads, made = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    cached = _only("cached_tokens", reads, prompt) if reads else 0
    reasoning = _only("reasoning_tokens", made, completion) if made else 0
    if cached < 0 or reasoning < 0:
        return None
    tier = answer.get("service_tier")
    return Usage(
        prompt - cached,
        cached,
        output_tokens=completion - reasoning,
        reasoning_tokens=reasoning,
        service_tier=tier if isinstance(tier, str) else "",
    )


def _only(name: str, details: object, most: int) -> int:
    """The count of this name among `details`, at most that many, where they hold no other; -1 where that is not so."""
    if not isinstance(details, dict):
        return -1
    if not any(details.values()):
        return 0
    amount = details.get(name)
    if type(amount) is not int or not 0 < amount <= most:
        return -1
    return amount if sum(map(bool, details.values())) == 1 else -1


def _read(answer: Json, told: Json) -> Usage:
    counted = _counted(told)
    reads, made = _counted(told.get("prompt_tokens_details")), _counted(told.get("completion_tokens_details"))
    reasoning = made.get("reasoning_tokens") or counted.get("reasoning_tokens", 0)
    audio = reads.get("audio_tokens", 0)
    prompt, completion = _totals(counted, audio, reasoning, "market_cost" in told)

    cached = min(prompt, reads.get("cached_tokens") or _first(counted, _CACHED))
    written = min(prompt - cached, _first(reads, _WRITTEN) or _first(counted, _WRITTEN))
    audio = min(audio, prompt)
    cached_audio = min(cached, max(0, cached + written + audio - prompt))  # what fits nowhere else was in the cache
    audio -= cached_audio
    reasoning = min(reasoning, completion)
    spoken = min(made.get("audio_tokens", 0), completion - reasoning)
    drawn = min(made.get("image_tokens", 0), completion - reasoning - spoken)
    tier, context = answer.get("service_tier") or told.get("service_tier"), told.get("search_context_size")
    searches = _counted(told.get("server_tool_use")).get("web_search_requests")
    return Usage(
        input_tokens=max(0, prompt - cached - written - audio),
        cache_read_tokens=cached - cached_audio,
        cache_write_tokens=written,
        audio_input_tokens=max(0, min(audio, prompt - cached - written)),
        cache_read_audio_tokens=cached_audio,
        output_tokens=completion - reasoning - spoken - drawn,
        reasoning_tokens=reasoning,
        audio_output_tokens=spoken,
        image_output_tokens=drawn,
        citation_tokens=counted.get("citation_tokens", 0),
        web_searches=searches or counted.get("num_search_queries", 0),
        accepted_prediction_tokens=made.get("accepted_prediction_tokens", 0),
        rejected_prediction_tokens=made.get("rejected_prediction_tokens", 0),
        service_tier=tier if isinstance(tier, str) else "",
        search_context=context if isinstance(context, str) else "",
        cost_usd=_cost(told),
    )


def latest(before: Usage, usage: Usage) -> Usage:
    """What a stream says last counts, all of it being cumulative; save that nothing after something is no count."""
    if usage.prompt_tokens or usage.completion_tokens:
        return usage
    return replace(before, cost_usd=before.cost_usd if usage.cost_usd is None else usage.cost_usd)


def _counted(told: object) -> dict[str, int]:
    """What of `told`, an object or nothing, is a count above 0."""
    if not isinstance(told, dict):
        return {}
    return {name: amount for name, value in told.items() if value is not None and (amount := count(value))}


def _totals(counted: Mapping[str, int], audio: int, reasoning: int, apart: bool) -> tuple[int, int]:
    """All that was read and all that was generated; what a host counts outside of both shows in its total.

    `apart`: a host that counts reasoning nowhere, where it is more than what was generated.
    """
    prompt, completion = counted.get("prompt_tokens", 0), counted.get("completion_tokens", 0)
    missing = counted.get("total_tokens", 0) - prompt - completion
    if "citation_tokens" in counted:
        return prompt, completion + reasoning
    if missing <= 0:
        return prompt, completion + (reasoning if apart and reasoning > completion else 0)
    if missing in (audio, audio + reasoning):
        prompt, missing = prompt + audio, missing - audio
    return prompt, completion + missing  # unexplained, it was generated and not shown


def _cost(told: Json) -> str | None:
    """What the host itself charged, in USD, as a plain decimal; None where that is no amount."""
    cost = told.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if cost is None and "cost_in_usd_ticks" not in told:
        return None
    if ticks := _amount(told.get("cost_in_usd_ticks"), 10**10):
        return f"{ticks.scaleb(-10):f}"
    charged, owed = _amount(cost), Decimal(0)
    if told.get("is_byok"):  # the maker's own bill comes on top; where it is not told, nothing is known
        own = _amount(object_of(told, "cost_details").get("upstream_inference_cost"))
        charged, owed = (None, owed) if own is None else (charged, own)
    return None if charged is None else f"{charged + owed:f}"


def _amount(value: object, per_usd: int = 1) -> Decimal | None:
    """A sum, as a number or as a string; None where it is none, negative or nonsense."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < MOST_USD * per_usd else None


def _first(counted: Mapping[str, int], names: Iterable[str]) -> int:
    for name in names:
        if name in counted:
            return counted[name]
    return 0
