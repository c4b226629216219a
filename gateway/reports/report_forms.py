"""What the admin API's reports are asked and what they answer. Amounts are USD as exact decimal strings."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from gateway.admin.forms import Day, Query

By = Literal["key", "team", "user", "tag", "model", "provider", "target", "ending", "hour", "day", "month"]
BY: tuple[By, ...] = get_args(By)
BY_TEXT = f"{', '.join(BY)}: one or several, with commas between"


def _by(value: object) -> list[str]:
    names = value.split(",") if isinstance(value, str) and value else []
    if not names or len(set(names)) != len(names) or not set(names) <= set(BY):
        raise ValueError(f"must be one or several of {', '.join(BY)}, with commas between")
    return names


Fields = Annotated[list[By], PlainValidator(_by), WithJsonSchema({"type": "string"})]


class Selection(Query):
    """Which of the journal's entries are meant, and by what they are added up."""

    key_alias: str | None = Field(default=None, description="the key of that name; if none has it now, who had it then")
    key_id: str | None = None
    team_id: str | None = Field(default=None, description="or its alias")
    end_user: str | None = Field(default=None, description="who the caller said it was for")
    tag: str | None = None
    model: str | None = Field(default=None, description="as the caller asked for it")
    by: Fields = Field(default=[], description=BY_TEXT)
    start: Day = Field(default=0.0, alias="from", description="a date (its midnight in UTC) or ISO 8601 with a zone")
    end: Day | None = Field(default=None, alias="to", description="likewise, exclusive")

    @model_validator(mode="after")
    def _goes_forward(self) -> Self:
        if self.end is not None and self.start > self.end:
            raise ValueError("`from` must not be after `to`")
        return self


class UsageQuery(Selection):
    """Which journal entries to add up, and by what."""

    limit: int = Field(default=100, ge=0, le=10_000, description="how many entries to list, newest first")


class ExportQuery(Selection):
    """Which journal entries to write out, or by what to add them up first."""

    format: Literal["csv", "jsonl"] = Field(default="csv", description="csv, or jsonl: one JSON object a line")


class GroupAnswer(BaseModel):
    """The sum over the entries that share what was asked for in `by`; fields not asked for are absent."""

    model_config = ConfigDict(extra="forbid")

    key_id: str | None = None
    key_alias: str | None = None
    team_id: str | None = None
    end_user: str | None = None
    tag: str | None = Field(default=None, description="a request of several tags counts under each of them")
    model: str | None = None
    provider: str | None = None
    target: str | None = None
    ending: str | None = None
    hour: str | None = Field(default=None, description="of a folded day: the day")
    day: str | None = None
    month: str | None = None
    spend_usd: str
    requests: int
    tokens: dict[str, int]


class EntryAnswer(BaseModel):
    """One settled request, as the journal has it."""

    request_id: str
    at: str
    key_id: str
    key_alias: str | None
    team_id: str | None
    end_user: str | None
    tags: list[str]
    model: str
    target: str
    ending: str
    cost_usd: str
    overrun_usd: str = Field(description="by how much it exceeded what was held for it")
    adjusts: bool = Field(description="the difference to an earlier, provisional entry of the same request")
    tokens: dict[str, int]
    estimated: bool
    unpriced: bool
    price: str
    attempts: int
    latency_ms: int
    first_token_ms: int | None


class UsageAnswer(BaseModel):
    """The sums over everything that matches, by group where asked, and the newest of the entries."""

    spend_usd: str
    held_usd: str
    requests: int
    tokens: dict[str, int]
    groups: list[GroupAnswer]
    entries: list[EntryAnswer]
    approximate_days: list[str] = Field(
        description="days that the interval cuts and of which only sums are kept: what was folded of them counts where "
        "their midnight lies"
    )


class Finding(BaseModel):
    """One thing that is not as it must be."""

    what: str = Field(description="spent, held, slots, late_hold, above_cap, negative, missing")
    name: str = Field(description="the counter, the scope or the request")
    message: str


class OverrunAnswer(BaseModel):
    """A request that cost more than was held for it, or a counter above a cap that was not there before."""

    name: str
    nanousd: int
    at: str | None
    message: str


class Checked(BaseModel):
    """How much was looked at."""

    counters: int
    entries: int
    holds: int
    slots: int
    records: int
    spent_usd: str = Field(description="over all requests, those that have left the journal included")
    folded_usd: str = Field(description="what of it has left the journal")


class AuditAnswer(BaseModel):
    """Whether every sum is what the journal says, and no cap was exceeded."""

    clean: bool
    checked: Checked
    findings: list[Finding]
    overruns: list[OverrunAnswer]


class WhyQuery(Query):
    """A request to imagine."""

    model: str | None = Field(default=None, description="as a caller would ask for it")
    target: str | None = Field(default=None, description="the provider/model that a route of that name leads to first")
    user: str | None = Field(default=None, description="the end user it would be for")
    tag: str | None = Field(default=None, description="one more tag beside the key's own")


class HeldBy(BaseModel):
    """One request that holds a part of a cap."""

    request_id: str
    held_usd: str
    deadline: str = Field(description="given back by then, unless the request goes on")


class CapAnswer(BaseModel):
    """One cap, as it stands over the request."""

    scope: str
    window: str
    cap_usd: str
    spent_usd: str
    held_usd: str
    left_usd: str
    soft: bool
    applies: bool = Field(description="false where it is for some models only, and no model was asked about")
    blocks: bool
    frees: str | None = Field(description="when its window ends; null: never by itself")
    held_by: list[HeldBy]
    held_by_others: int = Field(description="how many requests more hold a part of it")


class LimitAnswer(BaseModel):
    """One limit, as it stands over the request."""

    scope: str
    measure: str
    limit: int
    used: int
    applies: bool = Field(description="false where it is for some models only, and no model was asked about")
    blocks: bool
    empty_in_s: float = Field(description="by then nothing of it counts any more")
    held_by: list[HeldBy]


class WhyAnswer(BaseModel):
    """Whether a request by this key would be refused now, and why."""

    id: str
    refused: bool
    verdict: str
    caps: list[CapAnswer]
    limits: list[LimitAnswer]
