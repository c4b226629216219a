"""What people write to the admin API: bodies and queries, and the 422 that names what cannot be."""

import difflib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from gateway.admin_answers import iso
from gateway.ledger.store import OnCap
from gateway.ledger.windows import parse_duration
from gateway.virtual_keys import nanousd
from translators.errors import LLMError
from translators.outcomes import Unsupported

By = Literal["key", "team", "model", "day", "provider"]
MAX_BUDGETS = 16  # each is a counter that every request adds to
MAX_GRACE_S = 366 * 86_400
GRACE_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _moment(value: object) -> float:
    """ISO 8601 with a zone → Unix seconds. A plus sign that a query turned into a space is understood."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", value))
            if at.tzinfo is not None:
                seconds = at.astimezone(UTC).timestamp()
                iso(seconds)  # what cannot be shown again is not taken
                return seconds
        except (ValueError, OverflowError):
            pass
    raise ValueError("must be ISO 8601 with a time zone, such as 2026-12-31T23:59:59Z")


def _day_or_moment(value: object) -> float:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        value += "T00:00:00Z"
    try:
        return _moment(value)
    except ValueError:
        raise ValueError("must be a date (its midnight in UTC) or ISO 8601 with a time zone") from None


def _duration(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError('must be a duration such as "1d" or "1mo", or null for the total')
    try:
        parse_duration(value)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("budget_duration ")) from None
    return value


def _grace(value: object) -> float:
    found = re.fullmatch(r"(\d{1,9})([smhdw])", value) if isinstance(value, str) else None
    if found is None or (seconds := int(found[1]) * GRACE_UNITS_S[found[2]]) > MAX_GRACE_S:
        raise ValueError('must be a duration such as "24h" or "0s", at most "366d"')
    return float(seconds)


def _by(value: object) -> list[str]:
    names = value.split(",") if isinstance(value, str) and value else []
    if not names or len(set(names)) != len(names) or not set(names) <= set(By.__args__):  # type: ignore[attr-defined]
        raise ValueError("must be one or several of key, team, model, day, provider, with commas between")
    return names


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema(schema)


Usd = Annotated[int, PlainValidator(nanousd), _schema(anyOf=[{"type": "number", "minimum": 0}, {"type": "string"}])]
Moment = Annotated[float, PlainValidator(_moment), _schema(type="string", format="date-time")]
Day = Annotated[float, PlainValidator(_day_or_moment), _schema(type="string")]
Duration = Annotated[str | None, PlainValidator(_duration), _schema(type=["string", "null"])]
Grace = Annotated[float, PlainValidator(_grace), _schema(type="string")]
Fields = Annotated[list[By], PlainValidator(_by), _schema(type="string")]
Alias = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class Form(BaseModel):
    """What a person wrote. A field that is not known is refused, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BudgetForm(Form):
    """One cap of several."""

    max_budget: Usd = Field(description="USD, up to 9 decimal places; a string is exact in every language")
    budget_duration: Duration = Field(default=None, description="1h, 1d, 1w, 1mo …; null: the total")
    on_cap: OnCap = Field(default="clamp", description="clamp: cut the answer to what is left; refuse: all or nothing")
    soft: bool = Field(default=False, description="never refuses: it is there to be watched")


class _HolderForm(Form):
    models: list[Pattern] | None = Field(default=None, description="patterns (`gpt-*`); null or empty: every model")
    max_budget: Usd | None = Field(default=None, description="USD, up to 9 decimal places; null: no such cap")
    budget_duration: Duration = Field(default=None, description="the window of max_budget; null: the total")
    budgets: list[BudgetForm] | None = Field(
        default=None, max_length=MAX_BUDGETS, description="further caps; all apply"
    )
    expires: Moment | None = Field(default=None, description="refused from then on")
    metadata: dict[str, Any] | None = Field(default=None, description="kept and given back as it is")

    @field_validator("metadata")
    @classmethod
    def _can_be_given_back(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            orjson.dumps(metadata)
        except (TypeError, RecursionError) as error:  # nested past 254 levels
            raise ValueError("is nested too deeply") from error
        return metadata


class KeyForm(_HolderForm):
    """A virtual key to be made, or what to change of one: a field that is not given stays, null clears it."""

    key_alias: Alias | None = Field(default=None, description="a name of its own; two live keys never share one")
    team_id: str | None = Field(default=None, description="whose caps apply too")
    unsupported: Unsupported | None = Field(
        default=None,
        description="what becomes of a parameter that a provider has no word for: refuse the request, or leave it out "
        "and report it; null: as the route or the provider has it",
    )


class TeamForm(_HolderForm):
    """A team to be made, or what to change of one: a field that is not given stays, null clears it."""

    team_alias: Alias | None = Field(default=None, description="a name of its own; two live teams never share one")


class RotationForm(Form):
    """How long the token that is replaced stays good."""

    grace_period: Grace = Field(default=86_400.0, description='such as "24h" (the default) or "0s": at once')


class Nothing(Form):
    """No query, no body."""


class Query(BaseModel):
    """What stands behind the question mark: always text."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PageQuery(Query):
    """One page of a list, in order of id."""

    limit: int = Field(default=100, ge=1, le=1000)
    after: str = Field(default="", description="the `next` of the page before")


class UsageQuery(Query):
    """Which journal entries to add up, and by what."""

    key_alias: str | None = Field(default=None, description="the key of that name; if none has it now, who had it then")
    key_id: str | None = None
    team_id: str | None = None
    model: str | None = Field(default=None, description="as the caller asked for it")
    by: Fields = Field(default=[], description="key, team, model, day, provider: one or several, with commas between")
    start: Day = Field(default=0.0, alias="from", description="a date (its midnight in UTC) or ISO 8601 with a zone")
    end: Day | None = Field(default=None, alias="to", description="likewise, exclusive")
    limit: int = Field(default=100, ge=0, le=10_000, description="how many entries to list, newest first")

    @model_validator(mode="after")
    def _goes_forward(self) -> Self:
        if self.end is not None and self.start > self.end:
            raise ValueError("`from` must not be after `to`")
        return self


F = TypeVar("F", bound=BaseModel)


def read(form: type[F], given: Mapping[str, Any]) -> F:
    """`given` as a `form`. Raises LLMError with status 422 that names every field at fault."""
    try:
        return form.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        names = [".".join(map(str, fault["loc"])) for fault in faults]
        known = [field.alias or name for name, field in form.model_fields.items()]
        said = [_fault(name, fault["type"], fault["msg"], known) for name, fault in zip(names, faults, strict=True)]
        code = "unknown_parameter" if faults[0]["type"] == "extra_forbidden" else "invalid_value"
        raise invalid("; ".join(said[:5]), names[0] or None, code) from None


def invalid(message: str, param: str | None, code: str = "invalid_value") -> LLMError:
    """The 422 for a field that cannot be."""
    return LLMError("invalid_request", message, param=param, code=code, status=422)


def _fault(name: str, type: str, message: str, known: list[str]) -> str:
    if type == "extra_forbidden":
        near = difflib.get_close_matches(name, known, 1)
        return f"`{name}` is not known here" + (f": did you mean `{near[0]}`?" if near else "")
    message = message.removeprefix("Value error, ")
    return f"`{name}` {message[:1].lower()}{message[1:]}" if name else message
