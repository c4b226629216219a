"""Whom a request counts against, and what the worker knows of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Budget, Holder, Limits, Record, Standing
from gateway.payers import MAX_NAME, Payers, end_user_of, tags_of
from translators.errors import LLMError

pytestmark = pytest.mark.anyio
KEY = Record(id="k", kind="key", team_id="t", tags=("own",))
TEAM = Record(id="t", kind="team")
HOLDER = Holder(KEY, TEAM, None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(tmp_path / "headgate.db"))
    await store.open()
    yield store
    await store.close()


async def test_whoever_has_no_record_is_believed_to_have_none_until_the_store_says_otherwise(
    store: SqliteStore,
) -> None:
    payers = Payers(store, 600)
    parties = payers.of(HOLDER, "ada", ("own",))
    assert [party.scope for party in parties.parties] == ["key:k", "team:t"]
    assert set(parties.standings) == {
        Standing("key", "k", 1),
        Standing("team", "t", 1),
        Standing("org", "default", 0),
        Standing("user", "ada", 0),
        Standing("user", "*", 0),
        Standing("tag", "own", 0),
        Standing("tag", "*", 0),
    }


async def test_own_caps_go_before_everyone_s_which_count_on_each_one_s_own_scope(store: SqliteStore) -> None:
    everyone = Record(id="*", kind="user", budgets=(Budget(max_nanousd=5),))
    ada = Record(id="ada", kind="user", limits=(Limits(rpm=1),))
    org = Record(id="default", kind="org")
    for record in (everyone, ada, org):
        await store.create(record)
    payers = Payers(store, 600)
    own = await payers.reread(HOLDER, "ada", ())
    assert [(party.scope, party.record) for party in own.parties[2:]] == [("org:default", org), ("user:ada", ada)]
    bob = await payers.reread(HOLDER, "bob", ())
    assert ("user:bob", everyone) in bob.parties
    assert Standing("user", "bob", 0) in bob.standings and Standing("user", "*", 1) in bob.standings


async def test_a_record_that_was_deleted_gives_way_to_everyone_s(store: SqliteStore) -> None:
    await store.create(Record(id="*", kind="user"))
    ada = Record(id="ada", kind="user")
    await store.create(ada)
    await store.replace(ada.model_copy(update={"revoked": True, "version": 2}))
    parties = await Payers(store, 600).reread(HOLDER, "ada", ())
    assert [party.record.id for party in parties.parties if party.scope == "user:ada"] == ["*"]
    assert Standing("user", "ada", 2) in parties.standings


async def test_only_what_the_store_confirmed_is_trusted_without_it(store: SqliteStore) -> None:
    payers = Payers(store, 600)
    parties = payers.of(HOLDER, "ada", ())
    assert not payers.trusts(parties)
    payers.confirm(parties)
    assert payers.trusts(parties)
    assert not payers.trusts(payers.of(HOLDER, "bob", ()))
    never = Payers(store, 0)
    never.confirm(parties)
    assert not never.trusts(parties)


async def test_an_end_user_is_named_by_either_field() -> None:
    assert end_user_of({"user": "ada", "safety_identifier": "hash"}) == "hash"
    assert end_user_of({"user": "ada"}) == "ada"
    assert end_user_of({"user": ""}) is None
    with pytest.raises(LLMError) as caught:
        end_user_of({"user": "x" * (MAX_NAME + 1)})
    assert (caught.value.status, caught.value.param) == (400, "user")


async def test_tags_are_the_key_s_and_the_header_s() -> None:
    assert tags_of([], KEY) == ("own",)
    assert tags_of([(b"x-headgate-tags", b" batch, own ,, eu")], KEY) == ("own", "batch", "eu")
    assert tags_of([(b"x-headgate-tags", "für, größe".encode()), (b"x-headgate-tags", b"two")], KEY) == (
        "own",
        "für",
        "größe",
        "two",
    )
    assert tags_of([(b"x-headgate-tags", "für".encode("latin-1"))], KEY) == ("own", "für")
    for bad in (b",".join([b"t%d" % at for at in range(17)]), b"x" * 65, b"a\x01b"):
        with pytest.raises(LLMError):
            tags_of([(b"x-headgate-tags", bad)], KEY)


async def test_whom_the_store_contradicts_is_trusted_again_once_it_confirms_them(store: SqliteStore) -> None:
    payers = Payers(store, 600)
    parties = payers.of(HOLDER, None, ())
    payers.confirm(parties)
    assert payers.trusts(parties)
    other = payers.of(Holder(Record(id="other", kind="key", team_id="t"), TEAM, None), None, ())
    payers.confirm(other)
    payers.doubt(parties)
    assert not payers.trusts(parties)
    assert payers.trusts(other)
    payers.confirm(again := await payers.reread(HOLDER, None, ()))
    assert payers.trusts(again)
