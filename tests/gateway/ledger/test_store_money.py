"""What both stores promise of money: reserve, grow, renew, settle, reap."""

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.ledger import journal
from gateway.ledger.store import (
    MAX_NANOUSD,
    Balance,
    Beat,
    Bill,
    Counter,
    Entry,
    Fold,
    Granted,
    Kind,
    Record,
    Refused,
    Settled,
    Standing,
    Store,
)
from tests.gateway.ledger.requests import KEY, around_now, ask, bill, cap, growth, sums, with_key

pytestmark = pytest.mark.anyio
FULL = Refused("held", "key:k|total")
SPENT = Refused("over_budget", "key:k|total")


async def entries(store: Store) -> list[Entry]:
    return list(await store.journal(0, float("inf")))


def timeless(answer: Granted | Refused) -> Granted | Refused:
    return answer._replace(now_s=0.0) if isinstance(answer, Refused) else answer


# --- reserve
async def test_a_request_holds_and_then_pays(store: Store) -> None:
    await with_key(store)
    counters = (cap(1000), cap(5000, "team:t"), around_now(None))
    assert await store.reserve(ask("r", *counters, most=300, usual=300)) == Granted(300, 1000)
    names = {"key:k|total", "team:t|total", "key:k|1d:today"}
    assert await sums(store, "key:k", "team:t") == dict.fromkeys(names, (0, 300))
    assert await store.settle(bill("r", 120, *counters)) == Settled(first=True, spent=(120, 120, 120))
    assert await sums(store, "key:k", "team:t") == dict.fromkeys(names, (120, 0))


async def test_a_reserve_that_is_said_again_leaves_the_lease_as_it_is(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("r", cap(1000)))
    assert await store.reserve(replace(ask("r", cap(1000)), lease_s=-5.0)) == Granted(100)
    assert await store.reap() == 0
    assert await sums(store, "key:k") == {"key:k|total": (0, 100)}


async def test_what_is_done_twice_counts_once(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("r", cap(1000), tokens=7)) == Granted(100, 1000, tokens=7)
    assert await store.reserve(ask("r", cap(1000), most=500, usual=500, tokens=9)) == Granted(100, tokens=7)
    assert await sums(store, "key:k") == {"key:k|total": (0, 100)}
    assert await store.settle(bill("r", 40, cap(1000))) == Settled(first=True, spent=(40,))
    assert await store.settle(bill("r", 70, cap(1000))) == Settled(False, 0, (40,))
    assert await store.reserve(ask("r", cap(1000))) == Granted(0)
    assert await sums(store, "key:k") == {"key:k|total": (40, 0)}
    assert len(await entries(store)) == 1


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
        "good": Granted(100, 1000),
    }
    for id, answer in expected.items():
        of_key = replace(ask(f"key {id}", cap(1000)), standings=(Standing("key", id, 1),))
        of_team = replace(of_key, request_id=id, standings=(Standing("key", "good", 1), Standing("team", id, 1)))
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
    assert (answer.reason, answer.name) == ("window", "key:k|1h:other")
    assert now - 5 < answer.now_s < now + 60
    assert await sums(store, "key:k") == {}


async def test_the_whole_or_nothing_where_the_cap_refuses(store: Store) -> None:
    await with_key(store)
    refusing = cap(250, on_cap="refuse")
    assert await store.reserve(ask("a", cap(None, "team:t"), refusing, usual=10, whole=True)) == Granted(100, 250)
    assert await store.reserve(ask("b", cap(None, "team:t"), refusing, most=151)) == FULL
    assert await store.reserve(ask("c", refusing, most=251)) == SPENT._replace(left_nanousd=250)
    assert await sums(store, "key:k", "team:t") == {"key:k|total": (0, 100), "team:t|total": (0, 100)}


