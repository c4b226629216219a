"""What both stores promise of the journal, of what is folded up out of it, and of all of it at one instant."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gateway.ledger.store import Bill, Counter, Entry, Fold, Granted, Meter, Store, Sum
from tests.gateway.ledger.conftest import Place
from tests.gateway.ledger.requests import around_now, ask, bill, cap, sums, with_key

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
EVER = (0.0, float("inf"))


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
        end_user="Zoë | 1",
        tags=("a", "b"),
        tokens=7,
    )
    before = time.time()
    await store.settle(written)
    (entry,) = await store.journal(0, float("inf"))
    unwritten = ("counters", "tokens")
    fields = {name: getattr(written, name) for name in written.__dataclass_fields__ if name not in unwritten}
    assert entry.bill == fields | {"tags": ["a", "b"]}
    assert (entry.counters, entry.overrun_nanousd) == (("key:k|total",), 123)  # nothing was held
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


async def test_an_entry_names_the_sums_that_it_is_part_of(store: Store) -> None:
    await with_key(store)
    counters = (cap(None), around_now(50), cap(None, "user:a|b"), cap(None, "gpt-*@key:k"))
    await store.reserve(ask("r", *counters, most=40))
    await store.settle(bill("r", 55, *counters))
    (entry,) = await store.journal(*EVER)
    assert entry.counters == ("key:k|total", "key:k|1d:today", "user:a|b|total", "gpt-*@key:k|total")
    assert entry.overrun_nanousd == 15


# --- all of it at one instant


def journalled(entries: Sequence[Entry]) -> dict[str, int]:
    """What the entries come to, by counter."""
    sums: dict[str, int] = {}
    for entry in entries:
        for name in entry.counters:
            sums[name] = sums.get(name, 0) + entry.bill["cost_nanousd"]
    return sums


async def test_an_empty_store_has_nothing_at_any_instant(store: Store) -> None:
    snapshot = await store.snapshot()
    assert (snapshot.sums, snapshot.holds, snapshot.slots) == ({}, [], {})
    assert (snapshot.first_id, snapshot.last_id) == ("", "")


async def test_a_snapshot_has_everything(store: Store) -> None:
    await with_key(store)
    now = time.time()
    past = Counter("key:k", "1h:past", now - 7200, now - 3600)
    counters = (cap(1000), around_now(None), cap(None, "user:a|b"))
    await store.settle(bill("a", 5, *counters, past))
    await store.settle(bill("b", 7, cap(1000)))
    await store.reserve(ask("c", *counters, meters=[Meter("key:k", "parallel", 3), Meter("team:t", "parallel", 3)]))
    snapshot = await store.snapshot()
    assert snapshot.sums == {
        "key:k|total": Sum(12, 100, 0),
        "key:k|1d:today": Sum(5, 100, 0),
        "user:a|b|total": Sum(5, 100, 0),
        "key:k|1h:past": Sum(5, 0, 0),
    }
    assert [hold.request_id for hold in snapshot.holds] == ["c"]
    assert snapshot.slots == {"key:k": 1, "team:t": 1}
    entries = await store.journal(*EVER)
    assert (snapshot.first_id, snapshot.last_id) == (entries[0].id, entries[-1].id)
    assert journalled(entries) == {name: sum.spent_nanousd for name, sum in snapshot.sums.items()}
    assert now - 1 < snapshot.now_s < time.time() + 1


async def test_counters_are_looked_at_page_by_page(store: Store) -> None:
    await with_key(store)
    now = time.time()
    windows = [Counter("user:a|b", f"1h:{at}", now - 60, now + 3600 * at) for at in range(1, 5)]
    counters = (cap(None), *windows, cap(None, "org:default"), cap(None, "user:z"))
    assert isinstance(await store.reserve(ask("r", *counters)), Granted)
    names = {counter.name for counter in counters}
    for limit in (1, 2, 3, 7, 8):
        found, pages = list[str](), 0
        after: str | None = ""
        while after is not None:
            page = await store.snapshot(after, limit)
            assert (page.holds, page.slots) == ([], {})
            found, after, pages = found + list(page.sums), page.after, pages + 1
            if pages < 5:  # others come between, and the order stays
                between = Counter("key:k", f"1d:{limit}-{pages}", now, now + 86_400 + pages)
                await store.settle(bill(f"between-{limit}-{pages}", 0, between))
        assert names <= set(found)
        assert len(found) == len(set(found))


async def test_the_counters_of_holds_and_those_that_are_named_are_there_too(store: Store) -> None:
    await with_key(store)
    for at in range(5):
        await store.settle(bill(f"r{at}", at, cap(None, f"user:{at}")))
    await store.reserve(ask("r", cap(None), cap(None, "user:3"), most=9))
    now = await store.snapshot(None, 0, ["user:1|total", "user:none|total"])
    assert now.sums == {"key:k|total": Sum(0, 9, 0), "user:3|total": Sum(3, 9, 0), "user:1|total": Sum(1, 0, 0)}
    assert [(live.request_id, live.bill) for live in now.holds] == [("r", {})]
    assert now.after is None


async def test_the_journal_and_the_sums_agree_at_any_instant(store: Store, place: Place) -> None:
    """The audit's proof, while others spend."""
    await with_key(store)
    other = place.store()
    await other.open()
    counters = (cap(None), cap(None, "team:t"))

    async def spend(at: int) -> None:
        await other.reserve(ask(f"r{at}", *counters, lease_s=0.0 if at % 3 else 1000.0))
        await (other.settle(bill(f"r{at}", at, *counters)) if at % 3 == 0 else other.reap())
        await other.settle(bill(f"r{at}", at + 1, *counters))

    spending = asyncio.gather(*(spend(at) for at in range(60)))
    while not spending.done():
        snapshot = await store.snapshot()
        entries = [e for e in await store.journal(*EVER) if _order(e.id) <= _order(snapshot.last_id)]
        assert journalled(entries) == {name: sum.spent_nanousd for name, sum in snapshot.sums.items() if entries}
        held = {"key:k|total": 0, "team:t|total": 0}
        for hold in snapshot.holds:
            for name in hold.counters:
                held[name] += hold.nanousd
        assert {name: sum.held_nanousd for name, sum in snapshot.sums.items()}.items() <= held.items()
    await spending
    await other.close()


