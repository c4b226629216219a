"""What people write of keys, teams and the other holders of caps."""

from typing import Annotated, Any, Self

import orjson
from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from gateway.admin.forms import Alias, Duration, Form, Moment, Pattern, Usd, Zone
from gateway.ledger.store import OnCap
from gateway.ledger.windows import parse_duration
from gateway.payers import MAX_TAGS
from translators.outcomes import Unsupported

MAX_BUDGETS = 16  # each is a counter that every request adds to
MAX_LIMITS = 16  # each is up to five meters that every request counts against
MOST = 10**15  # of requests or tokens: a Lua number counts exactly up to 2**53
TAG = r"[A-Za-z0-9._:/@-]{1,64}"

Count = Annotated[int, Field(ge=0, le=MOST)]
Tag = Annotated[str, StringConstraints(pattern=f"^{TAG}$")]
TagId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
UserId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def has_calendar(duration: str | None) -> bool:
    """Whether windows of `duration` begin with the calendar's, so that a time zone makes a difference."""
    if duration is None:
        return False
    number, unit = parse_duration(duration)
    return unit == "mo" or (number == 1 and unit in "hdw")


class BudgetForm(Form):
    """One cap of several."""

    max_budget: Usd = Field(description="USD, up to 9 decimal places; a string is exact in every language")
    budget_duration: Duration = Field(default=None, description="1h, 1d, 1w, 1mo …; null: the total")
    time_zone: Zone = Field(default="UTC", description="of the calendar, for 1h, 1d, 1w and months: Europe/Berlin …")
    model: Pattern | None = Field(default=None, description="a pattern: only requests for these models; null: all")
    on_cap: OnCap = Field(default="clamp", description="clamp: cut the answer to what is left; refuse: all or nothing")
    soft: bool = Field(default=False, description="never refuses: it is there to be watched")

    @field_validator("time_zone")
    @classmethod
    def _has_a_calendar(cls, zone: str, info: ValidationInfo) -> str:
        if zone != "UTC" and "budget_duration" in info.data and not has_calendar(info.data["budget_duration"]):
            raise ValueError("is for windows of the calendar only: 1h, 1d, 1w, 1mo and other months")
        return zone


class _RatesForm(Form):
    rpm_limit: Count | None = Field(default=None, description="requests a minute; null: any number")
    tpm_limit: Count | None = Field(default=None, description="tokens a minute, input and output")
    rpd_limit: Count | None = Field(default=None, description="requests in 24 hours")
    tpd_limit: Count | None = Field(default=None, description="tokens in 24 hours, input and output")
    max_parallel_requests: Count | None = Field(default=None, description="requests at once")


class LimitsForm(_RatesForm):
    """Limits for the models of a pattern; all that match a request apply."""

    model: Pattern = Field(description="only requests for these models count")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if all(getattr(self, name) is None for name in _RatesForm.model_fields):
            raise ValueError(f"must give one of {', '.join(_RatesForm.model_fields)}")
        return self


class CapsForm(_RatesForm):
    """What everything that has caps can have. A field that is not given stays, null clears it."""

    max_budget: Usd | None = Field(default=None, description="USD, up to 9 decimal places; null: no such cap")
    budget_duration: Duration = Field(default=None, description="the window of max_budget; null: the total")
    budget_time_zone: Zone = Field(default="UTC", description="of max_budget's window, where that is the calendar's")
    temp_budget_increase: Usd | None = Field(default=None, description="USD on top of max_budget for a time")
    temp_budget_expiry: Moment | None = Field(default=None, description="until then")
    budgets: list[BudgetForm] | None = Field(
        default=None, max_length=MAX_BUDGETS, description="further caps; all apply"
    )
    limits: list[LimitsForm] | None = Field(
        default=None, max_length=MAX_LIMITS, description="limits for some models only; all apply"
    )
    metadata: dict[str, Any] | None = Field(default=None, description="kept and given back as it is")

    @field_validator("limits")
    @classmethod
    def _one_for_each_pattern(cls, limits: list[LimitsForm] | None) -> list[LimitsForm] | None:
        patterns = [entry.model for entry in limits or ()]
        if twice := _twice(patterns):
            raise ValueError(f"must have one entry for each `model`, and {twice!r} has two")
        return limits

    @field_validator("metadata")
    @classmethod
    def _can_be_given_back(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            orjson.dumps(metadata)
        except (TypeError, RecursionError) as error:
            raise ValueError("is nested past 254 levels, or holds an integer past 64 bits") from error
        return metadata


class _CallerForm(CapsForm):
    models: list[Pattern] | None = Field(default=None, description="patterns (`gpt-*`); null or empty: every model")
    expires: Moment | None = Field(default=None, description="refused from then on")


class KeyForm(_CallerForm):
    """A virtual key to be made, or what to change of one: a field that is not given stays, null clears it."""

    key_alias: Alias | None = Field(default=None, description="a name of its own; two live keys never share one")
    team_id: str | None = Field(default=None, description="whose caps apply too: its id or its alias")
    tags: list[Tag] | None = Field(
        default=None,
        max_length=MAX_TAGS,
        description="what every request of the key counts for: 1 to 64 letters, digits and ._:/@-",
    )
    unsupported: Unsupported | None = Field(
        default=None,
        description="what becomes of a parameter that a provider has no word for: refuse the request, or leave it out "
        "and report it; null: as the route or the provider has it",
    )

    @field_validator("tags")
    @classmethod
    def _each_once(cls, tags: list[str] | None) -> list[str] | None:
        if twice := _twice(tags or []):
            raise ValueError(f"must name each tag once, and {twice!r} is there twice")
        return tags


class TeamForm(_CallerForm):
    """A team to be made, or what to change of one: a field that is not given stays, null clears it."""

    team_alias: Alias | None = Field(default=None, description="a name of its own; two live teams never share one")


class NewUserForm(CapsForm):
    """An end user to be made."""

    user_id: UserId = Field(
        description="as callers send it in `safety_identifier` or `user`; `*`: for each who has no record of their own"
    )

    @field_validator("user_id")
    @classmethod
    def _can_stand_in_a_path(cls, id: str) -> str:
        return _not_a_step(id)


class NewTagForm(CapsForm):
    """A tag to be made."""

    tag: TagId = Field(description="as keys and callers name it; `*`: for each that has no record of its own")

    @field_validator("tag")
    @classmethod
    def _can_be_sent(cls, id: str) -> str:
        if not id.isprintable() or "," in id or id != id.strip():
            raise ValueError("must be printable, without commas and without spaces around it")
        return _not_a_step(id)


def _not_a_step(id: str) -> str:
    if id in (".", ".."):
        raise ValueError("cannot be . or .., which clients take out of a URL")
    return id


def _twice(names: list[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)
