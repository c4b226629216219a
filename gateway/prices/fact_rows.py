"""LiteLLM's collected model facts, read as rows of pricing.yaml. For `headgate prices diff` and scripts/import_facts.

Nothing is passed over in silence: `unknown` names every field that is neither read here, nor known to be no price, nor
left out for a reason (`LEFT_OUT`; pricing.yaml's head gives them to people).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from gateway.prices.fact_choice import MAKERS, VERTEX, Facts, azure, chosen

Json = dict[str, Any]
Rates = dict[str, Decimal]

RATES = {
    "input": "input_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "audio_input": "input_cost_per_audio_token",
    "image_input": "input_cost_per_image_token",
    "cache_read_audio": "cache_read_input_audio_token_cost",
    "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_output": "output_cost_per_audio_token",
    "image_output": "output_cost_per_image_token",
    "citation": "citation_cost_per_token",
}
TIERS = ("flex", "priority", "ultrafast")
LEFT_OUT = {
    "cache_creation_input_token_cost_above_12hr": "no chat completion can ask for it (openai 3.52, PromptCacheOptions)",
    "input_cost_per_audio_per_second": "restates the rate per token, or is 0",
    "input_cost_per_character": "restates the rate per token, or is 0",
    "input_cost_per_image": "restates the rate per token, or is 0",
    "input_cost_per_token_cache_hit": "DeepSeek's cache_read once more",
    "input_cost_per_video_per_second": "restates the rate per token, or is 0",
    "output_cost_per_character": "restates the rate per token, or is 0",
    "output_cost_per_image": "restates the rate per token of an image",
    "output_cost_per_video_token": "no chat completion answers with video",
    "search_free_requests": "an allowance of the account's, not of a request",
}
LEFT_OUT_TIERS = {"batches": "no chat completion is one", "decisions": "another endpoint's"}
_FEES = {
    *("google_maps_grounding_cost_per_query", "input_cost_per_request", "off_peak_pricing", "provider_specific_entry"),
    *("regional_endpoint_uplift_multiplier", "search_context_cost_per_query", "web_search_billing_unit"),
    *("regional_processing_uplift_multiplier_eu", "regional_processing_uplift_multiplier_us"),
}
_NO_PRICES = {
    *("default_reasoning_effort", "deprecation_date", "litellm_provider", "max_tokens", "metadata", "mode", "regional"),
    *("prompt_cache_min_tokens", "rpm", "source", "thinking_always_on", "tpm", "zones"),
}
_NO_PRICE = re.compile(r"(bedrock|max|reasoning|supported|supports|token_count)_[a-z0-9_]+")
_BATCHED = re.compile(rf"_({'|'.join((*TIERS, *LEFT_OUT_TIERS))})\Z")
_SIZED = re.compile(r"_above_(\d+k)_tokens\Z")
_WITHIN = {  # what may stand within a field
    "provider_specific_entry": {"fast", "us"},
    "search_context_cost_per_query": {f"search_context_size_{size}" for size in ("low", "medium", "high")},
    "off_peak_pricing": {*RATES.values(), "hours_utc", "weekdays", "windows"},
}
CLAUDE_SEARCH = Decimal("0.01")  # platform.claude.com, pricing: $10 per 1,000 searches, whatever the model
OPENROUTER_SEARCH = Decimal("0.035")  # the dearest of the makers' own; its plugin takes 0.02 by default (its docs)


def listed(text: str) -> dict[str, Facts]:
    """The facts in a file of LiteLLM's, numbers exact; what is null, and the file's own sample, is left out.

    Raises ValueError.
    """
    found = json.loads(text, parse_float=Decimal)
    if not isinstance(found, dict) or not all(isinstance(facts, dict) for facts in found.values()):
        raise ValueError("it is no mapping of models")
    kept = {name: _said(name, facts) for name, facts in found.items() if name != "sample_spec"}
    return {name: facts for name, facts in kept.items() if "litellm_provider" in facts and "mode" in facts}


def _said(name: str, facts: Facts) -> Facts:
    for field, value in facts.items():
        if _SIZED.sub("", _BATCHED.sub("", field)) in RATES.values() and not isinstance(value, Decimal | int | None):
            raise ValueError(f"{name}: {field} is no number")
        if field in _WITHIN and not isinstance(value, dict | None):
            raise ValueError(f"{name}: {field} is no mapping")
    return {field: value for field, value in facts.items() if value is not None}


def rows(facts: Mapping[str, Facts]) -> dict[str, Json]:
    """Every row of pricing.yaml that these facts make, by name, in its order; a rate is in USD per million tokens."""
    made = {name: _priced(name, each) for name, each in {**chosen(facts), **azure(facts)}.items()}
    return made | dict(_openrouter(facts))


def unknown(facts: Mapping[str, Facts]) -> dict[str, str]:
    """The fields, of the models that rows are made for, that are not known here; each with the first such model."""
    found: dict[str, str] = {}
    for name, each in {**chosen(facts), **azure(facts)}.items():
        apart = [*each.get("regional", {}).values(), *each.get("zones", {}).values()]
        for field in (field for one in (each, *apart) for field in _unknown(one)):
            found.setdefault(field, name)
    return found


def _unknown(facts: Facts) -> Iterator[str]:
    for field, value in facts.items():
        plain = _SIZED.sub("", _BATCHED.sub("", field))
        if plain in RATES.values() or plain in LEFT_OUT or field in _FEES:
            within = value if isinstance(value, dict) else {}
            yield from (f"{field}.{each}" for each in within if each not in _WITHIN.get(field, within))
        elif field not in _NO_PRICES and not _NO_PRICE.fullmatch(field):
            yield field
    if facts.get("web_search_billing_unit", "per_query") != "per_query":
        yield f"web_search_billing_unit: {facts['web_search_billing_unit']}"


# --- one row


def _priced(name: str, facts: Facts) -> Json:
    provider = facts["litellm_provider"]
    row: Json = {"provider": MAKERS[provider]} if provider in MAKERS else {}
    row |= _rates(facts) | _fees(name, facts)
    if provider == "perplexity" and facts.get("supports_web_search"):
        row["trust_provider_cost"] = True
    row["source"] = facts.get("source", "")
    entries = [*_conditions(facts), *_contexts(facts), *_off_peak(facts), *_multiples(facts)]
    return row | ({"when": entries} if entries else {})


def _rates(facts: Facts, size: str = "", tier: str = "") -> Rates:
    """The rates under one condition."""
    suffix = (f"_above_{size}_tokens" if size else "") + (f"_{tier}" if tier else "")
    row = {name: Decimal(facts[key + suffix]) * 1_000_000 for name, key in RATES.items() if key + suffix in facts}
    if facts["litellm_provider"] in ("gemini", *VERTEX) and facts.get("supports_audio_input") and "input" in row:
        if RATES["audio_input"] not in facts:
            row["audio_input"] = row["input"]
        if "cache_read" in row and RATES["cache_read_audio"] not in facts:
            row["cache_read_audio"] = row["cache_read"]
    for name, like in (("reasoning", "output"), ("image_input", "input")):
        if row.get(name) == row.get(like):  # as it is read anyway
            row.pop(name, None)
    return row


def _conditions(facts: Facts) -> list[Json]:
    """The `when` entries: larger prompts, then tiers, then both; each with every rate that the plain row has."""
    plain = _rates(facts)
    sizes = sorted({found[1] for key in facts if (found := re.search(r"_above_(\d+k)_tokens", key))}, key=_tokens)
    sizes = [size for size in sizes if _rates(facts, size)]
    tiers = [tier for tier in TIERS if _rates(facts, "", tier)]
    large = {size: _whole(plain, _rates(facts, size)) for size in sizes}
    tiered = {tier: _whole(plain, _rates(facts, "", tier)) for tier in tiers}
    made: list[Json] = [{"input_above": _tokens(size), **large[size]} for size in sizes]
    made += [{"service_tier": tier, **tiered[tier]} for tier in tiers]
    for size in sizes:
        for tier in tiers:
            both = {name: max(large[size][name], tiered[tier][name]) for name in plain} | _rates(facts, size, tier)
            made.append({"service_tier": tier, "input_above": _tokens(size), **both})
    apart = facts.get("regional", {})
    made += [{"region": region} for region in _as_plain(apart)]
    for region, there in apart.items():
        made.append({"region": region, **_whole(plain, _rates(there))})
        made += [{"region": region, **entry} for entry in _conditions(there)]
    return made


def _whole(plain: Rates, known: Rates) -> Rates:
    """Every rate of `plain`; one that is not known under a condition rises as the input's does, and never falls."""
    raised = max(Decimal(1), known["input"] / plain["input"]) if plain["input"] else Decimal(1)
    return {name: known.get(name, rate * raised) for name, rate in plain.items()}


