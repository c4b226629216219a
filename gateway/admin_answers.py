"""What the admin API answers. Amounts are USD as exact decimal strings, moments ISO 8601 in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

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
    """One cap as it stands now."""

    budget_duration: str | None
    max_budget: str
    spend_usd: str
    held_usd: str
    resets_at: str | None


class BudgetAnswer(BaseModel):
    """One of `budgets`."""

    max_budget: str
    budget_duration: str | None
    on_cap: OnCap
    soft: bool


class _HolderAnswer(BaseModel):
    id: str
    models: list[str]
    max_budget: str | None
    budget_duration: str | None
    budgets: list[BudgetAnswer]
    expires: str | None
    metadata: dict[str, Any]
    created_at: str
    revoked: bool
    spend_usd: str
    held_usd: str
    windows: list[Window]


class KeyAnswer(_HolderAnswer):
    """A virtual key."""

    key_alias: str | None
    team_id: str | None
    unsupported: Unsupported | None
    key_hint: str


class NewKeyAnswer(KeyAnswer):
    """A virtual key with its token, which is shown this once."""

    key: str


class TeamAnswer(_HolderAnswer):
    """A team."""

    team_alias: str | None


class KeysAnswer(BaseModel):
    """One page of keys, revoked ones included."""

    data: list[KeyAnswer]
    next: str | None


class TeamsAnswer(BaseModel):
    """One page of teams, revoked ones included."""

    data: list[TeamAnswer]
    next: str | None


class GroupAnswer(BaseModel):
    """The sum over the entries that share what was asked for in `by`; fields not asked for are absent."""

    model_config = ConfigDict(extra="forbid")

    key_id: str | None = None
    key_alias: str | None = None
    team_id: str | None = None
    model: str | None = None
    day: str | None = None
    provider: str | None = None
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
    model: str
    target: str
    ending: str
    cost_usd: str
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


class Fault(BaseModel):
    """What is wrong: OpenAI's fields."""

    message: str
    type: str
    param: str | None
    code: str | None


class FaultAnswer(BaseModel):
    """Every refusal has this shape."""

    error: Fault
