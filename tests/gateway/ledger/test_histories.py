"""Two stores, one meaning: the same random histories through Redis, SQLite and a model in plain Python.

A few hundred steps by default; HEADGATE_HISTORIES=10000 in the environment takes about as many, and -s tells how many.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from gateway.ledger import journal
from gateway.ledger.store import (
    MAX_NANOUSD,
    Ask,
    Beat,
    Bill,
    Counter,
    Entry,
    Fold,
    Granted,
    Growth,
    Kind,
    Measure,
    Meter,
    OnCap,
    Record,
    Refused,
    Snapshot,
    Standing,
    Store,
    Sum,
)
from tests.gateway.ledger.conftest import Place
from tests.gateway.ledger.model import Booked, Model
from tests.redis_server import redis_prefix

STEPS = int(os.environ.get("HEADGATE_HISTORIES", "400"))
LENGTH = 50  # steps of one history, at most
RECORDS: list[tuple[Kind, str]] = [("key", "k1"), ("key", "k2"), ("team", "t"), ("user", "u"), ("org", "default")]
SCOPES = ("key:k1", "key:k2", "team:t", "user:Zoë | 1", "gpt-*@key:k1")
LARGE = MAX_NANOUSD // (2 * LENGTH)  # no sum of a history passes what can be counted
AMOUNTS = st.one_of([st.integers(0, 40)] * 7 + [st.integers(LARGE - 40, LARGE)])
CAPS = st.one_of(st.none(), *[st.integers(40, 200)] * 3, st.integers(LARGE - 40, 3 * LARGE))
ON_CAP: st.SearchStrategy[OnCap] = st.sampled_from(["clamp", "clamp", "refuse"])
LIMITS = st.integers(1, 5) | st.integers(0, 60)
MEASURES: list[Measure] = ["rpm", "tpm", "rpd", "tpd", "parallel"]
LONGEST_S = {"rpm": 61.0, "tpm": 61.0, "rpd": 61 * 1440.0, "tpd": 61 * 1440.0, "parallel": 1.0}
ALIVE_S = 1000.0
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # no history waits for a disk
EVER = (0.0, float("inf"))
Answer = TypeVar("Answer")


SELDOM = st.sampled_from([0] * 15 + [1])
STANDINGS = st.lists(st.sampled_from(RECORDS), max_size=3, unique=True)
WINDOWS = st.sampled_from(["total"] * 10 + ["1h"] * 9 + ["1h:past"])
PLACES = st.lists(st.tuples(st.sampled_from(SCOPES), WINDOWS), min_size=1, max_size=3, unique=True)
METERED = st.lists(
    st.tuples(st.sampled_from(["key:k1", "user:Zoë | 1"]), st.sampled_from(MEASURES)), max_size=3, unique=True
)
MIX = ["reserve"] * 7 + ["settle"] * 4 + ["grow", "renew", "reap"] * 2 + ["renew_all", "fold"]
MIX += ["say_it_again", "say_it_again", "change", "a_new_hour", "crash"]


class Histories(RuleBasedStateMachine):
    """Every rule is one step of both stores and the model; after each, all that they know is compared."""

    redis_url: ClassVar[str]
    steps: ClassVar[int] = 0  # of all histories

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.loop = self.stack.enter_context(asyncio.Runner())
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))
        prefix = self.stack.enter_context(redis_prefix(self.redis_url))
        self.places = [Place("", str(Path(folder) / "headgate.db"), ""), Place(self.redis_url, "", prefix)]
        self.stores = [place.store() for place in self.places]
        self.dropped: list[Store] = []
        self.model = Model(time.time())
        self.hour = 0
        self.left = 0
        self.requests = 0
        self.asked: dict[str, Ask] = {}
        self.caps: dict[str, tuple[int | None, OnCap]] = {}
        self.limits: dict[str, int] = {}
        self.last: Callable[[], None] = lambda: None

    def teardown(self) -> None:
        for store in (*self.stores, *self.dropped):
            self.loop.run(store.close())
        self.stack.close()

    @initialize()
    def begin(self) -> None:
        for store in self.stores:
            self.loop.run(store.open())
        for kind, id in RECORDS[:3]:
            self._create(kind, id)

    @rule(data=st.data(), what=st.sampled_from(MIX))
    def step(self, data: st.DataObject, what: str) -> None:
        """One rule: hypothesis leaves out some of several in many a run, and without a reserve nothing happens."""
        needed = self.model.journal if what == "fold" else self.model.holds
        if what in ("grow", "renew", "renew_all", "reap", "fold") and not needed:
            what = "reserve"
        act: Callable[[st.DataObject], None] = getattr(self, what)
        act(data)

    # --- money
    def reserve(self, data: st.DataObject) -> None:
        least, usual, most = sorted(data.draw(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS)))
        request_id = self._request(data, self.asked) if data.draw(SELDOM) else self._new()
        lost = data.draw(st.sampled_from([False, False, True]))
        made = Ask(
            request_id=request_id,
            standings=tuple(self._standing(data, *one) for one in data.draw(STANDINGS)),
            counters=self._counters(data),
            least_nanousd=data.draw(st.sampled_from([0, least])),
            usual_nanousd=usual,
            most_nanousd=most,
            whole=data.draw(st.booleans()),
            patient=data.draw(st.booleans()),
            meters=tuple(Meter(*one, self._limit(data, *one)) for one in data.draw(METERED)),
            tokens=data.draw(st.integers(0, 30)),
            least_tokens=data.draw(st.sampled_from([0, 0, 5])),
            lease_s=self._leave() if lost else ALIVE_S,
            line=data.draw(st.sampled_from([b"", _line(request_id, 0)])),
        )
        self._reserve(made)
        self.last = lambda: self._reserve(replace(made, lease_s=self._leave()) if lost else made)

    def _reserve(self, made: Ask) -> None:
        new = made.request_id not in self.model.holds
        expected = self.model.reserve(made, None if made.lease_s == ALIVE_S else self.left)
        self.asked.setdefault(made.request_id, made)
        levels: list[int] = []
        if isinstance(expected, Granted) and new and made.request_id in self.model.holds:
            self.asked[made.request_id] = made
            levels = [self.model.used[meter.name] for meter in made.meters]
        for answer in self._all(lambda store: store.reserve(made)):
            if isinstance(answer, Granted):
                assert [used for used, _ in answer.levels] == levels
                for meter, (_, full_s) in zip(made.meters if levels else (), answer.levels, strict=True):
                    assert 0 <= full_s <= LONGEST_S[meter.measure]
                answer = answer._replace(levels=())
            self._same(answer, expected)

    def grow(self, data: st.DataObject) -> None:
        request_id = self._request(data, self.model.holds)
        held = self.model.holds.get(request_id)
        asked = self.asked.get(request_id)
        least, more = sorted(data.draw(st.tuples(AMOUNTS, AMOUNTS)))
        growth = Growth(
            request_id=request_id,
            standings=asked.standings if asked else (),
            counters=asked.counters if asked else (),
            held_nanousd=held.nanousd + data.draw(SELDOM) if held else 10,
            least_nanousd=data.draw(st.sampled_from([0, least])),
            more_nanousd=more,
        )
        self._grow(growth)
        self.last = lambda: self._grow(growth)

    def _grow(self, growth: Growth) -> None:
        expected = self.model.grow(growth)
        for answer in self._all(lambda store: store.grow(growth)):
            self._same(answer, expected)

    def renew(self, data: st.DataObject, lost: bool = False) -> None:
        """With a cost it is a checkpoint; in time, or too late."""
        id, cost = self._request(data, self.model.holds), data.draw(st.none() | AMOUNTS)
        beat = Beat(id) if cost is None else Beat(id, cost, _line(id, cost))
        self._renew([beat], self._leave() if lost else ALIVE_S)

    def renew_all(self, data: st.DataObject) -> None:
        unknown = data.draw(st.sampled_from([(), ("x", "y")]))
        self._renew([Beat(id) for id in (*unknown, *self.model.holds)], ALIVE_S)

    def _renew(self, beats: Sequence[Beat], lease_s: float) -> None:
        expected = self.model.renew(beats, None if lease_s == ALIVE_S else self.left)
        for answer in self._all(lambda store: store.renew(beats, lease_s)):
            assert set(answer) == set(expected)

    def settle(self, data: st.DataObject) -> None:
        provisionally = [id for id, cost in self.model.settled.items() if cost is not None]
        late = data.draw(st.booleans()) and provisionally
        request_id = self._request(data, late or self.model.holds)
        asked = self.asked.get(request_id)
        counters = asked.counters if asked else self._counters(data)
        cost, tokens = data.draw(AMOUNTS), data.draw(st.integers(0, 40))
        bill = Bill(request_id, "k1", None, counters, cost, {"output_tokens": 1}, ending="done", tokens=tokens)
        self._settle(bill)
        self.last = lambda: self._settle(bill)

    def _settle(self, bill: Bill) -> None:
        expected = self.model.settle(bill)
        for answer in self._all(lambda store: store.settle(bill)):
            assert answer == expected

    def reap(self, data: st.DataObject) -> None:
        """What was left, and most often one more whose worker dies now."""
        if not data.draw(SELDOM):
            self.renew(data, lost=True)
        limit = data.draw(st.sampled_from([1, 2, 100]))
        expected = self.model.reap(limit)
        for answer in self._all(lambda store: store.reap(limit)):
            assert answer == expected

    def fold(self, data: st.DataObject) -> None:
        """The oldest leave the journal; those that are not the oldest do not."""
        number = data.draw(st.integers(1, 5))
        wrong = data.draw(st.sampled_from([False, False, True])) and len(self.model.journal) > 1

        async def fold(store: Store) -> bool:
            entries = (await store.journal(*EVER, limit=number + wrong))[wrong:]
            cost = sum(entry.bill["cost_nanousd"] for entry in entries)
            group = {"day": "2026-11-20", "key_id": "k1"}
            return await store.fold(entries, _journalled(entries), [Fold(group, cost, len(entries), {})])

        assert self._all(fold) == [not wrong] * 2
        if not wrong:
            self.model.fold(number)

    # --- what happens around it
    def say_it_again(self, data: st.DataObject) -> None:
        """As after an answer that was lost."""
        self.last()

    def change(self, data: st.DataObject) -> None:
        """A record gets its next version, is revoked, or made."""
        kind, id = data.draw(st.sampled_from(RECORDS))
        version, was_revoked = self.model.records.get((kind, id), (0, True))
        if was_revoked and kind not in ("key", "team"):
            self._create(kind, id)
            return
        revoked = data.draw(st.sampled_from([False, False, True]))
        changed = Record(id=id, kind=kind, version=version + 1, revoked=revoked)
        self._all(lambda store: store.replace(changed))
        self.model.records[kind, id] = version + 1, revoked

    def a_new_hour(self, data: st.DataObject) -> None:
        self.hour += 1

    def crash(self, data: st.DataObject) -> None:
        """A worker is gone without a word; another opens the store."""
        which = data.draw(st.sampled_from([0, 1]))
        self.dropped.append(self.stores[which])
        self.stores[which] = self.places[which].store()
        self.loop.run(self.stores[which].open())

    # --- what must be true
    @invariant()
    def all_that_the_stores_know_is_what_the_model_knows(self) -> None:
        Histories.steps += 1
        for snapshot in self._all(lambda store: store.snapshot()):
            sums = {name: Sum(one.spent, one.held, one.folded) for name, one in self.model.sums.items()}
            assert dict(snapshot.sums) == sums
            assert {live.request_id: (live.nanousd, live.cost_nanousd, live.counters) for live in snapshot.holds} == {
                id: (held.nanousd, held.cost, held.counters) for id, held in self.model.holds.items()
            }
            assert {scope: at for scope, at in snapshot.slots.items() if at} == self.model.slots()
        meters = sorted(self.model.used)
        asked = [Meter(*_split(name), 0) for name in meters]
        for levels in self._all(lambda store: store.levels(asked)):
            assert [used for used, _ in levels] == [self.model.used[name] for name in meters]

    @invariant()
    def the_books_are_right(self) -> None:
        """Σ journal + what was folded = spent, Σ holds = held, Σ slots of holds = slots; as the audit proves it."""

        async def books(store: Store) -> tuple[Snapshot, Sequence[Entry], int]:
            folds = await store.folds("2026-11-20", "2026-11-21")
            return await store.snapshot(), await store.journal(*EVER), sum(fold.requests for fold in folds)

        told = self._all(books)
        assert len({folded for _, _, folded in told}) == 1
        for snapshot, entries, _ in told:
            assert [_booked(entry) for entry in entries] == self.model.journal
            booked = _journalled(entries)
            held: dict[str, int] = {}
            slots: dict[str, int] = {}
            for live in snapshot.holds:
                for name in live.counters:
                    held[name] = held.get(name, 0) + live.nanousd
                for scope in live.slots:
                    slots[scope] = slots.get(scope, 0) + 1
            for name, sums in snapshot.sums.items():
                assert booked.get(name, 0) + sums.folded_nanousd == sums.spent_nanousd
                assert held.get(name, 0) == sums.held_nanousd
            assert {scope: at for scope, at in snapshot.slots.items() if at} == slots

    @invariant()
    def no_cap_is_passed_but_by_overruns(self) -> None:
        for sums in self.model.sums.values():
            assert sums.held >= 0
            assert sums.ceiling is None or sums.spent + sums.held <= sums.ceiling + sums.overrun

    # --- its parts
    def _all(self, call: Callable[[Store], Awaitable[Answer]]) -> list[Answer]:
        async def awaited(store: Store) -> Answer:
            return await call(store)

        return [self.loop.run(awaited(store)) for store in self.stores]

    def _create(self, kind: Kind, id: str) -> None:
        version, _ = self.model.records.get((kind, id), (0, True))
        record = Record(id=id, kind=kind)
        self._all(lambda store: store.create(record, f"digest of {id}" if kind == "key" else None))
        self.model.records[kind, id] = version + 1, False

    def _new(self) -> str:
        self.requests += 1
        return f"r{self.requests}"

    def _request(self, data: st.DataObject, among: Iterable[str]) -> str:
        """One of these, seldom any other."""
        others = [*self.asked, "unknown"]
        ids = sorted(among) or others
        return data.draw(st.sampled_from(others if data.draw(SELDOM) else ids))

    def _standing(self, data: st.DataObject, kind: Kind, id: str) -> Standing:
        version, _ = self.model.records.get((kind, id), (0, False))
        return Standing(kind, id, version - data.draw(SELDOM))

    def _counters(self, data: st.DataObject) -> tuple[Counter, ...]:
        now_s = self.model.now_s
        spans = {
            "total": ("total", 0.0, 0.0),
            "1h": (f"1h:{self.hour}", now_s - 9000, now_s + 9000),
            "1h:past": ("1h:past", now_s - 7200, now_s - 3600),
        }
        bare = [Counter(scope, *spans[window]) for scope, window in data.draw(PLACES)]
        return tuple(replace(c, cap_nanousd=cap, on_cap=on) for c in bare for cap, on in [self._cap(data, c.name)])

    def _cap(self, data: st.DataObject, name: str) -> tuple[int | None, OnCap]:
        """What caps this counter: the same for every request, until an admin changes it."""
        if name not in self.caps or data.draw(SELDOM):
            self.caps[name] = data.draw(CAPS), data.draw(ON_CAP)
        return self.caps[name]

    def _limit(self, data: st.DataObject, scope: str, measure: Measure) -> int:
        name = f"{scope}|{measure}"
        if name not in self.limits or data.draw(SELDOM):
            self.limits[name] = data.draw(LIMITS) * (10 if measure in ("tpm", "tpd") else 1)
        return self.limits[name]

    def _leave(self) -> float:
        """A lease that is over, by less than any before: what was left first is reaped first."""
        self.left += 1
        return self.left - ALIVE_S

    @staticmethod
    def _same(answer: Granted | Refused, expected: Granted | Refused) -> None:
        if isinstance(answer, Refused) and isinstance(expected, Refused) and expected.reason == "rate":
            assert answer.reason == "rate"
            assert answer.name in expected.name.splitlines()
            assert 0 < answer.retry_after_s <= LONGEST_S[answer.name.rpartition("|")[2]]
        else:
            assert (answer._replace(now_s=0.0) if isinstance(answer, Refused) else answer) == expected


def _line(request_id: str, cost: int) -> bytes:
    return journal.line(Bill(request_id, "k1", None, (), cost, ending="lost"))


def _split(name: str) -> tuple[str, Measure]:
    scope, _, measure = name.rpartition("|")
    return scope, next(one for one in MEASURES if one == measure)


def _booked(entry: Entry) -> Booked:
    bill = entry.bill
    return Booked(
        bill["request_id"], bill["cost_nanousd"], bill["adjusts"], entry.overrun_nanousd, tuple(entry.counters)
    )


def _journalled(entries: Sequence[Entry]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        for name in entry.counters:
            sums[name] = sums.get(name, 0) + entry.bill["cost_nanousd"]
    return sums


def test_both_stores_answer_as_the_model_does(redis_url: str) -> None:
    Histories.redis_url = redis_url
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=max(1, STEPS // 33),  # a history has 37 steps on average
            stateful_step_count=LENGTH,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Histories.steps} steps")