async def test_an_answer_of_no_stated_length_takes_what_is_usual_or_an_eighth_of_what_is_free(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("a", cap(1000), most=501, usual=10)) == Granted(125, 1000)
    assert await store.reserve(ask("b", cap(1000), most=500, usual=200)) == Granted(200, 1000)
    assert await store.reserve(ask("c", cap(1000), most=50, usual=200)) == Granted(50, 1000)


async def test_who_is_alone_takes_its_ceiling_if_half_is_left_for_others(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("a", cap(1000), most=500, usual=10)) == Granted(500, 1000)
    assert await store.reserve(ask("b", cap(1000), most=250, usual=10)) == Granted(62, 1000)


async def test_the_patient_wait_for_what_others_hold_and_the_impatient_take_the_rest(store: Store) -> None:
    await with_key(store)
    assert await store.reserve(ask("a", cap(130))) == Granted(100, 130)
    for whole in (False, True):
        wanting = ask("b", cap(130), whole=whole)
        assert await store.reserve(wanting) == FULL
        assert await store.reserve(replace(wanting, patient=False, least_nanousd=31)) == FULL
    assert await store.reserve(replace(wanting, patient=False)) == Granted(30, 130)
    nothing_least = replace(ask("c", cap(130), least=0), patient=False)
    assert await store.reserve(nothing_least) == FULL  # not a hold of nothing


async def test_a_spent_budget_and_a_held_one_are_told_apart(store: Store) -> None:
    await with_key(store)
    team = cap(150, "team:t")
    assert await store.reserve(ask("a", cap(1000), team)) == Granted(100, 150)
    assert await store.reserve(ask("b", cap(1000), team)) == Refused("held", "team:t|total")
    await store.settle(bill("a", 150, cap(1000), team))
    assert await store.reserve(ask("b", cap(1000), team)) == Refused("over_budget", "team:t|total")


# --- settle


async def test_debt_is_remembered(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("a", cap(100)))
    assert await store.settle(bill("a", 130, cap(100))) == Settled(True, 30, (130,))
    assert await sums(store, "key:k") == {"key:k|total": (130, 0)}
    assert await store.reserve(ask("b", cap(130), least=0)) == SPENT


async def test_a_bill_without_a_hold_is_booked_all_the_same(store: Store) -> None:
    assert await store.settle(bill("r", 7, cap(None), around_now(None))) == Settled(True, 7, (7, 7))
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
    assert await store.settle(bill("r", 0, cap(None))) == Settled(True, 0, (0,))
    assert [entry.bill["request_id"] for entry in await entries(store)] == ["r"]


@pytest.mark.parametrize("cost", [-1, MAX_NANOUSD + 1])
async def test_a_bill_that_cannot_be_is_no_bill(store: Store, cost: int) -> None:
    with pytest.raises(ValueError, match="a bill"):
        await store.settle(bill("r", cost, cap(None)))
    assert await sums(store, "key:k") == {}
    assert await entries(store) == []


async def test_nine_million_dollars_are_exact_to_the_nano_dollar(store: Store) -> None:
    await with_key(store)
    full = cap(MAX_NANOUSD)
    assert await store.reserve(ask("a", full, most=MAX_NANOUSD - 1, whole=True)) == Granted(
        MAX_NANOUSD - 1, MAX_NANOUSD
    )
    assert await store.reserve(ask("b", full, most=1, usual=1)) == Granted(1, MAX_NANOUSD)
    assert await store.reserve(ask("c", full, most=1, usual=1)) == FULL
    assert await sums(store, "key:k") == {"key:k|total": (0, MAX_NANOUSD)}
    await store.settle(bill("a", MAX_NANOUSD - 3, full))
    await store.settle(bill("b", 2, full))
    assert await sums(store, "key:k") == {"key:k|total": (MAX_NANOUSD - 1, 0)}
    assert await store.reserve(ask("d", full, most=2, usual=2)) == Granted(1, 1)
    assert [entry.bill["cost_nanousd"] for entry in await entries(store)] == [MAX_NANOUSD - 3, 2]


