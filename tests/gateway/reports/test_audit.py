"""The audit is clean while requests go on, and every kind of fault that could be in a store is found."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.admin.forms import Nothing
from gateway.keys import digest
from gateway.ledger.parties import counters, names_of, scope_of
from gateway.ledger.store import Ask, Bill, Counter, Granted, Holder, Record, Snapshot, Sum
from gateway.payers import Payers
from gateway.reports import retention, turns
from gateway.reports.audit import audit
from gateway.reports.report_forms import AuditAnswer
from gateway.reports.spending import DAY_S
from gateway.reports.turns import Gate
from gateway.settings import Retention
from tests.gateway.desk import Desk

Json = dict[str, Any]


@pytest.fixture
def key(desk: Desk) -> Json:
    """A key with a cap for good and one for the day, in a team; it has spent 60 in three requests and holds 7."""
    team = desk.make("team", max_budget="0.000001")
    caps = [{"max_budget": "0.0000001", "budget_duration": "1d"}]
    key = desk.make("key", team_id=team["id"], max_budget="0.0000002", budgets=caps, max_parallel_requests=5)
    for cost in (10, 20, 30):
        desk.spend(key["key"], cost)
    desk.hold(key["key"], 7)
    return key


def audited(desk: Desk) -> AuditAnswer:
    return desk.run(audit(desk.store, time.time(), "", Nothing()))


def test_a_store_that_adds_up_is_clean_and_says_how_much_it_looked_at(desk: Desk, key: Json) -> None:
    answer = desk.get("/admin/audit")
    assert answer["clean"] is True
    assert answer["findings"] == answer["overruns"] == []
    checked = answer["checked"]
    assert (checked["entries"], checked["holds"], checked["records"]) == (3, 1, 2)
    assert checked["counters"] == 3, "the key's total and its day, and the team's total"
    assert (checked["spent_usd"], checked["folded_usd"]) == ("0.00000006", "0")


def test_a_quiet_store_of_many_counters_is_read_to_its_end(
    desk: Desk, key: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_s, snapshot = 0.0, desk.store.snapshot

    async def slow(*asked: Any) -> Snapshot:
        nonlocal passed_s
        passed_s += turns.LEASE_S * 0.6
        return await snapshot(*asked)

    monkeypatch.setattr("gateway.reports.audit.COUNTERS", 1)
    monkeypatch.setattr(desk.store, "snapshot", slow)
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: passed_s))
    assert audited(desk).clean


def test_an_empty_store_is_clean(desk: Desk) -> None:
    assert audited(desk).clean
    assert audited(desk).checked.entries == 0


def test_what_was_folded_is_part_of_the_proof(desk: Desk, key: Json) -> None:
    later = time.time() + 20 * DAY_S
    gate = Gate(desk.store, "worker")
    assert desk.run(gate.close())
    assert desk.run(retention.fold(desk.store, Retention(max_entries=1), gate, later)) == 2
    desk.run(gate.open())
    answer = audited(desk)
    assert answer.clean
    assert (answer.checked.entries, answer.checked.folded_usd, answer.checked.spent_usd) == (
        1,
        "0.00000003",
        "0.00000006",
    )


def altered(desk: Desk, monkeypatch: pytest.MonkeyPatch, change: Callable[[Snapshot], Snapshot]) -> AuditAnswer:
    snapshot = desk.store.snapshot

    async def changed(after: str | None = None, limit: int = 1000, names: Sequence[str] = ()) -> Snapshot:
        return change(await snapshot(after, limit, names))

    monkeypatch.setattr(desk.store, "snapshot", changed)
    return audited(desk)


def with_sum(snapshot: Snapshot, window: str, sum: Sum | None) -> Snapshot:
    """The key's counter of that window, or none."""
    name = next(name for name in snapshot.sums if name.startswith("key:") and f"|{window}" in name)
    left: Mapping[str, Sum] = {other: was for other, was in snapshot.sums.items() if other != name}
    return snapshot._replace(sums=left if sum is None else {**left, name: sum})


