"""What we billed beside what a provider says, by day and model: where the two differ, and by how much."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from gateway.reports.provider_reports import COST, Stated, plain_name
from gateway.virtual_keys import NANO

ALL = "(all models)"  # where the provider does not say of which
OTHER = "(no model)"  # what it says of none, beside what it says of some
# our buckets → what both sides count
MEASURES: Mapping[str, tuple[str, ...]] = {
    "input_tokens": ("input_tokens", "audio_input_tokens", "image_input_tokens"),
    "cache_read_tokens": ("cache_read_tokens", "cache_read_audio_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_write_1h_tokens"),
    "output_tokens": ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens"),
    "web_searches": ("web_searches",),
}

Place = tuple[str, str]  # day and model
Amounts = dict[Place, defaultdict[str, Decimal]]


class Difference(NamedTuple):
    """One day, model and measure: tokens, calls, or nano-USD. `percent` is of theirs; None where they have nothing."""

    day: str
    model: str
    measure: str
    ours: Decimal
    theirs: Decimal
    percent: Decimal | None
    missing: Literal["", "here", "there"]  # which side knows nothing of the model on that day

    def beyond(self, tolerance_percent: Decimal) -> bool:
        """Whether it is more than what is tolerated."""
        return self.percent is None or self.percent > tolerance_percent


def span(stated: Sequence[Stated]) -> tuple[str, str]:
    """The first and the last day of an export, ISO 8601."""
    days = [line.day for line in stated]
    return min(days), max(days)


def compare(groups: Sequence[Mapping[str, Any]], stated: Sequence[Stated], provider: str) -> list[Difference]:
    """Every day and model of either side. `groups` are the usage report's by day and target (`provider/model`).

    Only days that the export covers are compared, usage and costs each on their own.
    """
    return [
        *_compared(groups, [line for line in stated if line.about == "usage"], provider, list(MEASURES)),
        *_compared(groups, [line for line in stated if line.about == "cost"], provider, [COST]),
    ]


def _compared(
    groups: Sequence[Mapping[str, Any]], stated: Sequence[Stated], provider: str, measures: Sequence[str]
) -> Iterator[Difference]:
    days = {line.day for line in stated}
    told = {measure for line in stated for measure in line.amounts}
    whole = not any(line.model for line in stated)  # then all models are one
    theirs, names = _theirs(stated, whole)
    ours = _ours(groups, provider, days, names, whole)
    for place in sorted({*theirs, *ours}):
        for measure in [measure for measure in measures if measure in told or not told]:
            left = ours[place][measure] if place in ours else Decimal(0)
            right = theirs[place][measure] if place in theirs else Decimal(0)
            if left or right:
                missing: Literal["", "here", "there"] = (
                    "here" if place not in ours else "there" if place not in theirs else ""
                )
                percent = abs(left - right) / abs(right) * 100 if right else None
                yield Difference(*place, measure, left, right, percent, missing)


def _theirs(stated: Sequence[Stated], whole: bool) -> tuple[Amounts, dict[str, str]]:
    """Their amounts, and how they write each model."""
    amounts, names = Amounts(), dict[str, str]()
    for line in stated:
        if not line.amounts:
            continue
        model = (
            (ALL if whole else OTHER) if line.model is None else names.setdefault(plain_name(line.model), line.model)
        )
        place = amounts.setdefault((line.day, model), defaultdict(Decimal))
        for measure, amount in line.amounts.items():
            place[measure] += amount
    return amounts, names


def _ours(
    groups: Sequence[Mapping[str, Any]], provider: str, days: set[str], names: Mapping[str, str], whole: bool
) -> Amounts:
    amounts = Amounts()
    for group in groups:
        who, _, model = group["target"].partition("/")
        if who != provider or group["day"] not in days:
            continue
        name = ALL if whole else names.get(plain_name(model), model)
        place = amounts.setdefault((group["day"], name), defaultdict(Decimal))
        place[COST] += Decimal(group["spend_usd"]) * NANO
        for measure, buckets in MEASURES.items():
            place[measure] += sum(group["tokens"].get(bucket, 0) for bucket in buckets)
    return amounts


def total(differences: Sequence[Difference]) -> dict[str, tuple[Decimal, Decimal]]:
    """By measure: ours and theirs."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for one in differences:
        ours, theirs = found.get(one.measure, (Decimal(0), Decimal(0)))
        found[one.measure] = ours + one.ours, theirs + one.theirs
    return found
