"""Which counters a request adds to: the windows of a key's and a team's budgets at one moment.

`1h`, `1d`, `1w` and `1mo` are the UTC hour, the UTC day, the week from Monday and the calendar month. Several of a unit
(`30d`, `24h`, `3mo`) are fixed windows counted from the Unix epoch. A window's id holds its beginning, so that the next
one is another counter.
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from gateway.ledger.store import Budget, Counter, Record

TOTAL = "total"

_DURATION = re.compile(r"([1-9][0-9]{0,8})(mo|[wdhms])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_BEGINNING = {"s": "%Y-%m-%dT%H:%M:%S", "m": "%Y-%m-%dT%H:%M", "h": "%Y-%m-%dT%H", "d": "%Y-%m-%d", "w": "%Y-%m-%d"}
_LONGEST_S = 10 * 366 * 86_400
_FIRST_MONDAY_S = 4 * 86_400  # 1970-01-05; the epoch was a Thursday


class Duration(NamedTuple):
    """How long a window is: `number` of `unit` (s, m for minutes, h, d, w, mo)."""

    number: int
    unit: str


class Window(NamedTuple):
    """start_s ≤ now < end_s; `end_s` 0 is no end. Unix seconds."""

    id: str
    start_s: float
    end_s: float


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> Duration:
    """`30d` → Duration(30, "d"). Raises ValueError that says what would be right."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"budget_duration {text!r} is not a number and a unit of s, m (minutes), h, d, w, mo:"
            " write 1h, 1d, 1w, 1mo, 30d …"
        )
    number, unit = int(match[1]), match[2]
    if number * _SECONDS.get(unit, 31 * 86_400) > _LONGEST_S:
        raise ValueError(f"budget_duration {text!r} is over ten years: leave it out (null) for a cap on the whole life")
    return Duration(number, unit)


def window(duration: str | None, now_s: float) -> Window:
    """The window of `duration` around `now_s`; None is the scope's whole life. Raises what `parse_duration` raises."""
    if duration is None:
        return Window(TOTAL, 0.0, 0.0)
    number, unit = parse_duration(duration)
    if unit == "mo":
        return _months(duration, number, now_s)
    length_s = number * _SECONDS[unit]
    offset_s = _FIRST_MONDAY_S if (number, unit) == (1, "w") else 0
    start_s = (int(now_s) - offset_s) // length_s * length_s + offset_s
    beginning = time.strftime(_BEGINNING[unit], time.gmtime(start_s))
    return Window(f"{duration}:{beginning}", float(start_s), float(start_s + length_s))


def _months(duration: str, number: int, now_s: float) -> Window:
    now = time.gmtime(now_s)
    first = ((now.tm_year - 1970) * 12 + now.tm_mon - 1) // number * number
    start, end = _month(first), _month(first + number)
    return Window(f"{duration}:{start:%Y-%m}", start.timestamp(), end.timestamp())


def _month(since_epoch: int) -> datetime:
    return datetime(1970 + since_epoch // 12, since_epoch % 12 + 1, 1, tzinfo=UTC)


def counters(key: Record, team: Record | None, now_s: float) -> tuple[Counter, ...]:
    """What a request of `key` adds to: per scope its whole life, and one counter for each window that a budget has.

    Of several caps on one window the tightest holds, and it refuses if any of them does. A soft budget's counter has no
    cap: it is there to be compared with.
    """
    holders = (key,) if team is None else (key, team)
    return tuple(counter for record in holders for counter in _of_scope(record, now_s))


def _of_scope(record: Record, now_s: float) -> Iterator[Counter]:
    windows: dict[Window, list[Budget]] = {window(None, now_s): []}
    for budget in record.budgets:
        caps = windows.setdefault(window(budget.duration, now_s), [])
        if not budget.soft:
            caps.append(budget)
    for (id, start_s, end_s), caps in windows.items():
        yield Counter(
            scope=f"{record.kind}:{record.id}",
            window=id,
            start_s=start_s,
            end_s=end_s,
            cap_nanousd=min((cap.max_nanousd for cap in caps), default=None),
            on_cap="refuse" if any(cap.on_cap == "refuse" for cap in caps) else "clamp",
        )
