"""What an answer cost, and the most that one can cost, in nano-USD (1e-9 USD). All arithmetic is on integers.

A rate that is needed and missing raises `Unpriced`; only reasoning falls to the output rate and images to the input
rate, since that is how the providers' own pages list them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from operator import attrgetter
from typing import NamedTuple

from gateway.price_list import Row
from translators.usage import BILLED, Usage

_UNITS_PER_NANOUSD = 10**6  # rates are integers in 1e-15 USD, so that 1e-9 USD per million tokens is exact
_UNITS_PER_MTOK_RATE = 10**9  # 1 USD per million tokens, in units per token
_UNITS_PER_USD = 10**15
UNLIMITED_TOKENS = 2**31 - 1
MAX_KEPT = 256  # combinations of tier, region and size that are kept worked out for one price

# Tiers for which no provider charges more than its plain rates, as they name them: openai 3.52, ChatCompletion;
# anthropic 2.11, Usage; google-genai 3.4, ServiceTier and TrafficType; recorded answers of Groq and Mistral.
_PLAIN = {"default", "standard", "standard_only", "scale", "flex", "batch", "unspecified"}
PLAIN_TIERS = frozenset({*_PLAIN, "on_demand", "on_demand_flex", "provisioned_throughput"})
# What anthropic's `inference_geo` says of no particular region (recorded: global, not_available).
PLAIN_REGIONS = frozenset({"global", "not_available", "unspecified"})


class Unpriced(Exception):
    """A rate is needed that the row does not have."""

    def __init__(self, row: str, rate: str) -> None:
        super().__init__(f"the price {row!r} has no rate for {rate}")
        self.row, self.rate = row, rate


# Usage's buckets in their order, by the names of their rates; the fee per request comes last.
RATES = tuple("web_search" if bucket == "web_searches" else bucket.removesuffix("_tokens") for bucket in BILLED)
_AT = {name: at for at, name in enumerate(RATES)}
_REQUEST = len(RATES)
_FEES = frozenset({"web_search", "request"})
_amounts = attrgetter(*BILLED)
_INPUT_SIDE = ("input", "cache_read", "cache_write")  # what any prompt may be billed as
_OUTPUT_SIDE = ("output", "reasoning")
_SPECIAL_INPUT = frozenset({"cache_write_1h", "audio_input", "image_input"})
_SPECIAL_OUTPUT = frozenset({"audio_output", "image_output"})

Sheet = tuple[int | None, ...]  # units per token (or per call) in the order of RATES, then the fee per request


@dataclass(frozen=True, eq=False, slots=True)
class Price:
    """One row, for one provider's account. `service_tier` and `region` are what holds where nobody says otherwise."""

    name: str
    rates: Row
    service_tier: str = "default"
    region: str = ""
    steps: tuple[int, ...] = ()
    tiers: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    _sheets: dict[tuple[str, str, int], Sheet] = field(default_factory=dict)
    _peaks: dict[tuple[str, frozenset[str], int], "Peak"] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """The name that the journal keeps: which row of which month."""
        return f"{self.name}@{self.rates.as_of}" if self.rates.as_of else self.name

    def tier(self, said: str) -> str:
        """`said` as this price knows it, "" for the plain rates. Raises Unpriced for a tier that may cost more."""
        word = said.lower()
        if word in ("", "auto"):
            word = self.service_tier
        if word in self.tiers or word == "":
            return word
        if word == "fast" and "priority" in self.tiers:
            return "priority"  # openai 3.52, ChatCompletion.service_tier: "fast" is answered as "priority"
        if not self.tiers or word in PLAIN_TIERS:
            return ""
        raise Unpriced(self.name, f"service tier {word!r}")

    def place(self, said: str) -> str:
        """`said` as this price knows it, "" for the plain rates. Raises Unpriced for a region that may cost more."""
        word = said.lower() or self.region
        if word in self.regions or word == "":
            return word
        if not self.regions or word in PLAIN_REGIONS:
            return ""
        raise Unpriced(self.name, f"region {word!r}")

    def step(self, prompt_tokens: int) -> int:
        """How many of the price's size limits `prompt_tokens` is above."""
        return sum(prompt_tokens > limit for limit in self.steps)

    def sheet(self, tier: str, region: str, step: int) -> Sheet:
        """The rates in force, for a tier and region as the provider says them. Raises Unpriced."""
        key = (tier, region, step)
        found = self._sheets.get(key)
        if found is None:
            found = _sheet(self.rates, self.tier(tier), self.place(region), self.steps[step - 1] if step else -1)
            if len(self._sheets) < MAX_KEPT:
                self._sheets[key] = found
        return found


def price(name: str, row: Row, service_tier: str = "default", region: str = "") -> Price:
    """The price that `row` makes for an account whose own tier and region are these."""
    return Price(
        name,
        row,
        service_tier.lower(),
        region.lower(),
        tuple(sorted({when.input_above for when in row.when if when.input_above is not None})),
        frozenset(when.service_tier.lower() for when in row.when if when.service_tier is not None),
        frozenset(when.region.lower() for when in row.when if when.region is not None),
    )


