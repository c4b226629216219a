"""pricing.yaml: its schema, and which row is for which target.

A row names rates in USD per million tokens. `when` entries override single rates where they match: in their order, so
that a later one wins, and a `multiply` changes every token rate that is in force by then. A row that changes is a list
of versions, each with the day `since` which it holds; in here, the newest leads to those before it.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

DAY_MINUTES = 24 * 60
_Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[str, ...] = get_args(_Day)
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")


def _listed(value: object) -> object:
    """`a, b` and a list of both are the same."""
    return [each.strip() for each in value.split(",")] if isinstance(value, str) else value


def _spelled_out(value: object) -> object:
    """`mon-fri` as its days."""
    first, dash, last = value.partition("-") if isinstance(value, str) else ("", "", "")
    if dash and first in DAYS and last in DAYS[DAYS.index(first) :]:
        return DAYS[DAYS.index(first) : DAYS.index(last) + 1]
    return _listed(value)


def _window(text: str) -> str:
    if _HOURS.fullmatch(text) is None or _minutes(text)[0] >= _minutes(text)[1]:
        raise ValueError("must be as 16:30-24:00, its end behind its beginning")
    return text


def _minutes(window: str) -> tuple[int, int]:
    """Where `window` begins and ends, in minutes of the day."""
    (first, _, last) = window.partition("-")
    start, end = (int(hour) * 60 + int(minute) for hour, _, minute in (first.partition(":"), last.partition(":")))
    return start, end


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


Usd = Annotated[Decimal, Field(ge=0, max_digits=24, decimal_places=9, allow_inf_nan=False)]
Since = Annotated[datetime, AfterValidator(_in_utc)]


class Rates(BaseModel):
    """USD per million tokens, save the fees: `web_search` and `map_search` (USD a search), `grounded` (USD an answer
    that searched the web, however often) and `request` (USD an answered request)."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    input: Usd | None = None
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    audio_input: Usd | None = None
    image_input: Usd | None = None
    cache_read_audio: Usd | None = None
    output: Usd | None = None
    reasoning: Usd | None = None
    audio_output: Usd | None = None
    image_output: Usd | None = None
    citation: Usd | None = None
    web_search: Usd | None = None
    map_search: Usd | None = None
    grounded: Usd | None = None
    request: Usd | None = None


class When(Rates):
    """Rates that hold instead when every condition given here does."""

    service_tier: str | None = None
    region: str | None = None
    search_context: str | None = None
    input_above: int | None = Field(
        default=None, ge=0, description="prompt tokens; the whole request is billed at these rates"
    )
    hours_utc: Annotated[tuple[Annotated[str, AfterValidator(_window)], ...], BeforeValidator(_listed)] = ()
    days: Annotated[tuple[_Day, ...], BeforeValidator(_spelled_out)] = ()
    multiply: Annotated[Decimal, Field(gt=0, le=1000, max_digits=12, allow_inf_nan=False)] | None = None

    def spans(self) -> list[tuple[int, int]]:
        """When this holds, as beginnings and ends in minutes of the week from Monday 00:00 UTC; [] for always."""
        if not self.hours_utc and not self.days:
            return []
        windows = [_minutes(window) for window in self.hours_utc or ("00:00-24:00",)]
        starts = [DAYS.index(day) * DAY_MINUTES for day in self.days or DAYS]
        return [(at + start, at + end) for at in starts for start, end in windows]


class Row(Rates):
    """One model's price. `provider`: whose list price it is; such a row never stands for a route of the same name."""

    provider: str | None = None
    trust_provider_cost: bool = False
    source: str = ""
    as_of: str = ""
    since: Since | None = None
    when: tuple[When, ...] = ()
    _before: "Row | None" = PrivateAttr(default=None)

    @property
    def before(self) -> "Row | None":
        """The version that held until this one."""
        return self._before

    @property
    def version(self) -> str:
        """Of when it is, for the journal: the day since which it holds, else the month in which it was read."""
        if self.since is None:
            return self.as_of
        return f"{self.since:%Y-%m-%d}" if self.since.time() == datetime.min.time() else self.since.isoformat()

    def behind(self, before: "Row") -> Self:
        """This row as the version that follows `before`."""
        made = self.model_copy()
        made._before = before
        return made


