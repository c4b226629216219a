"""A bill as the journal keeps it: JSON, without its counters, exact to the nano-dollar."""

from dataclasses import fields
from math import ceil

import orjson

from gateway.ledger.store import MAX_NANOUSD, Bill, Entry

_FIELDS = tuple(field.name for field in fields(Bill) if field.name != "counters")
_LAST_S = 1e12


def line(bill: Bill) -> bytes:
    """The journal's line for `bill`. Raises ValueError when it costs less than nothing, or more than can be counted."""
    if not 0 <= bill.cost_nanousd <= MAX_NANOUSD:
        raise ValueError(f"a bill is from 0 to {MAX_NANOUSD} nano-USD, not {bill.cost_nanousd} ({bill.request_id})")
    return orjson.dumps({name: getattr(bill, name) for name in _FIELDS} | {"usage": dict(bill.usage)})


def entry(id: str, at_ms: int, line: bytes | str) -> Entry:
    """The entry that was written as `line`, at `at_ms` (Unix milliseconds)."""
    return Entry(id, at_ms / 1000, orjson.loads(line))


def span_ms(start_s: float, end_s: float) -> tuple[int, int]:
    """start_s ≤ t < end_s in whole milliseconds: the first one within and the first one past it."""
    return ceil(_clamped(start_s) * 1000), ceil(_clamped(end_s) * 1000)


def _clamped(time_s: float) -> float:
    return min(max(time_s, 0.0), _LAST_S)  # an infinite end is any time that both stores can count to