async def test_balances_are_of_the_scopes_asked_for_and_leave_out_what_is_past(store: Store) -> None:
    now = time.time()
    past = Counter("key:k", "1h:past", now - 7200, now - 3600)
    await store.settle(bill("r", 5, cap(None), past, around_now(None), cap(None, "key:k2")))
    assert list(await store.balances(["key:k", "unknown", "key:k"])) == [
        Balance("key:k", "1d:today", 5, 0),
        Balance("key:k", "total", 5, 0),
    ]
    assert list(await store.balances([])) == []


# --- who may spend


@pytest.mark.parametrize("kind", ["org", "user", "tag"])
async def test_other_holders_of_caps_are_known_by_their_version_alone(store: Store, kind: Kind) -> None:
    await with_key(store)

    async def believing(version: int) -> Granted | Refused:
        one = ask(f"{version} of {len(await store.holds())}", cap(None))
        return await store.reserve(replace(one, standings=(KEY, Standing(kind, "x", version))))

    assert await believing(1) == Refused("stale")
    assert await believing(0) == Granted(100)  # nobody made it
    await store.create(Record(id="x", kind=kind))
    assert await believing(0) == Refused("stale")  # somebody has: what it may spend must be read
    assert await believing(1) == Granted(100)
    await store.replace(Record(id="x", kind=kind, version=2))
    assert await believing(1) == Refused("stale")
    assert await believing(2) == Granted(100)


async def test_what_is_refused_first_is_said(store: Store) -> None:
    """Who asks, then when, then what is spent: nobody learns of a budget that is not theirs."""
    await with_key(store)
    now = time.time()
    past, spent = Counter("key:k", "1h:past", now - 20, now - 10), cap(0)
    everything_wrong = replace(ask("r", past, spent), standings=(Standing("key", "k", 9),))
    assert await store.reserve(everything_wrong) == Refused("stale")
    window = await store.reserve(replace(everything_wrong, standings=(KEY,)))
    assert timeless(window) == Refused("window", "key:k|1h:past")
    assert await store.reserve(ask("r", spent)) == SPENT
    assert await store.reserve(
        replace(everything_wrong, standings=(Standing("key", "k", 9), Standing("team", "t", 1)))
    ) == (Refused("stale"))


# --- grow


async def test_a_hold_grows_on_every_counter_or_on_none(store: Store) -> None:
    await with_key(store)
    counters = (cap(1000), cap(250, "team:t"), cap(None, "org:default"))
    await store.reserve(ask("r", *counters))
    assert await store.grow(growth("r", 100, 50, *counters)) == Granted(150, 250)
    assert await store.grow(growth("r", 150, 200, *counters)) == Granted(250, 250)  # what is free, if of use
    assert await store.grow(growth("r", 250, 200, *counters)) == Refused("over_budget", "team:t|total")
    names = ("key:k|total", "team:t|total", "org:default|total")
    assert await sums(store, "key:k", "team:t", "org:default") == dict.fromkeys(names, (0, 250))
    assert (await store.settle(bill("r", 240, *counters))).overrun_nanousd == 0
    assert await sums(store, "key:k", "team:t", "org:default") == dict.fromkeys(names, (240, 0))


async def test_a_hold_cannot_grow_into_what_others_hold(store: Store) -> None:
    await with_key(store)
    for id in ("a", "b"):
        await store.reserve(ask(id, cap(250)))
    assert await store.grow(growth("a", 100, 60, cap(250), least=51)) == FULL
    assert await store.grow(growth("a", 100, 60, cap(250), least=50)) == Granted(150, 250)
    assert await sums(store, "key:k") == {"key:k|total": (0, 250)}


