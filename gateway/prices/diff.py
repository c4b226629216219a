"""What a newer collection of facts says of the prices in force: rows that are new, gone, or at other rates."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from gateway.prices.price_list import Rates, Row, When

Json = dict[str, Any]
RATES = tuple(Rates.model_fields)
_CONDITIONS = tuple(name for name in When.model_fields if name not in RATES and name != "multiply")


class Change(NamedTuple):
    """One rate of one row. None: there is none."""

    name: str
    rate: str  # with its condition, where it has one: `input (service_tier: flex)`
    old: Decimal | None
    new: Decimal | None

    @property
    def percent(self) -> Decimal | None:
        """By how much it rose, to a tenth; None where there is nothing to compare."""
        if not self.old or self.new is None:
            return None
        return ((self.new / self.old - 1) * 100).quantize(Decimal("0.1"))


class Difference(NamedTuple):
    """Names in their files' order."""

    new: Mapping[str, Row]
    gone: Sequence[str]
    changed: Sequence[Change]


def difference(ours: Mapping[str, Row], facts: Mapping[str, Json], at: datetime) -> Difference:
    """Our rows, in the versions in force `at`, against the rows that the facts make (`fact_rows.rows`).

    A row of which we say of no month when it was read (`as_of`) is somebody's own, and is not gone for being unknown
    there.
    """
    theirs = {name: Row.model_validate(row) for name, row in facts.items()}
    held = {name: row for name, row in ((name, in_force(row, at)) for name, row in ours.items()) if row is not None}
    return Difference(
        {name: row for name, row in theirs.items() if name not in ours},
        [name for name, row in held.items() if row.as_of and name not in theirs and row.provider != "demo"],
        [change for name, row in held.items() if name in theirs for change in _changes(name, row, theirs[name])],
    )


def in_force(row: Row, at: datetime) -> Row | None:
    """The version that holds `at`; None before the first."""
    found: Row | None = row
    while found is not None and found.since is not None and at < found.since:
        found = found.before
    return found


def told(found: Difference) -> Json:
    """As JSON: rates as exact strings, USD per million tokens (the fees: a search, an answer)."""
    return {
        "new": [{"name": name, "rates": _texts(row)} for name, row in found.new.items()],
        "gone": list(found.gone),
        "changed": [
            {"name": name, "rate": rate, "old": _text(old), "new": _text(new), "percent": _text(change.percent)}
            for change in found.changed
            for name, rate, old, new in [change]
        ],
    }


def _changes(name: str, ours: Row, theirs: Row) -> Iterator[Change]:
    old, new = dict(_rates(ours)), dict(_rates(theirs))
    for rate in {**old, **new}:
        if old.get(rate) != new.get(rate):
            yield Change(name, rate, old.get(rate), new.get(rate))


def _rates(row: Row) -> Iterator[tuple[str, Decimal]]:
    """Every rate of a row, by its name and condition."""
    for entry in (row, *row.when):
        condition = f" ({_condition(entry)})" if isinstance(entry, When) else ""
        for rate in (*RATES, "multiply"):
            if (value := getattr(entry, rate, None)) is not None:
                yield rate + condition, value


def _condition(entry: When) -> str:
    given = {name: value for name in _CONDITIONS if (value := getattr(entry, name)) not in (None, ())}
    return ", ".join(
        f"{name}: {' '.join(value) if isinstance(value, tuple) else value}" for name, value in given.items()
    )


def _texts(row: Row) -> dict[str, str]:
    return {rate: f"{value.normalize():f}" for rate, value in _rates(row)}


def _text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number.normalize():f}"
