"""A bill as the journal keeps it: JSON, without its counters, exact to the nano-dollar.

What a store alone knows of an entry (what it cost in the end, whether it adjusts another) stands beside the line, and
is laid over it when it is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import ceil
from typing import Any

import orjson

from gateway.ledger.store import MAX_NANOUSD, Bill, Entry

_FIELDS = tuple(field.name for field in fields(Bill) if field.name not in ("counters", "tokens"))
_BLANK = Bill(request_id="", key_id="", team_id=None, counters=(), cost_nanousd=0)
_LAST_S = 1e12


def line(bill: Bill) -> bytes:
    """The journal's line for `bill`. Raises ValueError when it costs less than nothing, or more than can be counted."""
    if not 0 <= bill.cost_nanousd <= MAX_NANOUSD:
        raise ValueError(f"a bill is from 0 to {MAX_NANOUSD} nano-USD, not {bill.cost_nanousd} ({bill.request_id})")
    told = {  # written out: gathered by name it would take three times as long
        "request_id": bill.request_id,
        "key_id": bill.key_id,
        "team_id": bill.team_id,
        "cost_nanousd": bill.cost_nanousd,
        "usage": bill.usage,
        "model": bill.model,
        "target": bill.target,
        "ending": bill.ending,
        "estimated": bill.estimated,
        "unpriced": bill.unpriced,
        "price": bill.price,
        "service_tier": bill.service_tier,
        "region": bill.region,
        "latency_ms": bill.latency_ms,
        "first_token_ms": bill.first_token_ms,
        "attempts": bill.attempts,
        "key_alias": bill.key_alias,
        "end_user": bill.end_user,
        "tags": bill.tags,
        "adjusts": bill.adjusts,
    }
    return orjson.dumps(told, dict)  # `usage` need not be a dict


def bill_of(
    line: bytes | str, request_id: str, cost_nanousd: int | None = None, adjusts: bytes | str = b""
) -> Mapping[str, Any]:
    """Every field of a Bill but `counters` and `tokens`, as `line` has it; what an older line lacks is blank.

    `cost_nanousd` (None: the line's) and `adjusts`, the line of the provisional bill that this one puts right, are the
    store's word: cost and usage are then differences. A hold that nobody wrote a line for (b"") is
    of a worker that was lost.
    """
    blank = {name: getattr(_BLANK, name) for name in _FIELDS} | {"usage": {}, "tags": [], "request_id": request_id}
    bill: dict[str, Any] = blank | (orjson.loads(line) if line else {"ending": "lost"})
    if cost_nanousd is not None:
        bill["cost_nanousd"] = cost_nanousd
    if adjusts:
        before = orjson.loads(adjusts).get("usage", {})
        bill["adjusts"] = True
        bill["usage"] = {
            name: difference
            for name in (before | bill["usage"])
            if (difference := bill["usage"].get(name, 0) - before.get(name, 0))
        }
    bill.pop("tokens", None)
    return bill


def entry(
    id: str,
    at_ms: int,
    line: bytes | str,
    *,
    request_id: str = "",
    counters: Sequence[str] = (),
    overrun_nanousd: int = 0,
    cost_nanousd: int | None = None,
    adjusts: bytes | str = b"",
) -> Entry:
    """The entry written as `line`, at `at_ms` (Unix milliseconds); the rest is what the store wrote beside it."""
    bill = bill_of(line, request_id, cost_nanousd, adjusts)
    return Entry(id, at_ms / 1000, bill, tuple(counters), overrun_nanousd)


def span_ms(start_s: float, end_s: float) -> tuple[int, int]:
    """start_s ≤ t < end_s in whole milliseconds: the first one within and the first one past it."""
    return ceil(_clamped(start_s) * 1000), ceil(_clamped(end_s) * 1000)


def _clamped(time_s: float) -> float:
    return min(max(time_s, 0.0), _LAST_S)  # an infinite end is any time that both stores can count to
