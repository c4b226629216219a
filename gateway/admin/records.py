"""Keys, teams and the other holders of caps as an admin handles them: made, changed, revoked, rotated, shown."""

from collections.abc import Callable

from pydantic import BaseModel

from gateway.admin.answers import CapsAnswer, KeysAnswer, NewKeyAnswer, TagsAnswer, TeamsAnswer, UsersAnswer
from gateway.admin.caps import changed
from gateway.admin.forms import Nothing, PageQuery, RotationForm, invalid
from gateway.admin.record_forms import CapsForm, KeyForm, NewTagForm, NewUserForm, TeamForm
from gateway.admin.statements import statement, statements
from gateway.keys import digest
from gateway.ledger.store import EVERYONE, ORG, Conflict, Kind, Record, Store
from gateway.virtual_keys import hint, new_id, new_token
from translators.errors import LLMError

TRIES = 8  # how often a change is applied anew when others change the same record at the same time
PAGES: dict[Kind, type[BaseModel]] = {"key": KeysAnswer, "team": TeamsAnswer, "user": UsersAnswer, "tag": TagsAnswer}
NAMED: dict[Kind, str] = {"key": "key_alias", "team": "team_alias", "user": "user_id", "tag": "tag"}  # what is taken
WITH_DEFAULT: tuple[Kind, ...] = ("user", "tag")  # EVERYONE's record holds for those without one of their own


async def create_key(store: Store, now_s: float, _id: str, form: KeyForm) -> NewKeyAnswer:
    """A new key and its token, which only this answer ever holds."""
    form = await _with_team(store, form)
    token = new_token()
    fresh = Record(id=new_id("key"), kind="key", created_at=now_s, hint=hint(token))
    record = changed(fresh, form, now_s)
    await _create(store, record, digest(token))
    return _with_token(await statement(store, record, now_s), token)


async def create_team(store: Store, now_s: float, _id: str, form: TeamForm) -> CapsAnswer:
    """A new team."""
    return await _made(store, Record(id=new_id("team"), kind="team", created_at=now_s), form, now_s)


async def create_user(store: Store, now_s: float, _id: str, form: NewUserForm) -> CapsAnswer:
    """A record for an end user, or with the id `*` for each who has none."""
    return await _made(store, Record(id=form.user_id, kind="user", created_at=now_s), form, now_s)


async def create_tag(store: Store, now_s: float, _id: str, form: NewTagForm) -> CapsAnswer:
    """A record for a tag, or with the id `*` for each that has none."""
    return await _made(store, Record(id=form.tag, kind="tag", created_at=now_s), form, now_s)


async def show(kind: Kind, store: Store, now_s: float, id: str, _: Nothing) -> CapsAnswer:
    """One of them, and what it has spent."""
    record = await store.get(kind, id)
    if kind in WITH_DEFAULT and (record is None or record.revoked):
        default = await store.get(kind, EVERYONE)
        if default is not None and not default.revoked:
            stood_for = default.model_copy(update={"id": id, "metadata": {}, "created_at": 0.0})
            return await statement(store, stood_for, now_s, inherited=True)
    return await statement(store, record or await found(store, kind, id), now_s)


async def show_org(store: Store, now_s: float, _id: str, _: Nothing) -> CapsAnswer:
    """The organisation; one that nobody gave a cap or a limit has none."""
    record = await store.get("org", ORG)
    return await statement(store, record or Record(id=ORG, kind="org"), now_s)


async def listed(kind: Kind, store: Store, now_s: float, _id: str, page: PageQuery) -> BaseModel:
    """One page of them, in order of id."""
    records = await store.list(kind, page.after, page.limit + 1)
    following = records[page.limit - 1].id if len(records) > page.limit else None
    return PAGES[kind](data=await statements(store, records[: page.limit], now_s), next=following)


async def change(kind: Kind, store: Store, now_s: float, id: str, form: CapsForm) -> CapsAnswer:
    """Put in place what the body gives; what it does not give stays."""
    if isinstance(form, KeyForm):
        await found(store, kind, id)
        form = await _with_team(store, form)
    record = await _replaced(store, kind, id, lambda was: changed(_alive(was), form, now_s))
    return await statement(store, record, now_s)