def _tokens(size: str) -> int:
    return int(size.removesuffix("k")) * 1000


def _fees(name: str, facts: Facts) -> Rates:
    """USD a search or a request."""
    provider = facts["litellm_provider"]
    by_size = (facts.get("search_context_cost_per_query") or {}).values()
    fee = max(by_size, default=CLAUDE_SEARCH if provider == "anthropic" else None)
    made: Rates = {}
    if provider == "perplexity":  # deep research by the search, the others by the request (docs.perplexity.ai, pricing)
        by_request = [*by_size] if len(set(by_size)) > 1 else []
        request = max([*by_request, facts.get("input_cost_per_request", Decimal(0))])
        if fee is not None or request:
            made = {"web_search": Decimal(0) if by_request or fee is None else fee}
            made |= {} if RATES["citation"] in facts else {"citation": Decimal(0)}
            made |= {"request": request} if request else {}
    elif fee is not None and provider == "openai" and "-search-" in name:
        # they search at each request, and do not tell of it (openai 3.52, CompletionUsage)
        made = {"web_search": Decimal(0), "request": fee}
    elif fee is not None and provider in ("gemini", *VERTEX[:2]) and "web_search_billing_unit" not in facts:
        made = {"web_search": Decimal(0), "grounded": fee}  # by the prompt, up to Gemini 2.5 (ai.google.dev, pricing)
    elif fee is not None:
        made["web_search"] = fee
    if maps := facts.get("google_maps_grounding_cost_per_query"):
        made["map_search"] = maps
    return made


