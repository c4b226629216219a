"""What both stores promise, word for word the same: each test runs over Redis and over SQLite."""

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ledger.store import (
    MAX_NANOUSD,
    Balance,
    Bill,
    Budget,
    Conflict,
    Counter,
    Granted,
    Holder,
    Record,
    Refused,
    Settled,
    Store,
)
from tests.gateway.ledger.conftest import Place
from tests.gateway.ledger.requests import DIGEST, around_now, ask, bill, cap, sums, with_key

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]


# --- keys and teams


async def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    record = Record(
        id="k",
        kind="key",
        alias="Größe: 2 | 3",
        team_id="t",
        models=("claude-*", "fast"),
        budgets=(Budget(max_nanousd=MAX_NANOUSD, duration="1d", on_cap="refuse"), Budget(max_nanousd=1, soft=True)),
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


# --- money


async def test_a_request_holds_and_then_pays(store: Store) -> None:
    await with_key(store)
    counters = (cap(1000), cap(5000, "team:t"), around_now(None))
    assert await store.reserve(ask("r", *counters, most=300, usual=300)) == Granted(300)
    names = {"key:k|total", "team:t|total", "key:k|1d:today"}
    assert await sums(store, "key:k", "team:t") == dict.fromkeys(names, (0, 300))
    assert await store.settle(bill("r", 120, *counters)) == Settled(first=True, overrun_nanousd=0)
    assert await sums(store, "key:k", "team:t") == dict.fromkeys(names, (120, 0))


async def test_what_is_done_twice_counts_once(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("r", cap(1000))) == Granted(100)
    assert await store.reserve(ask("r", cap(1000), most=500, usual=500)) == Granted(100)
    assert await sums(store, "key:k") == {"key:k|total": (0, 100)}
    assert await store.settle(bill("r", 40, cap(1000))) == Settled(first=True, overrun_nanousd=0)
    assert await store.settle(bill("r", 70, cap(1000))) == Settled(first=False, overrun_nanousd=0)
    assert await store.reserve(ask("r", cap(1000))) == Granted(0)
    assert await sums(store, "key:k") == {"key:k|total": (40, 0)}
    assert len(await store.journal(0, float("inf"))) == 1


async def test_a_live_hold_is_granted_again_after_the_key_was_revoked(store: Store) -> None:
    key = await with_key(store)
    await store.reserve(ask("r", cap(1000)))
    await store.replace(key.model_copy(update={"revoked": True, "version": 2}))
    assert await store.reserve(ask("r", cap(1000))) == Granted(100)
    assert await store.reserve(ask("another", cap(1000))) == Refused("gone")


async def test_who_may_not_spend_holds_nothing(store: Store) -> None:
    now = time.time()
    records: dict[str, dict[str, float]] = {
        "stale": {"version": 2},
        "revoked": {"revoked": True},
        "expired": {"expires": now - 0.001},
        "good": {"expires": now + 1000},
    }
    for kind in ("key", "team"):
        for id, fields in records.items():
            record = Record.model_validate({"id": id, "kind": kind, **fields})
            await store.create(record, f"{kind}{id}" if kind == "key" else None)
    expected: dict[str, Granted | Refused] = {
        "stale": Refused("stale"),
        "revoked": Refused("gone"),
        "expired": Refused("gone"),
        "unknown": Refused("gone"),
        "good": Granted(100),
    }
    for id, answer in expected.items():
        of_key = replace(ask(f"key {id}", cap(1000)), key_id=id)
        of_team = replace(ask(f"team {id}", cap(1000)), key_id="good", team_id=id, team_version=1)
        assert await store.reserve(of_key) == answer
        assert await store.reserve(of_team) == answer
    assert await sums(store, "key:k") == {"key:k|total": (0, 200)}


@pytest.mark.parametrize(("start", "end"), [(-20, -10), (10, 20)])
async def test_a_window_that_is_not_now_is_refused_with_the_true_time(store: Store, start: int, end: int) -> None:
    await with_key(store)
    now = time.time()
    other = Counter("key:k", "1h:other", now + start, now + end)
    answer = await store.reserve(ask("r", cap(1000), other))
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.counter) == ("window", "key:k|1h:other")
    assert now - 5 < answer.now_s < now + 60
    assert await sums(store, "key:k") == {}


async def test_the_whole_or_nothing_where_the_cap_refuses(store: Store) -> None:
    await with_key(store)
    refusing = cap(250, on_cap="refuse")
    assert await store.reserve(ask("a", cap(None, "team:t"), refusing, usual=10, whole=True)) == Granted(100)
    assert await store.reserve(ask("b", cap(None, "team:t"), refusing, most=151)) == Refused("held", "key:k|total")
    assert await store.reserve(ask("c", refusing, most=251)) == Refused("over_budget", "key:k|total")
    assert await sums(store, "key:k", "team:t") == {"key:k|total": (0, 100), "team:t|total": (0, 100)}