def late(snapshot: Snapshot) -> Snapshot:
    return snapshot._replace(holds=[live._replace(deadline_s=snapshot.now_s - 16) for live in snapshot.holds])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda was: with_sum(was, "total", Sum(61, 7, 0)), ["spent"]),
        (lambda was: with_sum(was, "1d", Sum(59, 7, 0)), ["spent"]),
        (lambda was: with_sum(was, "total", Sum(60, 7, 1)), ["spent"]),
        (lambda was: with_sum(was, "total", Sum(60, 8, 0)), ["held"]),
        (lambda was: with_sum(was, "1d", Sum(60, 0, 0)), ["held"]),
        (lambda was: with_sum(was, "total", None), ["held", "missing"]),
        (lambda was: with_sum(was, "total", Sum(60, -7, 0)), ["held", "negative"]),
        (lambda was: was._replace(holds=[]), ["held"] * 3),
        (lambda was: was._replace(slots={"key:x": 1}), ["slots"]),
        (lambda was: was._replace(slots={"key:x": -1}), ["negative", "slots"]),
        (late, ["late_hold"]),
    ],
)
def test_every_fault_is_found(
    desk: Desk,
    key: Json,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Snapshot], Snapshot],
    found: list[str],
) -> None:
    answer = altered(desk, monkeypatch, change)
    assert sorted(finding.what for finding in answer.findings) == found
    assert not answer.clean


