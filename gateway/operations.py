"""What the admin API does: one table, read by its routes, by its OpenAPI document and by the command line."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from gateway import records, usage
from gateway.admin_answers import KeyAnswer, KeysAnswer, NewKeyAnswer, TeamAnswer, TeamsAnswer, UsageAnswer
from gateway.admin_forms import KeyForm, Nothing, PageQuery, RotationForm, TeamForm, UsageQuery, read
from gateway.ledger.store import Store, StoreDown
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


OPERATIONS: dict[str, Operation] = {
    "create_key": Operation("POST", "/admin/keys", records.create_key, KeyForm, NewKeyAnswer, 201),
    "list_keys": Operation("GET", "/admin/keys", records.list_keys, PageQuery, KeysAnswer),
    "show_key": Operation("GET", "/admin/keys/{id}", records.show_key, Nothing, KeyAnswer),
    "change_key": Operation("PATCH", "/admin/keys/{id}", records.change_key, KeyForm, KeyAnswer),
    "revoke_key": Operation("DELETE", "/admin/keys/{id}", records.revoke_key, Nothing, KeyAnswer),
    "rotate_key": Operation("POST", "/admin/keys/{id}/rotate", records.rotate_key, RotationForm, NewKeyAnswer),
    "create_team": Operation("POST", "/admin/teams", records.create_team, TeamForm, TeamAnswer, 201),
    "list_teams": Operation("GET", "/admin/teams", records.list_teams, PageQuery, TeamsAnswer),
    "show_team": Operation("GET", "/admin/teams/{id}", records.show_team, Nothing, TeamAnswer),
    "change_team": Operation("PATCH", "/admin/teams/{id}", records.change_team, TeamForm, TeamAnswer),
    "revoke_team": Operation("DELETE", "/admin/teams/{id}", records.revoke_team, Nothing, TeamAnswer),
    "usage": Operation("GET", "/admin/usage", usage.report, UsageQuery, UsageAnswer),
}


async def answer(operation: Operation, store: Store, now_s: float, id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `operation` answers to `given`, as JSON's values. Raises LLMError, also when the store is down."""
    asked = read(operation.asks, given)
    try:
        answered = await operation.run(store, now_s, id, asked)
    except StoreDown as error:
        raise LLMError("unavailable", "The ledger's store does not answer: try again", retry_after_s=1.0) from error
    return answered.model_dump(exclude_unset=True)