def _contexts(facts: Facts) -> list[Json]:
    """Perplexity's fees by how much of what it finds is read; the row itself has the dearest."""
    by_size = facts.get("search_context_cost_per_query") or {}
    if facts["litellm_provider"] != "perplexity" or len(set(by_size.values())) < 2:
        return []
    named = {field.removeprefix("search_context_size_"): fee for field, fee in by_size.items()}
    return [{"search_context": size, "request": named[size]} for size in ("low", "medium", "high") if size in named]


def _off_peak(facts: Facts) -> list[Json]:
    off_peak = facts.get("off_peak_pricing") or {}
    rates = {name: Decimal(off_peak[key]) * 1_000_000 for name, key in RATES.items() if key in off_peak}
    made = []
    for window in off_peak.get("windows", [off_peak] if off_peak else []):
        hours, days = list(_hours(window.get("hours_utc", "00:00-00:00"))), [*window.get("weekdays", ())]
        entry: Json = {"hours_utc": hours} if hours != ["00:00-24:00"] else {}
        entry |= {"days": [_DAYS[day - 1] for day in days]} if days else {}
        made.append(entry | rates)
    return made


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _hours(written: str | list[str]) -> Iterator[str]:
    """Windows that end at 24:00 at the latest; there, one may go past midnight, and one of no length is a day."""
    for window in [written] if isinstance(written, str) else written:
        start, _, end = window.partition("-")
        if end == "00:00" or start == end:
            yield f"{start}-24:00"
        elif start < end:
            yield window
        else:
            yield from (f"{start}-24:00", f"00:00-{end}")


def _multiples(facts: Facts) -> list[Json]:
    special = facts.get("provider_specific_entry") or {}
    made: list[Json] = []
    if "fast" in special:
        made += [{"service_tier": "priority"}, {"service_tier": "fast", "multiply": Decimal(special["fast"])}]
    if "us" in special:
        made.append({"region": "us", "multiply": Decimal(special["us"])})
    if uplift := facts.get("regional_endpoint_uplift_multiplier"):
        made.append({"region": "regional", "multiply": Decimal(uplift)})
    for region in ("eu", "us"):
        if uplift := facts.get(f"regional_processing_uplift_multiplier_{region}"):
            made.append({"region": region, "multiply": Decimal(uplift)})
    for zone, there in facts.get("zones", {}).items():
        ratios = [there[key] / facts[key] for key in (RATES["input"], RATES["output"]) if facts[key]]
        made.append({"region": zone, "multiply": max(ratios).quantize(Decimal("0.0001"), ROUND_CEILING).normalize()})
    return made


REGIONS = (  # botocore 1.44, partitions.json: those of the partition aws
    *("af-south-1", "ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3"),
    *("ap-south-1", "ap-south-2", "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4"),
    *("ap-southeast-5", "ap-southeast-6", "ap-southeast-7", "ca-central-1", "ca-west-1", "eu-central-1"),
    *("eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3"),
    *("il-central-1", "me-central-1", "me-south-1", "me-west-1", "mx-central-1", "sa-east-1", "sa-west-1"),
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
)


def _as_plain(apart: Iterable[str]) -> list[str]:
    """The regions at the plain rates, where some have their own: all others, or the US where the others are listed."""
    own = set(apart)
    if not own:
        return []
    others = all("-gov-" in region for region in own)
    return [region for region in REGIONS if region not in own and (others or region.startswith("us-"))]


# --- OpenRouter, where any model may be behind a name


def _openrouter(facts: Mapping[str, Facts]) -> Iterator[tuple[str, Json]]:
    for name, (read, made) in _dearest(facts).items():
        read_at = dict.fromkeys(("input", "cache_read", "cache_write", "audio_input"), read)
        made_at = {"cache_write_1h": read, "audio_output": made, "image_output": made}
        fees = {"web_search": OPENROUTER_SEARCH, "trust_provider_cost": True, "source": "https://openrouter.ai/docs"}
        yield name, {**read_at, "output": made, **made_at, **fees}


def _dearest(facts: Mapping[str, Facts]) -> dict[str, tuple[Decimal, Decimal]]:
    """The most that a token into and out of a maker's model costs, at any size; the one outlier apart."""
    most = {"openrouter/*": (Decimal(0), Decimal(0)), "openrouter/openai/o1-pro": (Decimal(0), Decimal(0))}
    for name, each in facts.items():
        if each["litellm_provider"] in MAKERS and each["mode"] in ("chat", "responses"):
            group = "openrouter/openai/o1-pro" if name.startswith("o1-pro") else "openrouter/*"
            for row in [_rates(each), *(entry for entry in _conditions(each) if "service_tier" not in entry)]:
                read, made = most[group]
                most[group] = max(read, row.get("input", read)), max(made, row.get("output", made))
    return most
