"""The hot paths stay short: what a whole answer and an event of a stream take, in counts that noise leaves alone.

Calls are those of our own Python functions, and resumptions of coroutines. Allocations are all that the process asks of
malloc: every object of Python's too, but for those that the interpreter keeps to use again.

A bound is what a count was when somebody last looked, and a quarter. Where a feature is worth more than that, write the
new figure here; where a path has become shorter, too (issue 5; docs/performance.md has the times).
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from types import FrameType
from typing import NamedTuple

import httpx
import pytest

from bench import answers, gateways
from bench.answers import DIALECTS, MODELS, Dialect
from bench.build import compile_c
from bench.gateways import CAP, LIMITS, headgate_files
from bench.processes import free_port
from tests.running import Running, as_process, in_thread


class Taken(NamedTuple):
    """By one request."""

    whole: float
    event: float  # one more of a stream


CALLS: dict[Dialect, dict[str, Taken]] = {
    "openai": {"redis": Taken(200, 5.3), "sqlite": Taken(243, 5.4)},
    "anthropic": {"redis": Taken(215, 6.2), "sqlite": Taken(258, 6.2)},
    "gemini": {"redis": Taken(230, 6.6), "sqlite": Taken(258, 6.7)},
}
ALLOCATIONS: dict[Dialect, dict[str, Taken]] = {
    "openai": {"redis": Taken(508, 20), "sqlite": Taken(1020, 23)},
    "anthropic": {"redis": Taken(521, 22), "sqlite": Taken(1030, 25)},
    "gemini": {"redis": Taken(512, 24), "sqlite": Taken(1022, 26)},
}
SLACK = 1.25
FEW, MANY = 16, 76  # events of a stream
PACE_MS = 4  # between them, so that each is read by itself
ROUNDS = 5

OURS = tuple(f"{Path(__file__).parent.parent / package}/" for package in ("gateway", "translators"))

Count = Callable[[], int]  # so far


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gateways.Upstream]:
    with gateways.upstream(tmp_path_factory.mktemp("provider"), free_port()) as there:
        yield there


def taken(count: Count, gateway: Running, provider: gateways.Upstream, dialect: Dialect) -> Taken:
    """What this dialect's requests take, from one caller who keeps the connection."""
    key = gateway.new_key(**CAP, **LIMITS)

    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, timeout=30) as caller:

        def of(streamed: bool) -> float:
            """The median: a beat of the ledger falls into some of them, and what is worked out once into the first."""
            counts, body = [], json.loads(answers.chat(MODELS[dialect], streamed))
            for _ in range(ROUNDS):
                before = count()
                assert caller.post("/v1/chat/completions", json=body).is_success
                counts.append(count() - before)
            return median(counts)

        whole, streams = of(streamed=False), []
        for events in (FEW, MANY):
            provider.pace(PACE_MS, events)
            streams.append(of(streamed=True))
    return Taken(whole, (streams[1] - streams[0]) / (MANY - FEW))


def check(found: Taken, bound: Taken, what: str) -> None:
    assert found.whole <= bound.whole * SLACK and found.event <= bound.event * SLACK, f"{found} {what}: above {bound}"


class Calls:
    """Counts them in the threads that start from now."""

    def __init__(self) -> None:
        self.made = 0

    def heard(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.made += 1


@pytest.fixture
def calls() -> Iterator[Calls]:
    found, before = Calls(), threading.getprofile()
    threading.setprofile(found.heard)
    yield found
    threading.setprofile(before)


def store_of(env: Mapping[str, str]) -> str:
    return "redis" if "REDIS_URL" in env else "sqlite"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_path_makes_more_calls(
    provider: gateways.Upstream, dialect: Dialect, store_env: Mapping[str, str], calls: Calls, tmp_path: Path
) -> None:
    assert sys.getprofile() is None  # this thread is not counted
    _, routes, _, pricing = headgate_files(provider, tmp_path)
    with in_thread(Path(routes), store_env, Path(pricing)) as gateway:
        found = taken(lambda: calls.made, gateway, provider, dialect)
    check(found, CALLS[dialect][store_of(store_env)], "calls")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_path_allocates_more(
    provider: gateways.Upstream, dialect: Dialect, store_env: Mapping[str, str], tmp_path: Path
) -> None:
    library, counted = tmp_path / "allocations.so", tmp_path / "allocations"
    compile_c(Path(__file__).parent / "allocations.c", library, "-shared", "-fPIC", "-fno-builtin")
    env = {"LD_PRELOAD": str(library), "COUNTED_ALLOCATIONS": str(counted), "PYTHONMALLOC": "malloc"}
    with as_process(headgate_files(provider, tmp_path), {**store_env, **env}) as gateway:
        found = taken(lambda: int.from_bytes(counted.read_bytes(), sys.byteorder), gateway, provider, dialect)
    check(found, ALLOCATIONS[dialect][store_of(store_env)], "allocations")
