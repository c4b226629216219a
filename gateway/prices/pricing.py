"""What an answer cost, and the most that one can cost, in nano-USD (1e-9 USD). All arithmetic is on integers.

Times are Unix seconds: the beginning of the request says which version of a row and which hours' rates are in force. A
rate that is needed and missing raises `Unpriced`; only reasoning falls to the output rate and images to the input
rate, since that is how the providers' own pages list them.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from itertools import compress
from math import inf
from typing import NamedTuple

from gateway.prices.price_list import DAY_MINUTES, Row, When
from translators.usage import BILLED, Usage

_UNITS_PER_NANOUSD = 10**6  # rates are integers in 1e-15 USD, so that 1e-9 USD per million tokens is exact
_UNITS_PER_MTOK_RATE = 10**9  # 1 USD per million tokens, in units per token
_UNITS_PER_USD = 10**15
UNLIMITED_TOKENS = 2**31 - 1
MAX_KEPT = 256  # combinations of tier, region, size and the like that are kept worked out for one price
_WEEK_MINUTES = 7 * DAY_MINUTES
_MONDAY = 3 * DAY_MINUTES  # 1970-01-01 was a Thursday
LONGEST_REQUEST_S = 3600 + 600  # a version that begins within this time may be the one that is billed

# Tiers for which no provider charges more than its plain rates, as they name them: openai 3.52, ChatCompletion;
# anthropic 2.11, Usage; google-genai 3.4, ServiceTier and TrafficType; botocore 1.44, ServiceTierType; recorded answers
# of Groq and Mistral.
_PLAIN = {"default", "standard", "standard_only", "scale", "flex", "batch", "unspecified"}
PLAIN_TIERS = frozenset({*_PLAIN, "on_demand", "on_demand_flex", "provisioned_throughput", "reserved"})
# What anthropic's `inference_geo` says of no particular region (recorded: global, not_available).
PLAIN_REGIONS = frozenset({"global", "not_available", "unspecified"})


class Unpriced(Exception):
    """A rate is needed that the row does not have."""

    def __init__(self, row: str, rate: str) -> None:
        super().__init__(f"the price {row!r} has no rate for {rate}")
        self.row, self.rate = row, rate


# Usage's buckets in their order, by the names of their rates; then the fees that are not by the piece.
_PIECES = {"web_searches": "web_search", "map_searches": "map_search"}
RATES = tuple(_PIECES.get(bucket) or bucket.removesuffix("_tokens") for bucket in BILLED)
NAMED = (*RATES, "grounded", "request")
FEES = frozenset({*_PIECES.values(), "grounded", "request"})
_AT = {name: at for at, name in enumerate(NAMED)}
_GROUNDED, _REQUEST = _AT["grounded"], _AT["request"]
_PLACES = range(len(BILLED))
_INPUT_SIDE = ("input", "cache_read", "cache_write", "citation")  # what any prompt may be billed as
_OUTPUT_SIDE = ("output", "reasoning", "image_output")  # Gemini's image models draw without being asked to
_SPECIAL_INPUT = frozenset({"cache_write_1h", "audio_input", "image_input"})
_SPECIAL_OUTPUT = frozenset({"audio_output", "image_output"})

# Among the rates that a request needs: those of every region, since it names one itself.
ANYWHERE = "anywhere"

Sheet = tuple[int | None, ...]  # units per token (or per call), in the order of NAMED
ALWAYS = -1  # no hour at all: the rates without those of certain hours


@dataclass(frozen=True, eq=False, slots=True)
class Price:
    """One version of a row, for one provider's account; the newest stands for the row, and leads to those before it.

    `service_tier` and `region` are what holds where nobody says otherwise.
    """

    name: str
    rates: Row
    service_tier: str = "default"
    region: str = ""
    steps: tuple[int, ...] = ()
    tiers: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    contexts: frozenset[str] = frozenset()
    week: tuple[int, ...] = ()  # minutes of the week at which the rates may change; none where hours do not matter
    since_s: float = -inf
    before: "Price | None" = None
    full_name: str = ""  # with the version's
    draws: bool = False  # its model may answer with pictures unasked, at a rate of their own
    researches: bool = False  # it searches, reads and reasons unasked, however short an answer is asked for
    estimates: "Price | None" = None  # what counts where the provider did not come to say what it charged
    _sheets: dict[tuple[str, str, int, int, str], Sheet] = field(default_factory=dict)
    _peaks: dict[tuple[str, frozenset[str], int], "Peak"] = field(default_factory=dict)

    def at(self, at_s: float) -> "Price":
        """The version in force. Raises Unpriced before the first."""
        found = self
        while at_s < found.since_s:
            if found.before is None:
                raise Unpriced(self.name, "a time so early")
            found = found.before
        return found

    def named(self, at_s: float) -> str:
        """The name that the journal keeps: which row, and of when its version in force is."""
        try:
            return (self if at_s >= self.since_s else self.at(at_s)).full_name
        except Unpriced:
            return self.name

    def hour(self, at_s: float) -> int:
        """Which of the week's stretches between changes of rates a time falls in."""
        if not self.week:
            return ALWAYS
        return bisect_right(self.week, (int(at_s) // 60 + _MONDAY) % _WEEK_MINUTES) - 1

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

    def sheet(self, tier: str, region: str, step: int, hour: int = ALWAYS, context: str = "") -> Sheet:
        """This version's rates, for a tier, region and search context as the provider says them. Raises Unpriced."""
        key = (tier, region, step, hour, context)
        found = self._sheets.get(key)
        if found is None:
            where = _Where(
                self.tier(tier),
                self.place(region),
                context.lower(),
                self.steps[step - 1] if step else -1,
                self.week[hour] if hour >= 0 else ALWAYS,
            )
            found = _sheet(self.rates, where)
            if len(self._sheets) < MAX_KEPT:
                self._sheets[key] = found
        return found


def price(
    name: str, row: Row, service_tier: str = "default", region: str = "", estimates: Price | None = None
) -> Price:
    """The price that `row` and its earlier versions make for an account whose own tier and region are these."""
    spans = [span for when in row.when for span in when.spans()]
    version = row.version
    return Price(
        name,
        row,
        service_tier.lower(),
        region.lower(),
        tuple(sorted({when.input_above for when in row.when if when.input_above is not None})),
        frozenset(when.service_tier.lower() for when in row.when if when.service_tier is not None),
        frozenset(when.region.lower() for when in row.when if when.region is not None),
        frozenset(when.search_context.lower() for when in row.when if when.search_context is not None),
        tuple(sorted({0, *(minute for span in spans for minute in span)} - {_WEEK_MINUTES})) if spans else (),
        row.since.timestamp() if row.since is not None else -inf,
        price(name, row.before, service_tier, region) if row.before is not None else None,
        f"{name}@{version}" if version else name,
        row.image_output not in (None, row.output),
        bool(row.citation),
        estimates,
    )


class _Where(NamedTuple):
    """What decides the rates, in the price's own words."""

    tier: str
    region: str
    context: str
    size: int  # the highest limit that the prompt is above
    minute: int  # of the week

    def meets(self, when: When) -> bool:
        """Whether every condition of an entry holds here."""
        spans = when.spans()
        return (
            (when.service_tier is None or when.service_tier.lower() == self.tier)
            and (when.region is None or when.region.lower() == self.region)
            and (when.search_context is None or when.search_context.lower() == self.context)
            and (when.input_above is None or when.input_above <= self.size)
            and (not spans or any(start <= self.minute < end for start, end in spans))
        )


def _sheet(row: Row, where: _Where) -> Sheet:
    rates = {name: getattr(row, name) for name in NAMED}
    for when in filter(where.meets, row.when):
        rates |= {name: value for name in rates if (value := getattr(when, name)) is not None}
        if when.multiply is not None:
            rates |= {
                name: value * when.multiply for name, value in rates.items() if value is not None and name not in FEES
            }
    for missing, instead in (("reasoning", "output"), ("image_input", "input")):
        if rates[missing] is None:
            rates[missing] = rates[instead]
    return tuple(_units(name, rates[name]) for name in NAMED)


def _units(name: str, rate: Decimal | None) -> int | None:
    if rate is None:
        return None
    return _up(rate * (_UNITS_PER_USD if name in FEES else _UNITS_PER_MTOK_RATE))


def _up(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


def cost(usage: Usage, price: Price, at_s: float) -> int:
    """What `usage` costs for a request that began at `at_s`, in nano-USD, rounded up so that no key is under-billed.

    The buckets of `Usage` are disjoint, so the cost is a plain sum, plus the fees per request where there are any. The
    provider's own figure is believed where the row says so. Raises Unpriced for a bucket with tokens and no rate (0 is
    a rate).
    """
    if at_s < price.since_s:
        price = price.at(at_s)
    if usage.cost_usd is not None and price.rates.trust_provider_cost:
        stated = nanousd(usage.cost_usd)
        if stated is not None:
            return stated
    step = price.step(usage.prompt_tokens) if price.steps else 0
    hour = price.hour(at_s) if price.week else ALWAYS
    key = (usage.service_tier, usage.region, step, hour, usage.search_context)
    sheet = price._sheets.get(key) or price.sheet(*key)
    units = sheet[_REQUEST] or 0
    if usage.web_searches:
        units += sheet[_GROUNDED] or 0
    amounts = usage.amounts()
    for at in compress(_PLACES, amounts):  # most buckets are empty
        rate = sheet[at]
        if rate is None:
            raise Unpriced(price.name, RATES[at])
        units += amounts[at] * rate
    return -(-units // _UNITS_PER_NANOUSD)


def nanousd(usd: str) -> int | None:
    """A decimal in USD as nano-USD, rounded up; None when it is no amount."""
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        return None
    return _up(amount * 10**9) if amount.is_finite() and amount >= 0 else None


class Extras(NamedTuple):
    """What a request may need besides tokens at the plain rates.

    `tier`: the one asked for; None and "auto" are the account's own. `special`: the rates that only some requests need
    (`estimate.special_rates`, and ANYWHERE). `calls` upstream, and the most searches with a fee in all of them.
    """

    tier: str | None = None
    special: frozenset[str] = frozenset()
    calls: int = 1
    searches: int = 0
    map_searches: int = 0


PLAIN = Extras()


class Peak(NamedTuple):
    """The dearest rates that can apply to a request, in units; `search`, `map_search` None: not offered."""

    input: int
    output: int
    request: int
    search: int | None
    grounded: int
    map_search: int | None

    def fees(self, price: Price, extras: Extras) -> int:
        """What comes on top of the tokens. Raises Unpriced."""
        _, _, calls, searches, map_searches = extras
        units = self.request * calls
        if searches:
            if self.search is None:
                raise Unpriced(price.name, "web_search")
            units += searches * self.search + self.grounded * calls
        if map_searches:
            if self.map_search is None:
                raise Unpriced(price.name, "map_search")
            units += map_searches * self.map_search
        return units


def _peak(price: Price, at_s: float, extras: Extras, input_tokens: int) -> Peak:
    """The dearest of the version in force and of any that may be by the time of the bill. Raises Unpriced."""
    if at_s < price.since_s:
        return _merged([_kept(version, extras, input_tokens) for version in _versions(price, at_s)])
    return _kept(price, extras, input_tokens)


def _versions(price: Price, at_s: float) -> list[Price]:
    found = [price.at(at_s)]
    later: Price | None = price
    while later is not None and later is not found[0]:
        found += [later] if later.since_s <= at_s + LONGEST_REQUEST_S else []
        later = later.before
    return found


def _merged(peaks: list[Peak]) -> Peak:
    return Peak(
        max(peak.input for peak in peaks),
        max(peak.output for peak in peaks),
        max(peak.request for peak in peaks),
        _dearest_fee(peak.search for peak in peaks),
        max(peak.grounded for peak in peaks),
        _dearest_fee(peak.map_search for peak in peaks),
    )


def _kept(price: Price, extras: Extras, input_tokens: int) -> Peak:
    key = (extras.tier or "", extras.special, price.step(input_tokens) if price.steps else 0)
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
    elsewhere = price.regions if ANYWHERE in special or not price.region else ()
    sheets = _every_sheet(price, {"", asked}, {price.place(""), *elsewhere}, step)
    return Peak(
        _dearest(price, sheets, _INPUT_SIDE, special & _SPECIAL_INPUT, "input"),
        _dearest(price, sheets, _OUTPUT_SIDE, special & _SPECIAL_OUTPUT, "output"),
        max(sheet[_REQUEST] or 0 for sheet in sheets),
        _dearest_fee(sheet[_AT["web_search"]] for sheet in sheets),
        max(sheet[_GROUNDED] or 0 for sheet in sheets),
        _dearest_fee(sheet[_AT["map_search"]] for sheet in sheets),
    )


def _every_sheet(price: Price, tiers: Iterable[str], regions: Iterable[str], step: int) -> list[Sheet]:
    """The rates of these tiers and regions ("": the plain ones), of sizes up to `step`, of any hour and context."""
    return [
        price.sheet(tier or "default", region or "global", size, hour, context)
        for tier in tiers
        for region in regions
        for size in range(step + 1)
        for hour in (range(len(price.week)) if price.week else (ALWAYS,))
        for context in {"", *price.contexts}
    ]


def _dearest_fee(fees: Iterable[int | None]) -> int | None:
    """None where it is missing under any of the conditions."""
    known = list(fees)
    return None if None in known else max(fee or 0 for fee in known)


def _dearest(price: Price, sheets: list[Sheet], plain: Iterable[str], special: Iterable[str], needed: str) -> int:
    """The dearest of the `plain` rates, so far as there are any, and of `needed` and `special`, which must be there."""
    for name in (needed, *special):
        if any(sheet[_AT[name]] is None for sheet in sheets):
            raise Unpriced(price.name, name)
    return max(sheet[_AT[name]] or 0 for sheet in sheets for name in (*plain, *special))


@dataclass(slots=True)
class Slope:
    """The dearest that a request can come to by the length of its answer: a prompt with its fees, and each token."""

    base_units: int
    token_units: int

    def nanousd(self, output_tokens: int) -> int:
        """The most that answers of so many tokens in all can cost."""
        return -(-(self.base_units + output_tokens * self.token_units) // _UNITS_PER_NANOUSD)

    def output_tokens(self, nanousd: int) -> int:
        """The longest answer that is within the amount; 0 when not even the prompt is."""
        units = nanousd * _UNITS_PER_NANOUSD - self.base_units
        if units < 0:
            return 0
        return min(units // self.token_units, UNLIMITED_TOKENS) if self.token_units else UNLIMITED_TOKENS


def slope(price: Price, input_tokens: int, at_s: float, extras: Extras = PLAIN) -> Slope:
    """What bounds the cost of a request whose prompt is at most these many tokens.

    Every token counts at the dearest rate that can apply: any size up to `input_tokens`; the plain tier and the one
    asked for; the account's region or, where it is not configured, any; any hour and search context; the version in
    force at `at_s` and any that begins soon after. Raises Unpriced.
    """
    tier, special, calls, searches, map_searches = extras
    peak = None
    if at_s >= price.since_s:  # as it mostly is, and worked out
        peak = price._peaks.get((tier or "", special, price.step(input_tokens) if price.steps else 0))
    if peak is None:
        peak = _peak(price, at_s, extras, input_tokens)
    fees = peak.fees(price, extras) if searches or map_searches else peak.request * calls
    return Slope(input_tokens * peak.input + fees, peak.output)


def ceiling(price: Price, input_tokens: int, output_tokens: int, at_s: float, extras: Extras = PLAIN) -> int:
    """The most, in nano-USD, that a request can cost whose prompt and answer are at most these many tokens: `slope`.

    Raises Unpriced.
    """
    return slope(price, input_tokens, at_s, extras).nanousd(output_tokens)


def dearest(price: Price, usage: Usage, at_s: float) -> int:
    """What `usage` comes to, in nano-USD, where a rate that it needs is missing: each token at the dearest that the row
    has for its side, of any kind, tier, region, size and hour, and fees likewise. Raises Unpriced before the first row.
    """
    price = price.at(at_s)
    sheets = _every_sheet(price, {"", *price.tiers}, {"", *price.regions}, len(price.steps))

    def most(*names: str) -> int:
        return max(sheet[_AT[name]] or 0 for sheet in sheets for name in names)

    units = usage.prompt_tokens * most(*_INPUT_SIDE, *_SPECIAL_INPUT) + most("request")
    units += usage.completion_tokens * most(*_OUTPUT_SIDE, *_SPECIAL_OUTPUT)
    units += usage.citation_tokens * most("citation") + usage.map_searches * most("map_search")
    if usage.web_searches:
        units += usage.web_searches * most("web_search") + most("grounded")
    return -(-units // _UNITS_PER_NANOUSD)


def affordable_output(price: Price, amount_nanousd: int, input_tokens: int, at_s: float, extras: Extras = PLAIN) -> int:
    """The longest answer, in tokens, whose `ceiling` is within the amount; 0 when not even the prompt is.

    Raises Unpriced.
    """
    return slope(price, input_tokens, at_s, extras).output_tokens(amount_nanousd)