async def change_org(store: Store, now_s: float, _id: str, form: CapsForm) -> CapsAnswer:
    """Put in place what the body gives; what it does not give stays. The first change makes the record."""
    if await store.get("org", ORG) is None:
        record = changed(Record(id=ORG, kind="org", created_at=now_s), form, now_s)
        try:
            await store.create(record)
        except Conflict:  # someone else made it just now: change that
            pass
        else:
            return await statement(store, record, now_s)
    return await change("org", store, now_s, ORG, form)


async def revoke(kind: Kind, store: Store, now_s: float, id: str, _: Nothing) -> CapsAnswer:
    """Refused from now on, for good (keys, teams); or without caps of its own (users, tags) until made anew."""
    return await statement(store, await _replaced(store, kind, id, _revoked), now_s)


async def rotate_key(store: Store, now_s: float, id: str, form: RotationForm) -> NewKeyAnswer:
    """The key under a new token; the old one stays good for the grace period."""
    token = new_token()
    for _ in range(TRIES):
        record = _alive(await found(store, "key", id))
        try:
            rotated = await store.rotate(record.id, record.version, digest(token), hint(token), form.grace_period)
        except Conflict:
            continue
        return _with_token(await statement(store, rotated, now_s), token)
    raise _contended()


def _with_token(key: CapsAnswer, token: str) -> NewKeyAnswer:
    return NewKeyAnswer(key=token, **dict(key))


# --- what may be


def _alive(record: Record) -> Record:
    if record.revoked:
        then = "make it anew with POST" if record.kind in WITH_DEFAULT else "make a new one"
        message = f"{record.id} is revoked, and stays so: {then}"
        raise LLMError("invalid_request", message, code="revoked", status=409)
    return record


def _revoked(record: Record) -> Record:
    return record if record.revoked else record.model_copy(update={"revoked": True})


async def _with_team(store: Store, form: KeyForm) -> KeyForm:
    """`form` with the id of its team."""
    if form.team_id is None:
        return form
    team = await named(store, "team", form.team_id)
    if team is None or team.revoked:
        why = "is no team" if team is None else "is revoked"
        raise invalid(f"`team_id` {form.team_id!r} {why}", "team_id", "team_not_found")
    return form.model_copy(update={"team_id": team.id})


# --- the store


async def named(store: Store, kind: Kind, name: str) -> Record | None:
    """The record of this id; else the live key or team of this alias, if there is one."""
    return await store.get(kind, name) or await store.find(kind, name)


async def found(store: Store, kind: Kind, name: str) -> Record:
    """The same. Raises LLMError with status 404 where there is none."""
    if (record := await named(store, kind, name)) is None:
        raise LLMError("not_found", f"There is no {kind} {name!r}", param="id", code=f"{kind}_not_found")
    return record


async def _made(store: Store, fresh: Record, form: CapsForm, now_s: float) -> CapsAnswer:
    record = changed(fresh, form, now_s)
    await _create(store, record, None)
    return await statement(store, record, now_s)


async def _create(store: Store, record: Record, digest: str | None) -> None:
    try:
        await store.create(record, digest)
    except Conflict:
        raise _taken(record) from None


async def _replaced(store: Store, kind: Kind, id: str, change: Callable[[Record], Record]) -> Record:
    """The record after `change`, which is applied anew when someone else was faster."""
    for _ in range(TRIES):
        was = await found(store, kind, id)
        record = change(was)
        if record.model_dump_json() == was.model_dump_json():  # 1 is not True, nor 1.0, in metadata
            return was
        record = record.model_copy(update={"version": was.version + 1})
        try:
            await store.replace(record)
        except Conflict:
            holder = None if record.alias is None else await store.find(kind, record.alias)
            if holder is not None and holder.id != was.id:
                raise _taken(record) from None
        else:
            return record
    raise _contended()


def _taken(record: Record) -> LLMError:
    param = NAMED[record.kind]
    if record.kind in WITH_DEFAULT:
        code, message = "already_exists", f"There is a record of the {record.kind} {record.id!r} already: change it"
    else:
        code, message = "alias_taken", f"`{param}` {record.alias!r} is the name of another {record.kind}"
    return LLMError("invalid_request", message, param=param, code=code, status=409)


def _contended() -> LLMError:
    message = "Others are changing this at the same time: try again"
    return LLMError("invalid_request", message, code="conflict", status=409)