async def test_a_step_whose_answer_was_lost_is_not_taken_twice(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("r", cap(None)))
    first = await store.grow(growth("r", 100, 50, cap(None)))
    assert first == Granted(150)
    assert await store.grow(growth("r", 100, 50, cap(None))) == first
    assert await sums(store, "key:k") == {"key:k|total": (0, 150)}


async def test_what_is_not_held_does_not_grow(store: Store) -> None:
    await with_key(store)
    assert await store.grow(growth("r", 100, 50, cap(None))) == Refused("gone")
    await store.reserve(ask("r", cap(None)))
    await store.settle(bill("r", 10, cap(None)))
    assert await store.grow(growth("r", 100, 50, cap(None))) == Refused("gone")
    assert await sums(store, "key:k") == {"key:k|total": (10, 0)}


async def test_a_revoked_key_grows_no_more(store: Store) -> None:
    key = await with_key(store)
    await store.reserve(ask("r", cap(None)))
    await store.replace(key.model_copy(update={"version": 2}))
    assert await store.grow(growth("r", 100, 50, cap(None))) == Refused("stale")
    await store.replace(key.model_copy(update={"version": 3, "revoked": True}))
    assert await store.grow(growth("r", 100, 50, cap(None))) == Refused("gone")
    assert await sums(store, "key:k") == {"key:k|total": (0, 100)}


async def test_growth_belongs_to_the_window_of_the_reserve(store: Store) -> None:
    await with_key(store)
    now = time.time()
    hour = Counter("key:k", "1h:ends soon", now - 1000, now + 1.0, 1000)
    assert await store.reserve(ask("r", hour)) == Granted(100, 1000)
    await asyncio.sleep(max(0.0, now + 1.05 - time.time()))
    assert await store.grow(growth("r", 100, 50, hour)) == Granted(150, 1000)
    assert (await store.settle(bill("r", 150, hour))).spent == (150,)
    (entry,) = await entries(store)
    assert entry.counters == ("key:k|1h:ends soon",)


# --- leases


def checkpoint(request_id: str, cost: int) -> Beat:
    """What a worker writes while its stream runs."""
    seen = Bill(request_id, "k", None, (), cost, {"output_tokens": cost}, ending="lost", estimated=True)
    return Beat(request_id, cost, journal.line(seen))


async def test_what_is_renewed_lives_and_what_is_not_is_reaped(store: Store) -> None:
    await with_key(store)
    for id in ("a", "b", "c"):
        await store.reserve(ask(id, cap(1000), lease_s=0.0))
    assert await store.renew([Beat("a"), Beat("unknown"), Beat("b")], 1000) == ["unknown"]
    assert await store.reap() == 1
    assert await store.reap() == 0
    assert sorted(hold.request_id for hold in await store.holds()) == ["a", "b"]
    assert await store.renew([Beat("c"), Beat("a")], 1000) == ["c"]
    assert await store.renew([], 1000) in ([], ())
    assert await sums(store, "key:k") == {"key:k|total": (0, 200)}


async def test_a_hold_is_told_as_it_would_be_settled(store: Store) -> None:
    await with_key(store)
    counters = (cap(1000), around_now(None))
    before = time.time()
    await store.reserve(ask("r", *counters, lease_s=50))
    (live,) = await store.holds()
    assert (live.request_id, live.nanousd, live.cost_nanousd) == ("r", 100, 0)
    assert live.counters == ("key:k|total", "key:k|1d:today")
    assert live.slots == ()
    assert before + 49 < live.deadline_s < time.time() + 51
    assert (live.bill["key_id"], live.bill["ending"], live.bill["cost_nanousd"]) == ("k", "lost", 0)
    await store.renew([checkpoint("r", 30)], 100)
    await store.renew([Beat("r")], 100)  # no checkpoint: the last one stays
    (live,) = await store.holds()
    assert (live.cost_nanousd, live.bill["cost_nanousd"], live.bill["usage"]) == (30, 30, {"output_tokens": 30})
    assert before + 99 < live.deadline_s


