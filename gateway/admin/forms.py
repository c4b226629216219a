"""What people write to the admin API: bodies and queries, and the 422 that names what cannot be."""

import difflib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.admin.answers import iso
from gateway.ledger.windows import UNIT_S, parse_duration, parse_zone
from gateway.virtual_keys import nanousd
from translators.errors import LLMError

MAX_GRACE_S = 366 * 86_400


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


def _zone(value: object) -> str:
    if value is None:
        return "UTC"
    if not isinstance(value, str):
        raise ValueError("must be the name of a time zone, such as UTC or Europe/Berlin")
    return parse_zone(value)


def _grace(value: object) -> float:
    found = re.fullmatch(r"(\d{1,9})([smhdw])", value) if isinstance(value, str) else None
    if found is None or (seconds := int(found[1]) * UNIT_S[found[2]]) > MAX_GRACE_S:
        raise ValueError('must be a duration such as "24h" or "0s", at most "366d"')
    return float(seconds)


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema(schema)


Usd = Annotated[int, PlainValidator(nanousd), _schema(anyOf=[{"type": "number", "minimum": 0}, {"type": "string"}])]
Moment = Annotated[float, PlainValidator(_moment), _schema(type="string", format="date-time")]
Day = Annotated[float, PlainValidator(_day_or_moment), _schema(type="string")]
Duration = Annotated[str | None, PlainValidator(_duration), _schema(type=["string", "null"])]
Zone = Annotated[str, PlainValidator(_zone), _schema(type=["string", "null"])]
Grace = Annotated[float, PlainValidator(_grace), _schema(type="string")]
Alias = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Form(BaseModel):
    """What a person wrote. A field that is not known is refused, never ignored."""

    # built when one is first asked for, and not at every worker's start
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class RotationForm(Form):
    """How long the token that is replaced stays good."""

    grace_period: Grace = Field(default=86_400.0, description='such as "24h" (the default) or "0s": at once')


class Nothing(Form):
    """No query, no body."""


class Query(BaseModel):
    """What stands behind the question mark: always text."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class PageQuery(Query):
    """One page of a list, in order of id."""

    limit: int = Field(default=100, ge=1, le=1000)
    after: str = Field(default="", description="the `next` of the page before")


F = TypeVar("F", bound=BaseModel)


def read(form: type[F], given: Mapping[str, Any]) -> F:
    """`given` as a `form`. Raises LLMError with status 422 that names every field at fault."""
    try:
        return form.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        names = [".".join(map(str, fault["loc"])) for fault in faults]
        said = [_fault(form, name, fault) for name, fault in zip(names, faults, strict=True)]
        code = "unknown_parameter" if faults[0]["type"] == "extra_forbidden" else "invalid_value"
        raise invalid("; ".join(said[:5]), names[0] or None, code) from None


def invalid(message: str, param: str | None, code: str = "invalid_value") -> LLMError:
    """The 422 for a field that cannot be."""
    return LLMError("invalid_request", message, param=param, code=code, status=422)


def _fault(form: type[BaseModel], name: str, fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        *place, word = map(str, fault["loc"])
        known = _fields(form, place)
        near = difflib.get_close_matches(word, known, 1) or [field for field in known if field.startswith(f"{word}_")]
        return f"`{name}` is not known here" + (f": did you mean `{near[0]}`?" if near else "")
    message = fault["msg"].removeprefix("Value error, ")
    return f"`{name}` {message[:1].lower()}{message[1:]}" if name else message


def _fields(form: type[BaseModel], place: list[str]) -> list[str]:
    """What may be written at `place`, which leads through forms within `form` and the lists of them."""
    fields = form.model_fields
    for step in place:
        if step in fields:
            fields = _within(fields[step].annotation)
    return [field.alias or name for name, field in fields.items()]


def _within(annotation: Any) -> dict[str, FieldInfo]:
    """The fields of the form that an annotation, such as `list[BudgetForm] | None`, is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields
    return next((found for each in get_args(annotation) if (found := _within(each))), {})
