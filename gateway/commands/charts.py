"""A usage report for a terminal: each group's share of the whole, and how its spending went from day to day."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

from gateway.virtual_keys import NANO, usd

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # bars at most: of a longer time several days share one
TIMES = {"hour", "day", "month"}

Row = Mapping[str, Any]


def to_ask(by: Sequence[str]) -> list[str]:
    """What a report must be by for a chart of `by`: by day too, unless its groups are times already."""
    return [*by] if TIMES & set(by) else [*by, "day"]


def charted(by: Sequence[str], rows: Sequence[Row], spend_usd: str) -> list[dict[str, Any]]:
    """The groups of `by` with their `share` of `spend_usd`, out of the groups of `to_ask(by)`.

    Groups of times stay in their order. Others come with their `trend`, the dearest first.
    """
    if TIMES & set(by):
        return [{**row, "share": share(_nanousd(row["spend_usd"]), _nanousd(spend_usd))} for row in rows]
    groups: defaultdict[tuple[tuple[str, Any], ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple((name, row[name]) for name in row if name not in ("day", *_SUMS))].append(row)
    days = list(_days([row["day"] for row in rows]))
    summed = [dict(group) | _sum(members, days, _nanousd(spend_usd)) for group, members in groups.items()]
    return sorted(summed, key=lambda row: _nanousd(row["spend_usd"]), reverse=True)


_SUMS = ("spend_usd", "requests", "tokens")


def _sum(members: Sequence[Row], days: Sequence[str], whole_nanousd: int) -> dict[str, Any]:
    tokens, spent = Counter[str](), Counter[str]()
    for row in members:
        tokens.update(row["tokens"])
        spent[row["day"]] += _nanousd(row["spend_usd"])
    return {
        "spend_usd": usd(spent.total()),
        "requests": sum(row["requests"] for row in members),
        "tokens": dict(tokens),
        "share": share(spent.total(), whole_nanousd),
        "trend": sparkline([sum(spent[day] for day in some) for some in _bars(days)]),
    }


def _nanousd(usd: str) -> int:
    """Below zero where a correction stands without what it corrects."""
    return int(Decimal(usd) * NANO)


def _days(of: Sequence[str]) -> Iterator[str]:
    """Every day from the first to the last."""
    if of:
        first, last = date.fromisoformat(min(of)), date.fromisoformat(max(of))
        for number in range((last - first).days + 1):
            yield (first + timedelta(days=number)).isoformat()


def _bars(days: Sequence[str]) -> Iterator[Sequence[str]]:
    width = max(1, ceil(len(days) / WIDTH))
    for at in range(0, len(days), width):
        yield days[at : at + width]


def share(part: int, whole: int) -> str:
    """`12.3 %`; of nothing there is no share."""
    return f"{Decimal(part) / Decimal(whole) * 100:.1f} %" if whole else "-"


def sparkline(amounts: Sequence[int]) -> str:
    """One bar an amount, as high as its part of the largest; the lowest bar is nothing at all."""
    most = max(amounts, default=0)
    if most <= 0:
        return BARS[0] * len(amounts)
    return "".join(BARS[max(0, ceil(amount * 7 / most))] for amount in amounts)
