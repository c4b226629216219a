"""What the admin API does: one table, read by its routes, by its OpenAPI document and by the command line."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from gateway.admin import records
from gateway.admin.answers import (
    KeyAnswer,
    KeysAnswer,
    NewKeyAnswer,
    OrgAnswer,
    TagAnswer,
    TagsAnswer,
    TeamAnswer,
    TeamsAnswer,
    UserAnswer,
    UsersAnswer,
)
from gateway.admin.forms import Nothing, PageQuery, RotationForm, read
from gateway.admin.record_forms import CapsForm, KeyForm, NewTagForm, NewUserForm, TeamForm
from gateway.ledger.store import Store, StoreDown
from gateway.reports import audit, usage, why
from gateway.reports.report_forms import AuditAnswer, UsageAnswer, UsageQuery, WhyAnswer, WhyQuery
from translators.errors import LLMError


class Operation(NamedTuple):
    """One thing that the admin API does: `run(store, now_s, id, asked)`, `id` from the path ("" where it has none)."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    run: Callable[[Store, float, str, Any], Awaitable[BaseModel]]
    asks: type[BaseModel]  # the body of POST and PATCH, the query of GET and DELETE
    answers: type[BaseModel]
    status: int = 200

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PATCH")

    @property
    def about(self) -> str:
        """What it does, in a sentence or two."""
        run = self.run.func if isinstance(self.run, partial) else self.run
        return (run.__doc__ or "").strip()


OPERATIONS: dict[str, Operation] = {
    "create_key": Operation("POST", "/admin/keys", records.create_key, KeyForm, NewKeyAnswer, 201),
    "list_keys": Operation("GET", "/admin/keys", partial(records.listed, "key"), PageQuery, KeysAnswer),
    "show_key": Operation("GET", "/admin/keys/{id}", partial(records.show, "key"), Nothing, KeyAnswer),
    "change_key": Operation("PATCH", "/admin/keys/{id}", partial(records.change, "key"), KeyForm, KeyAnswer),
    "revoke_key": Operation("DELETE", "/admin/keys/{id}", partial(records.revoke, "key"), Nothing, KeyAnswer),
    "rotate_key": Operation("POST", "/admin/keys/{id}/rotate", records.rotate_key, RotationForm, NewKeyAnswer),
    "create_team": Operation("POST", "/admin/teams", records.create_team, TeamForm, TeamAnswer, 201),
    "list_teams": Operation("GET", "/admin/teams", partial(records.listed, "team"), PageQuery, TeamsAnswer),
    "show_team": Operation("GET", "/admin/teams/{id}", partial(records.show, "team"), Nothing, TeamAnswer),
    "change_team": Operation("PATCH", "/admin/teams/{id}", partial(records.change, "team"), TeamForm, TeamAnswer),
    "revoke_team": Operation("DELETE", "/admin/teams/{id}", partial(records.revoke, "team"), Nothing, TeamAnswer),
    "create_user": Operation("POST", "/admin/users", records.create_user, NewUserForm, UserAnswer, 201),
    "list_users": Operation("GET", "/admin/users", partial(records.listed, "user"), PageQuery, UsersAnswer),
    "show_user": Operation("GET", "/admin/users/{id}", partial(records.show, "user"), Nothing, UserAnswer),
    "change_user": Operation("PATCH", "/admin/users/{id}", partial(records.change, "user"), CapsForm, UserAnswer),
    "revoke_user": Operation("DELETE", "/admin/users/{id}", partial(records.revoke, "user"), Nothing, UserAnswer),
    "create_tag": Operation("POST", "/admin/tags", records.create_tag, NewTagForm, TagAnswer, 201),
    "list_tags": Operation("GET", "/admin/tags", partial(records.listed, "tag"), PageQuery, TagsAnswer),
    "show_tag": Operation("GET", "/admin/tags/{id}", partial(records.show, "tag"), Nothing, TagAnswer),
    "change_tag": Operation("PATCH", "/admin/tags/{id}", partial(records.change, "tag"), CapsForm, TagAnswer),
    "revoke_tag": Operation("DELETE", "/admin/tags/{id}", partial(records.revoke, "tag"), Nothing, TagAnswer),
    "show_org": Operation("GET", "/admin/organization", records.show_org, Nothing, OrgAnswer),
    "change_org": Operation("PATCH", "/admin/organization", records.change_org, CapsForm, OrgAnswer),
    "why": Operation("GET", "/admin/keys/{id}/why", why.why, WhyQuery, WhyAnswer),
    "audit": Operation("GET", "/admin/audit", audit.audit, Nothing, AuditAnswer),
    "usage": Operation("GET", "/admin/usage", usage.report, UsageQuery, UsageAnswer),
}


async def answer(operation: Operation, store: Store, now_s: float, id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `operation` answers to `given`, as JSON's values. Raises LLMError, also when the store is down."""
    asked = read(operation.asks, given)
    try:
        answered = await operation.run(store, now_s, id, asked)
    except StoreDown as error:
        raise store_down() from error
    return answered.model_dump(exclude_unset=True)


def store_down() -> LLMError:
    """What is told of it."""
    return LLMError("unavailable", "The ledger's store does not answer: try again", retry_after_s=1.0)