async def test_an_answer_of_no_stated_length_takes_what_is_usual_or_an_eighth_of_what_is_free(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("a", cap(1000), most=500, usual=10)) == Granted(125)
    assert await store.reserve(ask("b", cap(1000), most=500, usual=200)) == Granted(200)
    assert await store.reserve(ask("c", cap(1000), most=50, usual=200)) == Granted(50)


async def test_the_patient_wait_for_what_others_hold_and_the_impatient_take_the_rest(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("a", cap(130))) == Granted(100)
    for whole in (False, True):
        wanting = ask("b", cap(130), whole=whole)
        assert await store.reserve(wanting) == Refused("held", "key:k|total")
        assert await store.reserve(replace(wanting, patient=False, least_nanousd=31)) == Refused("held", "key:k|total")
    assert await store.reserve(replace(wanting, patient=False)) == Granted(30)
    nothing_least = replace(ask("c", cap(130), least=0), patient=False)
    assert await store.reserve(nothing_least) == Refused("held", "key:k|total")  # not a hold of nothing


async def test_a_spent_budget_and_a_held_one_are_told_apart(store: Store) -> None:
    await with_key(store)
    team = cap(150, "team:t")
    assert await store.reserve(ask("a", cap(1000), team)) == Granted(100)
    assert await store.reserve(ask("b", cap(1000), team)) == Refused("held", "team:t|total")
    await store.settle(bill("a", 150, cap(1000), team))
    assert await store.reserve(ask("b", cap(1000), team)) == Refused("over_budget", "team:t|total")


async def test_debt_is_remembered(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("a", cap(100)))
    assert await store.settle(bill("a", 130, cap(100))) == Settled(first=True, overrun_nanousd=30)
    assert await sums(store, "key:k") == {"key:k|total": (130, 0)}
    assert await store.reserve(ask("b", cap(130), least=0)) == Refused("over_budget", "key:k|total")


async def test_a_bill_without_a_hold_is_booked_all_the_same(store: Store) -> None:
    assert await store.settle(bill("r", 7, cap(None), around_now(None))) == Settled(first=True, overrun_nanousd=7)
    assert await sums(store, "key:k") == {"key:k|total": (7, 0), "key:k|1d:today": (7, 0)}


async def test_a_hold_is_released_where_it_stands_whatever_the_bill_names(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("r", cap(None), cap(None, "team:a"), cap(None, "team:b")))
    await store.settle(bill("r", 10, cap(None), cap(None, "team:c")))
    assert await sums(store, "key:k", "team:a", "team:b", "team:c") == {
        "key:k|total": (10, 0),
        "team:a|total": (0, 0),
        "team:b|total": (0, 0),
        "team:c|total": (10, 0),
    }


async def test_a_request_that_costs_nothing_is_booked_too(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("r", cap(None), most=0, usual=0, least=0)) == Granted(0)
    assert await store.settle(bill("r", 0, cap(None))) == Settled(first=True, overrun_nanousd=0)
    assert [entry.bill["request_id"] for entry in await store.journal(0, float("inf"))] == ["r"]


@pytest.mark.parametrize("cost", [-1, MAX_NANOUSD + 1])
async def test_a_bill_that_cannot_be_is_no_bill(store: Store, cost: int) -> None:
    with pytest.raises(ValueError, match="a bill"):
        await store.settle(bill("r", cost, cap(None)))
    assert await sums(store, "key:k") == {}
    assert await store.journal(0, float("inf")) == []


async def test_nine_million_dollars_are_exact_to_the_nano_dollar(store: Store) -> None:
    await with_key(store)
    full = cap(MAX_NANOUSD)
    assert await store.reserve(ask("a", full, most=MAX_NANOUSD - 1, whole=True)) == Granted(MAX_NANOUSD - 1)
    assert await store.reserve(ask("b", full, most=1, usual=1)) == Granted(1)
    assert await store.reserve(ask("c", full, most=1, usual=1)) == Refused("held", "key:k|total")
    assert await sums(store, "key:k") == {"key:k|total": (0, MAX_NANOUSD)}
    await store.settle(bill("a", MAX_NANOUSD - 3, full))
    await store.settle(bill("b", 2, full))
    assert await sums(store, "key:k") == {"key:k|total": (MAX_NANOUSD - 1, 0)}
    assert await store.reserve(ask("d", full, most=2, usual=2)) == Granted(1)
    entries = await store.journal(0, float("inf"))
    assert [entry.bill["cost_nanousd"] for entry in entries] == [MAX_NANOUSD - 3, 2]


