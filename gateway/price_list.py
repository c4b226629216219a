"""pricing.yaml: its schema, and which row is for which target.

A row names rates in USD per million tokens. `when` entries override single rates where they match: in their order, so
that a later one wins, and a `multiply` raises every token rate that is in force by then.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Usd = Annotated[Decimal, Field(ge=0, max_digits=24, decimal_places=9, allow_inf_nan=False)]


class Rates(BaseModel):
    """USD per million tokens, save `web_search` (USD a search) and `request` (USD an answered request)."""

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
    web_search: Usd | None = None
    request: Usd | None = None


class When(Rates):
    """Rates that hold instead when every condition given here does."""

    service_tier: str | None = None
    region: str | None = None
    input_above: int | None = Field(
        default=None, ge=0, description="prompt tokens; the whole request is billed at these rates"
    )
    multiply: Annotated[Decimal, Field(gt=0, le=1000, max_digits=12, allow_inf_nan=False)] | None = None


class Row(Rates):
    """One model's price. `provider`: whose list price it is; such a row never stands for a route of the same name."""

    provider: str | None = None
    trust_provider_cost: bool = False
    source: str = ""
    as_of: str = ""
    when: tuple[When, ...] = ()


class PriceList(BaseModel):
    """pricing.yaml. `unpriced`: what becomes of a request for which a rate is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unpriced: Literal["refuse", "allow"] = "refuse"
    models: dict[str, Row] = {}


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
        """The row for a target, and its name: as `provider/model`, then the route's name, then the model.

        A pattern (`ollama/*`) stands behind the exact names of its kind. A row that is some provider's list price
        counts as that provider's, and never as a route's.
        """
        full = f"{provider}/{model}"
        if full in self._rows:
            return full, self._rows[full]
        if name := self._own.get(full):
            return name, self._rows[name]
        for name in self._patterns:
            if covers(name, full):
                return name, self._rows[name]
        if route and (row := self._rows.get(route)) is not None and row.provider is None and "*" not in route:
            return route, row
        if (row := self._rows.get(model)) is not None:
            return model, row
        return next(((name, self._rows[name]) for name in self._patterns if covers(name, model)), None)


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