async def test_a_lost_hold_is_settled_at_its_last_checkpoint(store: Store) -> None:
    await with_key(store)
    counters = (cap(1000), cap(None, "team:t"))
    await store.reserve(ask("r", *counters))
    await store.renew([checkpoint("r", 20)], 1000)
    await store.renew([checkpoint("r", 30)], 0.0)
    assert await store.reap() == 1
    assert await store.holds() == []
    assert await sums(store, "key:k", "team:t") == {"key:k|total": (30, 0), "team:t|total": (30, 0)}
    (entry,) = await entries(store)
    assert (entry.bill["request_id"], entry.bill["cost_nanousd"], entry.bill["ending"]) == ("r", 30, "lost")
    assert (entry.bill["estimated"], entry.bill["adjusts"], entry.overrun_nanousd) == (True, False, 0)
    assert entry.counters == ("key:k|total", "team:t|total")
    assert await store.reserve(ask("r", *counters)) == Granted(0)  # it may not hold a second time


async def test_a_hold_that_nobody_spoke_of_again_costs_nothing(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("a", cap(1000), lease_s=0.0))
    await store.reserve(replace(ask("b", cap(1000), lease_s=0.0), line=b""))
    assert await store.reap() == 2
    assert await sums(store, "key:k") == {"key:k|total": (0, 0)}
    told = {entry.bill["request_id"]: entry.bill for entry in await entries(store)}
    assert {id: (bill["cost_nanousd"], bill["ending"]) for id, bill in told.items()} == {
        "a": (0, "lost"),
        "b": (0, "lost"),
    }


@pytest.mark.parametrize(("cost", "overrun"), [(45, 15), (30, 0), (12, 0)])
async def test_a_late_settle_books_the_difference_once(store: Store, cost: int, overrun: int) -> None:
    await with_key(store)
    counters = (cap(1000), cap(None, "team:t"))
    await store.reserve(ask("r", *counters))
    await store.renew([checkpoint("r", 30)], 0.0)
    await store.reap()
    assert await store.settle(bill("r", cost, *counters)) == Settled(True, overrun, (cost, cost))
    for _ in range(2):
        assert await store.settle(bill("r", cost + 1, *counters)) == Settled(False, 0, (cost, cost))
        assert await store.reap() == 0
    assert await sums(store, "key:k", "team:t") == {"key:k|total": (cost, 0), "team:t|total": (cost, 0)}
    provisional, final = await entries(store)
    assert (provisional.bill["cost_nanousd"], provisional.bill["adjusts"]) == (30, False)
    assert (final.bill["cost_nanousd"], final.bill["adjusts"], final.bill["ending"]) == (cost - 30, True, "done")
    assert final.overrun_nanousd == overrun
    assert final.bill["request_id"] == "r"


async def test_what_a_lost_worker_had_generated_beyond_its_hold_is_an_overrun(store: Store) -> None:
    await with_key(store)
    await store.reserve(ask("r", cap(100)))
    await store.renew([checkpoint("r", 130)], 0.0)
    await store.reap()
    (entry,) = await entries(store)
    assert entry.overrun_nanousd == 30
    assert await store.reserve(ask("another", cap(130))) == SPENT


async def test_the_longest_lost_are_reaped_first_and_no_more_than_asked_for(store: Store) -> None:
    await with_key(store)
    for at, id in enumerate(["c", "a", "b"]):
        await store.reserve(ask(id, cap(None), lease_s=-10.0 + at))
    assert await store.reap(limit=2) == 2
    assert [hold.request_id for hold in await store.holds()] == ["b"]
    assert await store.reap(limit=2) == 1
    assert [entry.bill["request_id"] for entry in await entries(store)] == ["c", "a", "b"]