def _newest(value: object, one: ValidatorFunctionWrapHandler) -> Row:
    """A row, or the newest of a list of its versions, which leads to the others."""
    if not isinstance(value, list):
        row: Row = one(value)
        return row
    versions = sorted(_VERSIONS.validate_python(value), key=_beginning)
    if not versions or len({version.since for version in versions}) < len(versions):
        raise ValueError("each version needs a `since` of its own, save one that held before them all")
    newest = versions[0]
    for version in versions[1:]:
        newest = version.behind(newest)
    return newest


def _beginning(row: Row) -> datetime:
    return row.since or datetime.min.replace(tzinfo=UTC)


_VERSIONS = TypeAdapter(tuple[Row, ...])


class PriceList(BaseModel):
    """pricing.yaml. `unpriced`: what becomes of a request for which a rate is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unpriced: Literal["refuse", "allow"] = "refuse"
    models: dict[str, Annotated[Row, WrapValidator(_newest)]] = {}


# The built-in demo model's price, where pricing.yaml has no row for it: invented, like the model.
DEMO = Row(input=Decimal("0.1"), output=Decimal("0.4"), cache_read=Decimal("0.01"), provider="demo")


class Prices:
    """pricing.yaml, ready to be asked."""

    def __init__(self, listed: PriceList) -> None:
        self.unpriced = listed.unpriced
        self._rows: Mapping[str, Row] = {"demo": DEMO, **listed.models}
        self._own = {
            f"{row.provider}/{name}": name for name, row in self._rows.items() if row.provider and "*" not in name
        }
        self._patterns = sorted((name for name in self._rows if "*" in name), key=_literal_length, reverse=True)

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        return iter(self._rows.items())

    def find(self, provider: str, model: str, route: str = "") -> tuple[str, Row] | None:
        """The row for a target, in its newest version, and its name.

        It is looked for as `provider/model`, then as the route's name, then as the model.

        A pattern (`ollama/*`) stands behind the exact names of its kind. A row that is some provider's list price
        counts as that provider's, and never as a route's.
        """
        full = f"{provider}/{model}"
        if found := self._exactly(full):
            return found
        for name in self._patterns:
            if covers(name, full):
                return name, self._rows[name]
        if route and (row := self._rows.get(route)) is not None and row.provider is None and "*" not in route:
            return route, row
        if (row := self._rows.get(model)) is not None:
            return model, row
        return next(((name, self._rows[name]) for name in self._patterns if covers(name, model)), None)

    def of_maker(self, model: str) -> tuple[str, Row] | None:
        """The maker's own list price, by name, of a model that a host of many calls `maker/model:variant`."""
        maker, _, name = model.partition(":")[0].partition("/")
        for spelled in (name, name.replace(".", "-")):
            if found := self._exactly(f"{_MAKERS.get(maker, maker)}/{spelled}"):
                return found
        return None

    def _exactly(self, full: str) -> tuple[str, Row] | None:
        """The row of `provider/model`, under that name or as the provider's own list price."""
        name = full if full in self._rows else self._own.get(full)
        return (name, self._rows[name]) if name else None


# As OpenRouter calls those that we call otherwise (recorded: google; openrouter.ai/models).
_MAKERS = {"google": "gemini", "mistralai": "mistral", "x-ai": "xai"}


def _literal_length(pattern: str) -> int:
    return len(pattern.replace("*", ""))


@lru_cache(maxsize=4096)
def covers(pattern: str, name: str) -> bool:
    """Whether `pattern` matches the whole of `name`: `*` stands for anything, all else for itself."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    if not name.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found = name.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(name) - len(rest[-1]) >= at and name.endswith(rest[-1])