def _sheet(row: Row, tier: str, region: str, size: int) -> Sheet:
    rates = {name: getattr(row, name) for name in (*RATES, "request")}
    for when in row.when:
        if (
            (when.service_tier is None or when.service_tier.lower() == tier)
            and (when.region is None or when.region.lower() == region)
            and (when.input_above is None or when.input_above <= size)
        ):
            rates |= {name: value for name in rates if (value := getattr(when, name)) is not None}
            if when.multiply is not None:
                rates |= {
                    name: value * when.multiply
                    for name, value in rates.items()
                    if value is not None and name not in _FEES
                }
    for missing, instead in (("reasoning", "output"), ("image_input", "input")):
        if rates[missing] is None:
            rates[missing] = rates[instead]
    return tuple(_units(name, rates[name]) for name in (*RATES, "request"))


def _units(name: str, rate: Decimal | None) -> int | None:
    if rate is None:
        return None
    return _up(rate * (_UNITS_PER_USD if name in _FEES else _UNITS_PER_MTOK_RATE))


def _up(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


def cost(usage: Usage, price: Price) -> int:
    """What `usage` costs, in nano-USD, rounded up so that no key is under-billed.

    The buckets of `Usage` are disjoint, so the cost is a plain sum, plus the fee per request where there is one. The
    provider's own figure is believed where the row says so. Raises Unpriced for a bucket with tokens and no rate (0 is
    a rate).
    """
    if price.rates.trust_provider_cost and usage.cost_usd is not None:
        stated = nanousd(usage.cost_usd)
        if stated is not None:
            return stated
    step = price.step(usage.prompt_tokens) if price.steps else 0
    sheet = price.sheet(usage.service_tier, usage.region, step)
    units = sheet[_REQUEST] or 0
    for at, amount in enumerate(_amounts(usage)):
        if amount:
            rate = sheet[at]
            if rate is None:
                raise Unpriced(price.name, RATES[at])
            units += amount * rate
    return -(-units // _UNITS_PER_NANOUSD)


def nanousd(usd: str) -> int | None:
    """A decimal in USD as nano-USD, rounded up; None when it is no amount."""
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        return None
    return _up(amount * 10**9) if amount.is_finite() and amount >= 0 else None


class Peak(NamedTuple):
    """The dearest rates that can apply to a request, in units; `search` None: not offered."""

    input: int
    output: int
    request: int
    search: int | None

    def fees(self, price: Price, searches: int) -> int:
        """What comes on top of the tokens. Raises Unpriced."""
        if searches and self.search is None:
            raise Unpriced(price.name, "web_search")
        return self.request + searches * (self.search or 0)


def _peak(price: Price, tier: str | None, special: frozenset[str], input_tokens: int) -> Peak:
    key = (tier or "", special, price.step(input_tokens))
    found = price._peaks.get(key)
    if found is None:
        found = _worked_out(price, *key)
        if len(price._peaks) < MAX_KEPT:
            price._peaks[key] = found
    return found


def _worked_out(price: Price, asked_tier: str, special: frozenset[str], step: int) -> Peak:
    try:
        asked = price.tier(asked_tier)
    except Unpriced:
        asked = ""  # an unheard-of tier: the provider refuses it, or answers at its plain one
    regions = {price.place("")} if price.region else {"", *price.regions}
    sheets = [
        price.sheet(tier or "default", region or "global", size)
        for tier in {"", asked}
        for region in regions
        for size in range(step + 1)
    ]
    searches = [sheet[_AT["web_search"]] for sheet in sheets]
    return Peak(
        _dearest(price, sheets, _INPUT_SIDE, special & _SPECIAL_INPUT, "input"),
        _dearest(price, sheets, _OUTPUT_SIDE, special & _SPECIAL_OUTPUT, "output"),
        max(sheet[_REQUEST] or 0 for sheet in sheets),
        None if None in searches else max(fee or 0 for fee in searches),
    )


def _dearest(price: Price, sheets: list[Sheet], plain: Iterable[str], special: Iterable[str], needed: str) -> int:
    """The dearest of the `plain` rates, so far as there are any, and of `needed` and `special`, which must be there."""
    for name in (needed, *special):
        if any(sheet[_AT[name]] is None for sheet in sheets):
            raise Unpriced(price.name, name)
    return max(sheet[_AT[name]] or 0 for sheet in sheets for name in (*plain, *special))


def ceiling(
    price: Price,
    input_tokens: int,
    output_tokens: int,
    *,
    tier: str | None = None,
    special: frozenset[str] = frozenset(),
    searches: int = 0,
) -> int:
    """The most, in nano-USD, that a request can cost whose prompt and answer are at most these many tokens.

    Every token counts at the dearest rate that can apply: any size up to `input_tokens`; the plain tier and the one
    asked for (`tier`; None and "auto" are the account's own); the account's region or, where it is not configured, any.
    `special` names the rates that only some requests need (`estimate.special_rates`), `searches` bounds the calls
    that have a fee. Raises Unpriced.
    """
    peak = _peak(price, tier, special, input_tokens)
    units = input_tokens * peak.input + output_tokens * peak.output + peak.fees(price, searches)
    return -(-units // _UNITS_PER_NANOUSD)


def affordable_output(
    price: Price,
    amount_nanousd: int,
    input_tokens: int,
    *,
    tier: str | None = None,
    special: frozenset[str] = frozenset(),
    searches: int = 0,
) -> int:
    """The longest answer, in tokens, whose `ceiling` is within the amount; 0 when not even the prompt is.

    Raises Unpriced.
    """
    peak = _peak(price, tier, special, input_tokens)
    units = amount_nanousd * _UNITS_PER_NANOUSD - input_tokens * peak.input - peak.fees(price, searches)
    if units < 0:
        return 0
    return min(units // peak.output, UNLIMITED_TOKENS) if peak.output else UNLIMITED_TOKENS
