"""What a provider says was used and what it charges for, read from its own exports.

OpenAI: the answers of GET /v1/organization/usage/completions and /v1/organization/costs (openai 3.52,
types/admin/organization/usage_{completions,costs}_response.py), and the dashboard's CSV, whose columns have the same
names (`amount_value` for the cost; seen in published exports of October 2025, documented nowhere).
Anthropic: GET /v1/organizations/usage_report/messages and /v1/organizations/cost_report
(platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages and …/cost_report, read 2026-11-20).

Days are UTC's, as with both of them.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from gateway.reports.spending import day_of, midnight_s
from gateway.virtual_keys import NANO
from translators.errors import LLMError

Provider = Literal["openai", "anthropic"]
Json = Mapping[str, Any]
CENT = 10**7  # nano-USD
MOST = 10**18  # of USD, tokens or calls: far beyond any, and exact in a Decimal with its fractions
COST = "cost_nanousd"
_SNAPSHOT = re.compile(r"[-@](20\d{6}|20\d\d-\d\d-\d\d|latest)$")


class Stated(NamedTuple):
    """One line of an export. `amounts` are tokens by bucket, calls, or the cost; empty where a day had nothing."""

    day: str
    model: str | None  # None: it does not say
    amounts: Mapping[str, Decimal]
    about: Literal["usage", "cost"]


def read(provider: Provider, text: str) -> list[Stated]:
    """An export as text: a page of the API's answer, several in a list or line by line, or OpenAI's CSV.

    Raises LLMError("invalid_request") that says what cannot be read.
    """
    text = text.removeprefix("\ufeff").strip()
    try:
        if text.startswith(("{", "[")):
            return _of_one_kind([line for bucket in _buckets(_json(text)) for line in _READERS[provider](bucket)])
        if provider == "openai" and text.startswith("start_time"):
            return _of_one_kind(list(_openai_csv(text)))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:  # decimal's are the last
        message = f"this is not what {provider} exports: {type(error).__name__}: {error}"
        raise LLMError("invalid_request", message) from None
    raise LLMError("invalid_request", f"this is not what {provider} exports: neither JSON nor a known CSV")


def plain_name(model: str) -> str:
    """A model's name in one spelling, without a date behind it: providers report snapshots, callers ask for names."""
    return _SNAPSHOT.sub("", model.rpartition("/")[2].lower().replace(".", "-"))


def _of_one_kind(lines: list[Stated]) -> list[Stated]:
    """A day without a line is of the kind that the rest of its file is."""
    kinds = {line.about for line in lines if line.amounts}
    return [line for line in lines if not kinds or line.about in kinds]


def _json(text: str) -> list[Any]:
    try:
        whole = json.loads(text, parse_float=Decimal)  # amounts stay as they are written
        return whole if isinstance(whole, list) else [whole]
    except ValueError:
        return [json.loads(line, parse_float=Decimal) for line in text.splitlines() if line.strip()]


def _buckets(pages: list[Any]) -> Iterator[Json]:
    for page in pages:
        yield from [page] if "results" in page else page["data"]


def _openai(bucket: Json) -> Iterator[Stated]:
    day = day_of(float(bucket["start_time"]))
    for result in bucket["results"]:
        kind = result["object"]
        if kind == "organization.costs.result":
            amount = result.get("amount") or {}
            yield _openai_cost(day, amount.get("value"), amount.get("currency"), result.get("line_item"))
        elif kind == "organization.usage.completions.result":
            yield _openai_usage(day, result)
        else:
            raise ValueError(f"{kind} is not about completions or costs")
    if not bucket["results"]:
        yield from _nothing(day)


def _openai_csv(text: str) -> Iterator[Stated]:
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    for row in csv.DictReader(io.StringIO(text), delimiter=delimiter):
        day = day_of(float(row["start_time"]))
        if row.get("amount_value"):
            yield _openai_cost(day, row["amount_value"], row["amount_currency"], row.get("line_item"))
        elif row.get("input_tokens"):
            yield _openai_usage(day, row)
        else:
            yield from _nothing(day)


def _nothing(day: str) -> Iterator[Stated]:
    """A day on which nothing was used: whether of usage or of costs does not stand there."""
    yield Stated(day, None, {}, "usage")
    yield Stated(day, None, {}, "cost")


def _openai_cost(day: str, value: Any, currency: str | None, line_item: str | None) -> Stated:
    """A line item is `model, what of it`, as in "gpt-6-astra, input_tokens" (usage_costs_params.py)."""
    if value is not None and str(currency).lower() != "usd":
        raise ValueError(f"an amount is in {currency!r}, not in USD")
    model = line_item.partition(",")[0].strip() if line_item else None
    return Stated(day, model, {COST: _amount(value or 0) * NANO}, "cost")


def _openai_usage(day: str, result: Json) -> Stated:
    """`input_tokens` are all of them, cached and cache-write tokens included (usage_completions_response.py)."""
    read, written = _count(result, "input_cached_tokens"), _count(result, "input_cache_write_tokens")
    amounts = {
        "input_tokens": _count(result, "input_tokens") - read - written,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "output_tokens": _count(result, "output_tokens"),
    }
    return Stated(day, result.get("model") or None, amounts, "usage")


def _anthropic(bucket: Json) -> Iterator[Stated]:
    day = bucket["starting_at"][:10]
    midnight_s(day)  # a date, or ValueError
    for result in bucket["results"]:
        model = result.get("model") or None
        if "amount" in result:
            if result.get("currency", "USD") != "USD":
                raise ValueError(f"an amount is in {result['currency']!r}, not in USD")
            yield Stated(day, model, {COST: _amount(result["amount"]) * CENT}, "cost")
        else:
            yield Stated(day, model, _anthropic_usage(result), "usage")
    if not bucket["results"]:
        yield from _nothing(day)


def _anthropic_usage(result: Json) -> Mapping[str, Decimal]:
    writes, tools = result.get("cache_creation") or {}, result.get("server_tool_use") or {}
    lifetimes = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
    return {
        "input_tokens": _count(result, "uncached_input_tokens"),
        "cache_read_tokens": _count(result, "cache_read_input_tokens"),
        "cache_write_tokens": sum((_count(writes, name) for name in lifetimes), Decimal(0)),
        "output_tokens": _count(result, "output_tokens"),
        "web_searches": _count(tools, "web_search_requests"),
    }


def _count(result: Json, name: str) -> Decimal:
    return _amount(result.get(name) or 0)


def _amount(value: Any) -> Decimal:
    amount = Decimal(str(value))
    if not amount.is_finite() or abs(amount) > MOST:
        raise ValueError(f"{str(value)[:40]!r} is no amount")
    return amount


_READERS: Mapping[Provider, Callable[[Json], Iterator[Stated]]] = {"openai": _openai, "anthropic": _anthropic}
