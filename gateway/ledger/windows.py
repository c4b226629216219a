"""When a budget's window begins and ends.

`1h`, `1d`, `1w` and the months are the calendar's, in UTC or in a named time zone: the hour, the day, the week from
Monday. Several of another unit (`30d`, `24h`) are fixed windows counted from the Unix epoch. A window's id holds its
beginning, so that the next one is another counter.
"""

import re
import time
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

TOTAL = "total"
UTC = "UTC"

_DURATION = re.compile(r"([1-9][0-9]{0,8})(mo|[wdhms])")
UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 31 * 86_400}  # a month at its longest
_WITH_OFFSET = re.compile(r"T\d\d[+-]\d+$")
_BEGINNING = {"s": "%Y-%m-%dT%H:%M:%S", "m": "%Y-%m-%dT%H:%M", "h": "%Y-%m-%dT%H", "d": "%Y-%m-%d", "w": "%Y-%m-%d"}
_LONGEST_S = 10 * 366 * 86_400


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
    if number * UNIT_S[unit] > _LONGEST_S:
        raise ValueError(f"budget_duration {text!r} is over ten years: leave it out (null) for a cap on the whole life")
    return Duration(number, unit)


def parse_zone(name: str) -> str:
    """`name` if it is a time zone's (the IANA database's, such as Europe/Berlin). Raises ValueError."""
    if name in _zones():
        return name
    raise ValueError(f"{name!r} is no time zone: write one of the IANA database's, such as UTC or Europe/Berlin")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """The same on every machine: not what one calls its own, nor copies of the database with leap seconds."""
    return frozenset(available_timezones()) - {"localtime", "Factory"}  # it leaves out posix, right and posixrules


def window(duration: str | None, now_s: float, zone: str = UTC) -> Window:
    """The window of `duration` around `now_s`; None is the scope's whole life. Raises what `parse_duration` raises."""
    if duration is None:
        return Window(TOTAL, 0.0, 0.0)
    number, unit = parse_duration(duration)
    if unit == "mo" or (number == 1 and unit in "dwh"):
        return _of_calendar(duration, number, unit, now_s, zone)
    length_s = number * UNIT_S[unit]
    start_s = int(now_s) // length_s * length_s
    beginning = time.strftime(_BEGINNING[unit], time.gmtime(start_s))
    return Window(f"{duration}:{beginning}", float(start_s), float(start_s + length_s))


def _of_calendar(duration: str, number: int, unit: str, now_s: float, zone: str) -> Window:
    here = ZoneInfo(zone)
    now = datetime.fromtimestamp(int(now_s), here)
    midnight = now.replace(hour=0, minute=0, second=0, fold=0)
    match unit:
        case "h":  # by the clock's face there are two of one name when it is set back: the offset tells them apart
            start_s = int(now_s) - now.minute * 60 - now.second
            end_s: float = start_s + 3600
            beginning = f"{now:%Y-%m-%dT%H}" + ("" if zone == UTC else f"{now:%z}")
        case "d":
            start_s, end_s = _s(midnight), _s(midnight + timedelta(days=1))
            beginning = f"{midnight:%Y-%m-%d}"
        case "w":
            monday = midnight - timedelta(days=midnight.weekday())
            start_s, end_s = _s(monday), _s(monday + timedelta(days=7))
            beginning = f"{monday:%Y-%m-%d}"
        case _:
            first = ((now.year - 1970) * 12 + now.month - 1) // number * number
            start, end = _month(first, here), _month(first + number, here)
            start_s, end_s, beginning = _s(start), _s(end), f"{start:%Y-%m}"
    return Window(f"{duration}{'' if zone == UTC else f'@{zone}'}:{beginning}", float(start_s), float(end_s))


def precedes(one: str, other: str) -> bool:
    """Whether of two windows of one duration and zone, by their ids, the first is the earlier."""
    return _in_order(one) < _in_order(other)


def _in_order(id: str) -> str:
    """When a window begins, as a text that is in order: the ids are, save where clocks are set back."""
    beginning = id.partition(":")[2]
    if _WITH_OFFSET.search(beginning) is None:
        return beginning
    moment = datetime.strptime(beginning, "%Y-%m-%dT%H%z")
    return time.strftime(_BEGINNING["m"], time.gmtime(moment.timestamp()))


def _s(moment: datetime) -> int:
    return int(moment.timestamp())


def _month(since_epoch: int, zone: ZoneInfo) -> datetime:
    return datetime(1970 + since_epoch // 12, since_epoch % 12 + 1, 1, tzinfo=zone)