async def test_balances_are_of_the_scopes_asked_for_and_leave_out_what_is_past(store: Store) -> None:
    now = time.time()
    past = Counter("key:k", "1h:past", now - 7200, now - 3600)
    await store.settle(bill("r", 5, cap(None), past, around_now(None), cap(None, "key:k2")))
    assert list(await store.balances(["key:k", "unknown", "key:k"])) == [
        Balance("key:k", "1d:today", 5, 0),
        Balance("key:k", "total", 5, 0),
    ]
    assert list(await store.balances([])) == []


# --- the journal


async def test_the_journal_keeps_the_bill(store: Store) -> None:
    written = Bill(
        request_id="r",
        key_id="k",
        team_id="t",
        counters=(cap(None),),
        cost_nanousd=123,
        usage={"input_tokens": 3, "output_tokens": 4},
        model="fast",
        target="anthropic/claude",
        ending="hung_up",
        estimated=True,
        price="anthropic/claude-*",
        latency_ms=1200,
        first_token_ms=300,
        attempts=2,
        key_alias="prod \u2028",
    )
    before = time.time()
    await store.settle(written)
    (entry,) = await store.journal(0, float("inf"))
    fields = {name: getattr(written, name) for name in written.__dataclass_fields__ if name != "counters"}
    assert entry.bill == fields
    assert before - 1 < entry.at_s < time.time() + 1


async def test_the_journal_is_read_page_by_page_in_order(store: Store) -> None:
    ids = [f"r{at}" for at in range(25)]
    for id in ids:
        await store.settle(bill(id, 1, cap(None)))
    seen: list[str] = []
    after = ""
    while page := await store.journal(0, float("inf"), after=after, limit=10):
        seen += [entry.bill["request_id"] for entry in page]
        after = page[-1].id
    assert seen == ids


async def test_the_journal_of_a_span_has_its_beginning_and_not_its_end(store: Store) -> None:
    for id in ("a", "b"):
        await store.settle(bill(id, 1, cap(None)))
        await asyncio.sleep(0.005)  # the journal counts milliseconds
    first, second = await store.journal(0, float("inf"))
    assert first.at_s < second.at_s
    spans = {(0, first.at_s): [], (first.at_s, second.at_s): [first], (second.at_s, second.at_s + 1): [second]}
    for (start_s, end_s), entries in spans.items():
        assert list(await store.journal(start_s, end_s)) == entries
    assert list(await store.journal(second.at_s, float("inf"), after=first.id)) == [second]
    assert list(await store.journal(first.at_s, second.at_s, after=first.id)) == []
    assert list(await store.journal(second.at_s, first.at_s)) == []


# --- many at once


async def test_many_at_once_never_pass_the_cap(store: Store, place: Place) -> None:
    await with_key(store)
    others = [place.store() for _ in range(3)]
    for other in others:
        await other.open()
    everyone = [store, *others]
    asks = [ask(f"r{at}", cap(10_000), cap(None, "team:t"), most=90, usual=90) for at in range(200)]
    answers = await asyncio.gather(*(everyone[at % 4].reserve(one) for at, one in enumerate(asks)))
    granted = [(one, answer.nanousd) for one, answer in zip(asks, answers, strict=True) if isinstance(answer, Granted)]
    assert sum(amount for _, amount in granted) == 9_990  # 111 times the usual; the rest is held for those who wait
    assert await sums(store, "key:k") == {"key:k|total": (0, 9_990)}
    bills = [bill(one.request_id, amount, *one.counters) for one, amount in granted * 2]
    settled = await asyncio.gather(*(everyone[at % 4].settle(one) for at, one in enumerate(bills)))
    assert sorted(answer.first for answer in settled) == [False] * 111 + [True] * 111
    assert await sums(store, "key:k", "team:t") == {"key:k|total": (9_990, 0), "team:t|total": (9_990, 0)}
    for other in others:
        await other.close()


def _spender(what: str, name: str, place: Place) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.gateway.ledger.spender", what, name, *place]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


async def test_two_processes_share_a_cap(store: Store, place: Place) -> None:
    await with_key(store)
    spenders = [_spender("hold", name, place) for name in ("a", "b")]
    got = [int(spender.communicate(timeout=60)[0]) for spender in spenders]
    assert sum(got) == 9_990  # of 10,000 in pieces of 90
    assert await sums(store, "key:k") == {"key:k|total": (0, sum(got))}


async def test_a_killed_process_forgets_nothing_it_was_told_is_settled(store: Store, place: Place) -> None:
    await with_key(store)
    with _spender("settle", "r", place) as spender:
        assert spender.stdout is not None
        acknowledged = [spender.stdout.readline().strip() for _ in range(50)]
        spender.kill()
    entries = await store.journal(0, float("inf"))
    assert acknowledged == [entry.bill["request_id"] for entry in entries][:50]
    spent, _ = (await sums(store, "key:k"))["key:k|total"]
    assert spent == sum(entry.bill["cost_nanousd"] for entry in entries)


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
