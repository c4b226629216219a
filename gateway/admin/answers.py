"""What the admin API answers. Amounts are USD as exact decimal strings, moments ISO 8601 in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from gateway.ledger.store import OnCap
from translators.outcomes import Unsupported


def iso(at_s: float) -> str:
    """Unix seconds → ISO 8601 in UTC, to the millisecond. Raises ValueError outside the years 1 to 9999."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=round(at_s * 1000))
    except OverflowError as error:
        raise ValueError("is no date") from error
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds").removesuffix("+00:00") + "Z"


class Window(BaseModel):
    """One cap as it stands now. `cap_usd` is what holds at this moment: `max_budget`, with a temporary raise."""

    model: str | None
    budget_duration: str | None
    time_zone: str
    soft: bool
    max_budget: str
    cap_usd: str
    spend_usd: str
    held_usd: str
    resets_at: str | None


class BudgetAnswer(BaseModel):
    """One of `budgets`."""

    max_budget: str
    budget_duration: str | None
    time_zone: str
    model: str | None
    on_cap: OnCap
    soft: bool


class LimitsAnswer(BaseModel):
    """One of `limits`."""

    model: str
    rpm_limit: int | None
    tpm_limit: int | None
    rpd_limit: int | None
    tpd_limit: int | None
    max_parallel_requests: int | None


class CapsAnswer(BaseModel):
    """Whatever has caps and limits, and what it has spent. `created_at` is null where nobody made a record."""

    id: str
    max_budget: str | None
    budget_duration: str | None
    budget_time_zone: str
    temp_budget_increase: str | None
    temp_budget_expiry: str | None
    budgets: list[BudgetAnswer]
    rpm_limit: int | None
    tpm_limit: int | None
    rpd_limit: int | None
    tpd_limit: int | None
    max_parallel_requests: int | None
    limits: list[LimitsAnswer]
    metadata: dict[str, Any]
    created_at: str | None
    revoked: bool
    spend_usd: str
    held_usd: str
    windows: list[Window]


class KeyAnswer(CapsAnswer):
    """A virtual key."""

    key_alias: str | None
    team_id: str | None
    models: list[str]
    tags: list[str]
    unsupported: Unsupported | None
    expires: str | None
    key_hint: str


class NewKeyAnswer(KeyAnswer):
    """A virtual key with its token, which is shown this once."""

    key: str


class TeamAnswer(CapsAnswer):
    """A team."""

    team_alias: str | None
    models: list[str]
    expires: str | None


class OrgAnswer(CapsAnswer):
    """The organisation: every request counts for it."""


class UserAnswer(CapsAnswer):
    """An end user. `inherited`: there is no record of this one, so the caps and limits are those of `*`."""

    user_id: str
    inherited: bool


class TagAnswer(CapsAnswer):
    """A tag. `inherited`: there is no record of this one, so the caps and limits are those of `*`."""

    tag: str
    inherited: bool


class KeysAnswer(BaseModel):
    """One page of keys, revoked ones included."""

    data: list[KeyAnswer]
    next: str | None


class TeamsAnswer(BaseModel):
    """One page of teams, revoked ones included."""

    data: list[TeamAnswer]
    next: str | None


class UsersAnswer(BaseModel):
    """One page of the end users that have a record, revoked ones included."""

    data: list[UserAnswer]
    next: str | None


class TagsAnswer(BaseModel):
    """One page of the tags that have a record, revoked ones included."""

    data: list[TagAnswer]
    next: str | None


class Fault(BaseModel):
    """What is wrong: OpenAI's fields."""

    message: str
    type: str
    param: str | None
    code: str | None


class FaultAnswer(BaseModel):
    """Every refusal has this shape."""

    error: Fault