def test_what_was_folded_may_have_been_an_overrun(desk: Desk, key: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = altered(desk, monkeypatch, lambda was: with_sum(was, "total", Sum(194, 7, 134)))
    assert answer.clean
    assert "left the journal" in answer.overruns[0].message


def test_a_hold_within_its_grace_is_not_late(desk: Desk, key: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(was: Snapshot) -> Snapshot:
        return was._replace(holds=[live._replace(deadline_s=was.now_s - 14) for live in was.holds])

    assert altered(desk, monkeypatch, change).clean


# --- caps


def billed(desk: Desk, token: str, cost: int, held: int, user: str | None = None) -> None:
    """A request that holds `held` and comes to `cost`."""
    ask = desk.hold(token, held, user)
    holder = desk.holder(token)
    assert holder is not None
    desk.settle(Bill(ask.request_id, holder.key.id, None, ask.counters, cost, ending="done"))


def test_an_overrun_is_listed_and_explains_a_cap_that_is_passed(desk: Desk) -> None:
    token = desk.make("key", max_budget="0.0000001")["key"]
    billed(desk, token, cost=130, held=100)
    answer = audited(desk)
    assert answer.clean
    messages = [overrun.message for overrun in answer.overruns]
    assert len(messages) == 2
    assert "its overruns come to 0.00000003" in messages[0]
    assert "0.00000003 more than was held" in messages[1]
    assert answer.overruns[1].nanousd == 30


def above(desk: Desk, record: Record, spent: int = 150) -> None:
    """Spend past the cap of a record, as only a fault could."""
    desk.run(desk.store.create(record, "d" * 64))
    [counter, *_] = counters(_parties(desk, record), names_of("demo"), time.time())
    free = counter.__class__(counter.scope, counter.window)
    ask = Ask("r1", (), (free,), spent, spent, spent)
    assert isinstance(desk.reserve(ask), Granted)
    desk.settle(Bill("r1", record.id, None, (free,), spent, ending="done"))


def _parties(desk: Desk, record: Record) -> Any:
    return desk.run(Payers(desk.store, 0.0).reread(Holder(record, None, None), None, ())).parties


def test_a_cap_that_nothing_explains_is_a_finding(desk: Desk) -> None:
    above(desk, Record.model_validate({"id": "k", "kind": "key", "budgets": [{"max_nanousd": 100}]}))
    answer = audited(desk)
    assert [(finding.what, finding.name) for finding in answer.findings] == [("above_cap", "key:k|total")]


def test_soft_caps_and_raised_ones_are_not_exceeded(desk: Desk) -> None:
    until = time.time() + 60
    raised = {"max_nanousd": 100, "raised_nanousd": 50, "raised_until": until}
    above(
        desk, Record.model_validate({"id": "k", "kind": "key", "budgets": [{"max_nanousd": 1, "soft": True}, raised]})
    )
    assert audited(desk).clean
    assert audited(desk).overruns == []


ENDED_S = 1_000.0


@pytest.mark.parametrize(("spent", "clean"), [(150, True), (151, False)])
def test_a_raise_that_is_over_explains_as_much_as_it_raised(desk: Desk, spent: int, clean: bool) -> None:
    raised = {"max_nanousd": 100, "raised_nanousd": 50, "raised_until": ENDED_S}
    above(desk, Record.model_validate({"id": "k", "kind": "key", "budgets": [raised]}), spent)
    answer = audited(desk)
    assert answer.clean is clean
    assert ["its cap was 0.00000015" in one.message for one in answer.overruns] == [True] * clean
    assert [one.what for one in answer.findings] == ["above_cap"] * (not clean)


def test_a_raise_that_ended_before_the_window_explains_nothing_in_it(desk: Desk) -> None:
    raised = {"max_nanousd": 100, "raised_nanousd": 50, "raised_until": ENDED_S, "duration": "1d"}
    record = Record.model_validate({"id": "k", "kind": "key", "budgets": [raised]})
    desk.run(desk.store.create(record, "d" * 64))
    [_, day] = counters(_parties(desk, record), names_of("demo"), time.time())
    free = Counter(day.scope, day.window, day.start_s, day.end_s)
    desk.reserve(Ask("r1", (), (free,), 110, 110, 110))
    desk.settle(Bill("r1", "k", None, (free,), 110, ending="done"))
    assert [finding.name for finding in audited(desk).findings] == [day.name]


def test_a_raise_and_an_overrun_explain_an_excess_together(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    until = time.time() + 3600
    raised = {"max_nanousd": 100, "raised_nanousd": 50, "raised_until": until}
    desk.run(desk.store.create(Record.model_validate({"id": "k", "kind": "key", "budgets": [raised]}), digest("t")))
    billed(desk, "t", cost=170, held=150)
    assert [one.nanousd for one in audited(desk).overruns] == [20, 20]
    answer = altered(desk, monkeypatch, lambda was: was._replace(now_s=until + 1))
    assert answer.clean
    assert [one.nanousd for one in answer.overruns] == [70, 20]


def test_a_cap_that_was_lowered_is_told_and_is_no_fault(desk: Desk, key: Json) -> None:
    desk.change(key, max_budget="0.00000005")
    answer = audited(desk)
    assert answer.clean
    assert [overrun.nanousd for overrun in answer.overruns] == [17]
    assert "lowered" in answer.overruns[0].message


@pytest.mark.parametrize(("spent", "clean"), [(200, True), (201, False)])
def test_a_lowered_cap_excuses_no_more_than_it_allowed_before(desk: Desk, spent: int, clean: bool) -> None:
    key = desk.make("key", max_budget="0.0000002")
    desk.change(key, key_alias="renamed", max_budget="0.00000005")
    desk.change(key, models=["demo"])
    _spend_past(desk, key["id"], spent)
    assert audited(desk).clean is clean


def test_a_change_that_lowers_no_cap_excuses_nothing(desk: Desk) -> None:
    key = desk.make("key", max_budget="0.0000001")
    desk.change(key, key_alias="renamed")
    desk.ask("POST", f"/admin/keys/{key['id']}/rotate", {})
    _spend_past(desk, key["id"], 101)
    assert [finding.what for finding in audited(desk).findings] == ["above_cap"]


def test_what_was_spent_before_there_was_a_cap_is_no_fault(desk: Desk) -> None:
    key = desk.make("key")
    desk.spend(key["key"], 101)
    desk.change(key, max_budget="0.0000001")
    answer = audited(desk)
    assert answer.clean
    assert "not capped until" in answer.overruns[0].message


def test_a_cap_that_is_raised_while_the_audit_runs_is_not_passed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    key = desk.make("key", max_budget="0.0000001")
    snapshot = desk.store.snapshot

    async def meanwhile(*given: Any) -> Snapshot:
        record = await desk.store.get("key", key["id"])
        if record is not None and record.version == 1:
            raised = record.budgets[0].model_copy(update={"max_nanousd": 500})
            await desk.store.replace(record.model_copy(update={"version": 2, "budgets": (raised,)}))
            free = (Counter(f"key:{key['id']}", "total"),)
            await desk.store.settle(Bill("r1", key["id"], None, free, 400, ending="done"))
        return await snapshot(*given)

    monkeypatch.setattr(desk.store, "snapshot", meanwhile)
    assert audited(desk).clean


def _spend_past(desk: Desk, id: str, cost: int) -> None:
    """As only a fault could: the hold stands on the same counter without its cap."""
    free = (Counter(f"key:{id}", "total"),)
    assert isinstance(desk.reserve(Ask("past", (), free, cost, cost, cost)), Granted)
    desk.settle(Bill("past", id, None, free, cost, ending="done"))


def test_what_was_served_without_the_store_on_a_key_without_caps_is_no_overrun(desk: Desk) -> None:
    for budgets in ([], [{"max_budget": "0.000000001", "soft": True}], [{"max_budget": "1", "budget_duration": "1d"}]):
        key = desk.make("key", budgets=budgets)
        holder = desk.holder(key["key"])
        assert holder is not None
        wanted = counters(_parties(desk, holder.key), names_of("demo"), time.time())
        desk.settle(Bill(f"offline-{key['id']}", key["id"], None, wanted, 5, ending="done"))
    assert [overrun.name for overrun in audited(desk).overruns] == [f"offline-{key['id']}"], "the last has a cap"


def test_end_users_are_held_to_their_own_cap_or_that_of_everyone(desk: Desk) -> None:
    desk.make("user", user_id="*", max_budget="0.0000001")
    token = desk.make("key")["key"]
    desk.spend(token, 100, user="ann@key:example.com")
    assert audited(desk).clean
    desk.settle(_bill_of(desk, "user:ann@key:example.com", 1))
    assert [finding.name for finding in audited(desk).findings] == ["user:ann@key:example.com|total"]
    desk.make("user", user_id="ann@key:example.com", max_budget="0.000001")
    assert audited(desk).clean


def _bill_of(desk: Desk, scope: str, cost: int) -> Bill:
    counter = Counter(scope, "total")
    desk.reserve(Ask("r2", (), (counter,), cost, cost, cost))
    return Bill("r2", "k", None, (counter,), cost, ending="done")


def test_caps_for_some_models_are_looked_at_too(desk: Desk) -> None:
    desk.make("key", key_alias="a", budgets=[{"max_budget": "0.0000001", "model": "gpt-*", "budget_duration": "1h"}])
    [record] = desk.run(desk.store.list("key"))
    scope = scope_of(f"key:{record.id}", "gpt-*")
    now = next(c for c in counters(_parties(desk, record), names_of("gpt-5"), time.time()) if c.scope == scope)
    free = now.__class__(now.scope, now.window, now.start_s, now.end_s)
    desk.reserve(Ask("r3", (), (free,), 150, 150, 150))
    desk.settle(Bill("r3", record.id, None, (free,), 150, ending="done"))
    assert [finding.name for finding in audited(desk).findings] == [free.name]


# --- while requests go on


def test_it_is_exact_while_requests_come_and_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.spending.PAGE", 5)
    token = desk.make("key", max_budget="1", max_parallel_requests=50)["key"]
    for _ in range(20):
        desk.spend(token, 3)
    holder = desk.holder(token)
    assert holder is not None
    settled = 0

    async def requests() -> None:
        nonlocal settled
        parties = await Payers(desk.store, 0.0).reread(holder, None, ())
        wanted = counters(parties.parties, names_of("demo"), time.time())
        while True:
            name = f"live-{settled}"
            assert isinstance(await desk.store.reserve(Ask(name, parties.standings, wanted, 9, 9, 9)), Granted)
            await desk.store.settle(Bill(name, holder.key.id, None, wanted, 4, ending="done"))
            settled += 1

    async def both() -> list[AuditAnswer]:
        beside = [asyncio.create_task(requests())]
        answers = [await audit(desk.store, time.time(), "", Nothing()) for _ in range(5)]
        for task in beside:
            task.cancel()
        return answers

    answers = desk.run(both())
    assert [answer.findings for answer in answers] == [[]] * 5
    counts = [answer.checked.entries for answer in answers]
    assert counts == sorted(counts)
    assert counts[-1] > 20, "requests were settled meanwhile"


def test_nothing_leaves_the_journal_while_it_runs(desk: Desk, key: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.turns.PATIENCE_S", 0.0)
    closed = []

    def watched(done: Callable[..., Any]) -> Callable[..., Any]:
        async def asked(*given: Any) -> Any:
            closed.append(await Gate(desk.store, "worker").close())
            return await done(*given)

        return asked

    for name in ("snapshot", "journal"):
        monkeypatch.setattr(desk.store, name, watched(getattr(desk.store, name)))
    assert audited(desk).clean
    assert len(closed) > 1
    assert not any(closed)
    assert desk.run(Gate(desk.store, "worker").close())


def test_a_large_store_is_looked_at_in_small_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.audit.COUNTERS", 3)
    desk.make("user", user_id="*", max_budget="1")
    token = desk.make("key", max_budget="1")["key"]
    for number in range(10):
        desk.spend(token, number, user=f"u{number}")
        desk.hold(token, 2, user=f"u{number}")
    asked, snapshot = [], desk.store.snapshot

    async def looked(after: str | None = None, limit: int = 1000, names: Sequence[str] = ()) -> Snapshot:
        asked.append((after is not None, limit, len(names)))
        if after and len(asked) < 10:
            await desk.store.settle(_bill_of_another(f"between-{len(asked)}"))
        return await snapshot(after, limit, names)

    monkeypatch.setattr(desk.store, "snapshot", looked)
    answer = audited(desk)
    assert answer.clean, answer.findings
    assert answer.checked.holds == 10
    assert answer.checked.entries > 10, "others were settled meanwhile"
    assert answer.checked.counters >= 11
    assert all(limit <= 3 and names <= 3 for _, limit, names in asked)
    assert sum(paged for paged, _, _ in asked) >= 4


def _bill_of_another(id: str) -> Bill:
    """On a counter of its own, and on one that others have too."""
    counters = (Counter("user:u0", "total"), Counter(f"user:{id}", "total"))
    return Bill(id, "k", None, counters, 1, ending="done")


def test_what_is_held_by_nobody_is_found_on_every_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.audit.COUNTERS", 2)
    desk.make("user", user_id="*", max_budget="1")
    token = desk.make("key")["key"]
    for number in range(6):
        desk.spend(token, 1, user=f"u{number}")
    leaked = {f"user:u{number}|total" for number in (0, 3, 5)}

    def change(was: Snapshot) -> Snapshot:
        sums = {name: sum._replace(held_nanousd=5) if name in leaked else sum for name, sum in was.sums.items()}
        return was._replace(sums=sums)

    answer = altered(desk, monkeypatch, change)
    assert sorted((one.what, one.name) for one in answer.findings) == [("held", name) for name in sorted(leaked)]