def _order(id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in id.split("-") if part)


# --- what leaves the journal


def group(day: str, key_id: str = "k") -> Mapping[str, str | None]:
    return {"day": day, "key_id": key_id, "team_id": None, "model": "größe", "target": "a/b", "end_user": None}


async def test_the_oldest_entries_are_folded_up(store: Store) -> None:
    counters = (cap(None), cap(None, "user:a|b"))
    for at in range(5):
        await store.settle(bill(f"r{at}", 10 + at, *counters))
    entries = await store.journal(*EVER)
    folds = [Fold(group("2026-11-19"), 21, 2, {"input_tokens": 3}), Fold(group("2026-11-20"), 12, 1, {})]
    assert await store.fold(entries[:3], {"key:k|total": 33, "user:a|b|total": 33, "key:gone|total": 33}, folds)
    assert await store.journal(*EVER) == entries[3:]
    snapshot = await store.snapshot()
    assert snapshot.sums == {"key:k|total": Sum(60, 0, 33), "user:a|b|total": Sum(60, 0, 33)}
    assert (snapshot.first_id, snapshot.last_id) == (entries[3].id, entries[4].id)
    assert list(await store.folds("2026-11-19", "2026-11-21")) == folds
    assert list(await store.folds("2026-11-19", "2026-11-20")) == folds[:1]
    assert list(await store.folds("2026-11-21", "2026-12-31")) == []


async def test_folds_of_one_group_add_up(store: Store) -> None:
    for at in range(2):
        await store.settle(bill(f"r{at}", 10, cap(None)))
    first, second = await store.journal(*EVER)
    here, there = group("2026-11-20"), group("2026-11-20", "k2")
    assert await store.fold([first], {"key:k|total": 10}, [Fold(here, 10, 1, {"input_tokens": 3, "output_tokens": 1})])
    turned = dict(reversed(list(here.items())))  # the same group, whatever the order it is told in
    again = [Fold(turned, 10, 1, {"input_tokens": 4, "images": 2}), Fold(there, 0, 0, {})]
    assert await store.fold([second], {"key:k|total": 10}, again)
    folded = {fold.group["key_id"]: fold for fold in await store.folds("2026-11-20", "2026-11-21")}
    assert folded == {
        "k": Fold(here, 20, 2, {"input_tokens": 7, "output_tokens": 1, "images": 2}),
        "k2": Fold(there, 0, 0, {}),
    }
    assert (await store.snapshot()).sums == {"key:k|total": Sum(20, 0, 20)}


async def test_only_the_oldest_are_folded_and_only_once(store: Store) -> None:
    for at in range(4):
        await store.settle(bill(f"r{at}", 10, cap(None)))
    entries = list(await store.journal(*EVER))
    sums, folds = {"key:k|total": 10}, [Fold(group("2026-11-20"), 10, 1, {})]
    for wrong in (entries[1:2], entries[1:3], [entries[0], entries[2]], [entries[1], entries[0]]):
        assert not await store.fold(wrong, sums, folds)
    assert await store.journal(*EVER) == entries
    answers = await asyncio.gather(*(store.fold(entries[:1], sums, folds) for _ in range(5)))
    assert sorted(answers) == [False] * 4 + [True]
    assert (await store.snapshot()).sums == {"key:k|total": Sum(40, 0, 10)}
    assert [fold.requests for fold in await store.folds("2026-11-20", "2026-11-21")] == [1]


async def test_a_request_whose_entry_was_folded_up_is_settled_all_the_same(store: Store) -> None:
    await with_key(store)
    await store.settle(bill("settled", 10, cap(None)))
    await store.reserve(ask("lost", cap(None), lease_s=0.0))
    await store.reap()
    entries = await store.journal(*EVER)
    assert await store.fold(entries, {"key:k|total": 10}, [])
    assert not (await store.settle(bill("settled", 10, cap(None)))).first
    assert await store.reserve(ask("settled", cap(None))) == Granted(0)
    assert await store.settle(bill("lost", 4, cap(None))) == (True, 4, (14,))
    (late,) = await store.journal(*EVER)
    assert (late.bill["cost_nanousd"], late.bill["adjusts"]) == (4, True)
    assert _order(late.id) > _order(entries[-1].id)


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