async def test_of_a_reap_and_a_settle_at_once_the_sum_is_right(store: Store) -> None:
    await with_key(store)
    for at in range(20):
        await store.reserve(ask(f"r{at}", cap(None), lease_s=0.0))
    await store.renew([checkpoint(f"r{at}", 10) for at in range(20)], 0.0)
    settles = [store.settle(bill(f"r{at}", 15, cap(None))) for at in range(20)]
    answers = await asyncio.gather(*settles[:10], store.reap(), *settles[10:], store.reap())
    assert sum(isinstance(answer, Settled) and answer.first for answer in answers) == 20
    assert await sums(store, "key:k") == {"key:k|total": (300, 0)}
    assert sum(entry.bill["cost_nanousd"] for entry in await entries(store)) == 300


# --- more than can be counted


async def fill(store: Store, counter: Counter) -> int:
    """Spend so much that MAX_NANOUSD more is too much; how much that is."""
    bills = [bill(f"large{at}", MAX_NANOUSD, counter) for at in range(2**62 // MAX_NANOUSD)]
    await asyncio.gather(*map(store.settle, bills))
    return MAX_NANOUSD * len(bills)


async def test_a_bill_that_a_counter_cannot_count_changes_nothing(store: Store) -> None:
    await with_key(store)
    first, full = cap(None), cap(None, "org:default")
    spent = await fill(store, full)
    await store.reserve(ask("r", first, full))
    with pytest.raises(ValueError, match="cannot count"):
        await store.settle(bill("r", MAX_NANOUSD, first, full))
    assert await sums(store, "key:k", "org:default") == {"key:k|total": (0, 100), "org:default|total": (spent, 100)}
    assert not (await store.settle(bill("large0", MAX_NANOUSD, full))).first
    assert (await store.settle(bill("r", 7, first, full))).first
    assert await sums(store, "key:k", "org:default") == {"key:k|total": (7, 0), "org:default|total": (spent + 7, 0)}


async def test_a_lost_hold_that_cannot_be_counted_keeps_no_other_from_its_end(store: Store) -> None:
    await with_key(store)
    first, full = cap(None), cap(None, "org:default")
    spent = await fill(store, full)
    await store.reserve(ask("large", first, full))
    await store.renew([Beat("large", MAX_NANOUSD, b"{}")], 0.0)
    await store.reserve(ask("small", first, lease_s=0.0))
    assert await store.reap() == 1
    assert await sums(store, "key:k", "org:default") == {"key:k|total": (0, 100), "org:default|total": (spent, 100)}
    assert [hold.request_id for hold in await store.holds()] == ["large"]


async def test_more_is_never_held_than_can_be_counted(store: Store) -> None:
    await with_key(store)
    first, full = cap(None), cap(None, "org:default")
    most = 2**62 // MAX_NANOUSD
    await asyncio.gather(*(store.reserve(ask(f"r{at}", full, most=MAX_NANOUSD)) for at in range(most)))
    assert await store.reserve(ask("r", first, full, most=MAX_NANOUSD)) == Refused("held", "org:default|total")
    assert await store.reserve(ask("r", first, full)) == Granted(100)
    assert await store.grow(growth("r", 100, MAX_NANOUSD, first, full)) == Refused("held", "org:default|total")
    assert await sums(store, "key:k") == {"key:k|total": (0, 100)}


async def test_tokens_that_cannot_be_counted_do_not_keep_the_money_from_being_folded(store: Store) -> None:
    group = {"day": "2026-11-20", "key_id": "k"}
    for at in range(2):
        await store.settle(bill(f"r{at}", 5, cap(None)))
        assert await store.fold(
            await entries(store), {"key:k|total": 5}, [Fold(group, 5, 1, {"input_tokens": 2**63 - 1})]
        )
    (fold,) = await store.folds("2026-11-20", "2026-11-21")
    assert (fold.cost_nanousd, fold.requests, fold.usage) == (10, 2, {"input_tokens": 2**63 - 1})
    assert (await store.snapshot()).sums["key:k|total"].folded_nanousd == 10
