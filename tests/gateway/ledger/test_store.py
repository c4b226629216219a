"""What both stores promise of keys, other records, and odds and ends, word for word the same: each test runs over
Redis and over SQLite. Money is in test_store_money, limits in test_store_meters, the journal in test_store_journal."""

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.ledger.store import (
    MAX_NANOUSD,
    Budget,
    Conflict,
    Granted,
    Holder,
    Kind,
    Limits,
    Record,
    Refused,
    Standing,
    Store,
)
from tests.gateway.ledger.conftest import Place
from tests.gateway.ledger.requests import DIGEST, ask, cap, with_key

pytestmark = pytest.mark.anyio


# --- keys, teams and the other holders of caps


async def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    record = Record(
        id="k",
        kind="key",
        alias="Größe: 2 | 3",
        team_id="t",
        models=("claude-*", "fast"),
        budgets=(
            Budget(
                max_nanousd=MAX_NANOUSD, duration="1d", on_cap="refuse", model="claude-*", time_zone="Europe/Berlin"
            ),
            Budget(max_nanousd=1, soft=True, raised_nanousd=5, raised_until=1795181749.25),
        ),
        limits=(Limits(rpm=1, tpm=2, rpd=3, tpd=MAX_NANOUSD, parallel=5), Limits(model="gpt-*", rpm=6)),
        tags=("a", "b"),
        expires=1795181749.1234567,
        metadata={"a": [1, {"b": None}], "é": "\u2028"},
        created_at=1795181749.000001,
        hint="sk-a…z",
    )
    await store.create(record, DIGEST)
    assert await store.get("key", "k") == record
    assert await store.find("key", "Größe: 2 | 3") == record
    assert await store.get("team", "k") is None
    assert await store.get("key", "other") is None
    assert await store.find("key", "other") is None


async def test_an_id_an_alias_and_a_token_are_given_once(store: Store) -> None:
    await with_key(store, alias="a")
    for other, digest in (
        (Record(id="k", kind="key"), "e" * 64),
        (Record(id="other", kind="key", alias="a"), "e" * 64),
        (Record(id="other", kind="key"), DIGEST),
    ):
        with pytest.raises(Conflict):
            await store.create(other, digest)
    assert await store.get("key", "other") is None
    assert await store.holder("e" * 64) is None
    await store.create(Record(id="k", kind="team", alias="a"))  # per kind


async def test_a_revoked_key_frees_its_alias_and_stays_for_the_reports(store: Store) -> None:
    key = await with_key(store, alias="a")
    await store.replace(key.model_copy(update={"revoked": True, "version": 2}))
    assert await store.find("key", "a") is None
    second = Record(id="k2", kind="key", alias="a")
    await store.create(second, "e" * 64)
    assert await store.find("key", "a") == second
    assert [record.id for record in await store.list("key")] == ["k", "k2"]
    with pytest.raises(Conflict):
        await store.replace(key.model_copy(update={"version": 3}))


async def test_replace_takes_the_next_version_only(store: Store) -> None:
    key = await with_key(store, alias="a")
    for version in (1, 3):
        with pytest.raises(Conflict):
            await store.replace(key.model_copy(update={"alias": "b", "version": version}))
    with pytest.raises(Conflict):
        await store.replace(Record(id="unknown", kind="key", version=2))
    changed = key.model_copy(update={"alias": "b", "version": 2})
    await store.replace(changed)
    assert await store.find("key", "b") == changed
    assert await store.find("key", "a") is None


async def test_of_many_changes_at_once_one_wins(store: Store) -> None:
    key = await with_key(store)
    changes = [store.replace(key.model_copy(update={"alias": f"a{at}", "version": 2})) for at in range(20)]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 19 + ["NoneType"]


async def test_lists_go_by_id_page_by_page(store: Store) -> None:
    ids = sorted(f"k{at}" for at in range(25))
    for id in reversed(ids):
        await store.create(Record(id=id, kind="key"), f"digest of {id}")
    await store.create(Record(id="k0a", kind="team"))
    seen: list[str] = []
    while page := await store.list("key", after=seen[-1] if seen else "", limit=10):
        seen += [record.id for record in page]
    assert seen == ids


async def test_a_token_leads_to_its_key_and_team(store: Store) -> None:
    key = await with_key(store, team_id="t")
    assert await store.holder(DIGEST) == Holder(key, None, None)
    team = Record(id="t", kind="team")
    await store.create(team)
    assert await store.holder(DIGEST) == Holder(key, team, None)
    assert await store.holder("0" * 64) is None
    moved = key.model_copy(update={"team_id": None, "version": 2})
    await store.replace(moved)
    assert await store.holder(DIGEST) == Holder(moved, None, None)


async def test_a_rotated_key_has_two_tokens_for_the_grace_period(store: Store) -> None:
    await with_key(store, alias="a")
    before = time.time()
    rotated = await store.rotate("k", 1, "e" * 64, "sk-e…", grace_s=1000)
    assert (rotated.version, rotated.hint, rotated.alias) == (2, "sk-e…", "a")
    assert await store.get("key", "k") == rotated
    assert await store.holder("e" * 64) == Holder(rotated, None, None)
    old = await store.holder(DIGEST)
    assert old is not None
    assert old.token_expires is not None
    assert before + 999 < old.token_expires < time.time() + 1001

    again = await store.rotate("k", 2, "f" * 64, "sk-f…", grace_s=100_000)
    assert await store.holder(DIGEST) == Holder(again, None, old.token_expires)  # a later rotation gives no more time


