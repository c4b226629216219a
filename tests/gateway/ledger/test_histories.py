"""Two stores, one meaning: the same random histories through Redis, SQLite and a model in plain Python."""

import asyncio
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ledger.store import MAX_NANOUSD, Ask, Bill, Counter, Granted, OnCap, Record, Refused, Settled, Store
from tests.gateway.ledger.conftest import Place
from tests.gateway.ledger.model import Model
from tests.gateway.ledger.requests import sums
from tests.redis_server import redis_prefix

SCOPES = ("key:k1", "key:k2", "team:t")
REQUESTS = st.sampled_from([f"r{at}" for at in range(6)])
AMOUNTS = st.integers(0, 40) | st.integers(MAX_NANOUSD - 40, MAX_NANOUSD) | st.integers(0, MAX_NANOUSD)
CAPS = st.none() | st.integers(0, 100) | st.integers(MAX_NANOUSD - 40, MAX_NANOUSD)


@dataclass(frozen=True)
class Change:
    """A key or team gets its next version, or is revoked."""

    id: str
    revoked: bool


Step = Ask | Bill | Change


@st.composite
def counters(draw: st.DrawFn) -> tuple[Counter, ...]:
    """Up to one counter for each window of a key and the team; seconds are from now."""
    spans = {"total": (0.0, 0.0), "1d:today": (-9000.0, 9000.0), "1h:past": (-7200.0, -3600.0)}
    names = st.tuples(
        st.sampled_from(SCOPES), st.sampled_from(["total", "total", "total", "1d:today", "1d:today", "1h:past"])
    )
    chosen = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    on_cap: st.SearchStrategy[OnCap] = st.sampled_from(["clamp", "clamp", "refuse"])
    return tuple(Counter(scope, window, *spans[window], draw(CAPS), draw(on_cap)) for scope, window in chosen)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    least, usual, most = sorted(draw(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS)))
    return Ask(
        request_id=draw(REQUESTS),
        key_id=draw(st.sampled_from(["k1", "k1", "k2", "unknown"])),
        key_version=draw(st.sampled_from([1, 1, 1, 2])),
        team_id=draw(st.sampled_from([None, "t"])),
        team_version=draw(st.sampled_from([1, 1, 1, 2])),
        counters=draw(counters()),
        least_nanousd=draw(st.sampled_from([0, least])),
        usual_nanousd=usual,
        most_nanousd=most,
        whole=draw(st.booleans()),
        patient=draw(st.booleans()),
    )


BILLS = st.builds(Bill, REQUESTS, st.just("k1"), st.none(), counters(), AMOUNTS)
CHANGES = st.builds(Change, st.sampled_from(["k1", "k2", "t"]), st.sampled_from([False, False, True]))
HISTORIES = st.lists(asks() | asks() | BILLS | CHANGES, max_size=25)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES)
def test_both_stores_answer_as_the_model_does(redis_url: str, history: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder, redis_prefix(redis_url) as prefix:
        places = (Place("", str(Path(folder) / "headgate.db"), ""), Place(redis_url, "", prefix))
        asyncio.run(_live(history, [place.store() for place in places]))


async def _live(history: list[Step], stores: list[Store]) -> None:
    model = Model(time.time())
    for store in stores:
        await store.open()
    try:
        for id in ("k1", "k2", "t"):
            model.versions[id] = 1
            for store in stores:
                await store.create(_record(id, 1), None if id == "t" else id)
        for step in history:
            step = _moved(step, model.now_s)
            expected = _expected(model, step)
            for store in stores:
                assert await _answer(model, store, step) == expected
                assert await sums(store, *SCOPES) == model.sums()
        for store in stores:
            entries = await store.journal(0, float("inf"))
            assert {e.bill["request_id"]: e.bill["cost_nanousd"] for e in entries} == model.journal
            assert [e.bill["request_id"] for e in entries] == list(model.journal)
    finally:
        for store in stores:
            await store.close()


def _record(id: str, version: int, revoked: bool = False) -> Record:
    return Record(id=id, kind="team" if id == "t" else "key", version=version, revoked=revoked)


def _moved(step: Step, now_s: float) -> Step:
    """Its windows counted from `now_s`."""
    if isinstance(step, Change):
        return step
    moved = [
        c if c.window == "total" else replace(c, start_s=c.start_s + now_s, end_s=c.end_s + now_s)
        for c in step.counters
    ]
    return replace(step, counters=tuple(moved))


def _expected(model: Model, step: Step) -> Granted | Refused | Settled | None:
    match step:
        case Ask():
            return model.reserve(step)
        case Bill():
            return model.settle(step)
        case Change(id, revoked):
            model.versions[id] += 1
            (model.gone.add if revoked else model.gone.discard)(id)
            return None


async def _answer(model: Model, store: Store, step: Step) -> Granted | Refused | Settled | None:
    match step:
        case Ask():
            answer = await store.reserve(step)
            return answer._replace(now_s=0.0) if isinstance(answer, Refused) else answer
        case Bill():
            return await store.settle(step)
        case Change(id, revoked):
            await store.replace(_record(id, model.versions[id], revoked))
            return None