async def test_without_grace_the_old_token_ends_at_once(store: Store) -> None:
    await with_key(store)
    await store.rotate("k", 1, "e" * 64, "", grace_s=0)
    assert await store.holder(DIGEST) is None
    assert await store.holder("e" * 64) is not None


async def test_rotation_of_what_has_changed_is_refused(store: Store) -> None:
    key = await with_key(store)
    with pytest.raises(Conflict):
        await store.rotate("k", 2, "e" * 64, "", 10)
    with pytest.raises(Conflict):
        await store.rotate("unknown", 1, "e" * 64, "", 10)
    with pytest.raises(Conflict):
        await store.rotate("k", 1, DIGEST, "", 10)
    await store.replace(key.model_copy(update={"revoked": True, "version": 2}))
    with pytest.raises(Conflict):
        await store.rotate("k", 2, "e" * 64, "", 10)
    holder = await store.holder(DIGEST)
    assert holder is not None
    assert holder.token_expires is None


@pytest.mark.parametrize("kind", ["org", "user", "tag"])
async def test_the_place_of_a_revoked_record_is_taken_at_the_next_version(store: Store, kind: Kind) -> None:
    await with_key(store)
    first = Record(id="x", kind=kind, alias="a", budgets=(Budget(max_nanousd=5),))
    await store.create(first)
    with pytest.raises(Conflict):
        await store.create(first.model_copy(update={"created_at": 1.0}))
    await store.replace(first.model_copy(update={"revoked": True, "version": 2}))
    second = Record(id="x", kind=kind, alias="b", budgets=(Budget(max_nanousd=7),))
    await store.create(second)
    stored = second.model_copy(update={"version": 3})
    assert await store.get(kind, "x") == stored
    assert await store.find(kind, "b") == stored
    assert await store.find(kind, "a") is None
    assert [record.id for record in await store.list(kind)] == ["x"]
    believed = [replace(ask(f"r{at}", cap(None)), standings=(Standing(kind, "x", at),)) for at in range(4)]
    answers = [await store.reserve(one) for one in believed]
    assert answers == [Refused("stale")] * 3 + [Granted(100)]


@pytest.mark.parametrize("kind", ["key", "team"])
async def test_the_place_of_a_revoked_key_or_team_is_not_taken(store: Store, kind: Kind) -> None:
    await store.create(Record(id="x", kind=kind), DIGEST if kind == "key" else None)
    await store.replace(Record(id="x", kind=kind, version=2, revoked=True))
    with pytest.raises(Conflict):
        await store.create(Record(id="x", kind=kind), "e" * 64 if kind == "key" else None)
    kept = await store.get(kind, "x")
    assert kept is not None
    assert kept.revoked


# --- odds and ends


async def test_a_claim_goes_to_the_first(store: Store, place: Place) -> None:
    other = place.store()
    await other.open()
    values = await asyncio.gather(*((store, other)[at % 2].claim("admin_key", f"v{at}") for at in range(10)))
    assert len(set(values)) == 1
    assert await store.claim("admin_key", "late") == values[0]
    assert await store.claim("another", "mine") == "mine"
    await other.close()


async def test_what_is_remembered_is_recalled_for_a_while(store: Store) -> None:
    await store.remember({"a": b"\x00\xff", "b": b"2"}, ttl_s=1000)
    await store.remember({"b": b"3"}, ttl_s=1000)
    await store.remember({"short": b"1"}, ttl_s=0.001)
    await asyncio.sleep(0.05)
    assert await store.recall(["b", "a", "short", "unknown"]) == {"a": b"\x00\xff", "b": b"3"}
    assert await store.recall([]) == {}
    await store.remember({}, ttl_s=1)


async def test_a_ping_answers(store: Store) -> None:
    await store.ping()


async def test_a_lock_has_one_owner_until_it_is_given_back_or_ends(store: Store, place: Place) -> None:
    other = place.store()
    await other.open()
    got = await asyncio.gather(*((store, other)[at % 2].lock("reaper", f"w{at}", 1000) for at in range(10)))
    assert sorted(got) == [False] * 9 + [True]
    owner = f"w{got.index(True)}"
    assert await other.lock("reaper", owner, 1000)  # again, for longer
    assert await other.lock("another", "w", 1000)
    assert not await store.lock("reaper", "stranger", 0)  # nobody gives back what is not his
    assert not await store.lock("reaper", "stranger", 1000)
    assert await store.lock("reaper", owner, 0)
    assert await store.lock("reaper", "stranger", 0.01)
    await asyncio.sleep(0.05)
    assert await other.lock("reaper", "third", 1000)
    await other.close()


async def test_warnings_are_sentences(store: Store) -> None:
    assert all(warning.endswith(".") for warning in await store.warnings())
