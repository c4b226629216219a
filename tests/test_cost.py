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
    "openai": {"redis": Taken(200, 4.1), "sqlite": Taken(243, 4.2)},
    "anthropic": {"redis": Taken(216, 5.1), "sqlite": Taken(259, 5.2)},
    "gemini": {"redis": Taken(216, 5.1), "sqlite": Taken(259, 5.2)},
}
ALLOCATIONS: dict[Dialect, dict[str, Taken]] = {
    "openai": {"redis": Taken(480, 15), "sqlite": Taken(985, 15)},
    "anthropic": {"redis": Taken(485, 17), "sqlite": Taken(1010, 17)},
    "gemini": {"redis": Taken(480, 18), "sqlite": Taken(1000, 18)},
}
SLACK = 1.25
FEW, MANY = 16, 76  # events of a stream
PACE_MS = 4  # between them, so that each is read by itself
ROUNDS = 5
SELDOM_S = 5  # half of a lease

OURS = tuple(f"{Path(__file__).parent.parent / package}/" for package in ("gateway", "translators"))

Count = Callable[[], int]  # so far


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gateways.Upstream]:
    with gateways.upstream(tmp_path_factory.mktemp("provider"), free_port()) as there:
        yield there


def files(provider: gateways.Upstream, folder: Path) -> list[str]:
    """The bench's routes and prices, but with hardly any checkpoints: how many there are is a matter of time."""
    arguments = headgate_files(provider, folder)
    routes = Path(arguments[1])
    routes.write_text(json.dumps(json.loads(routes.read_text()) | {"checkpoint_s": SELDOM_S}))
    return arguments


def taken(count: Count, gateway: Running, provider: gateways.Upstream, dialect: Dialect) -> Taken:
    """What this dialect's requests take, from one caller who keeps the connection."""
    key = gateway.new_key(**CAP, **LIMITS)

    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, timeout=30) as caller:

        def of(streamed: bool) -> float:
            """The least: a beat of the ledger falls into some of them, and what is worked out once into the first."""
            counts, body = [], json.loads(answers.chat(MODELS[dialect], streamed))
            for _ in range(ROUNDS):
                before = count()
                assert caller.post("/v1/chat/completions", json=body).is_success
                counts.append(count() - before)
            return min(counts)

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
    _, routes, _, pricing = files(provider, tmp_path)
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
    with as_process(files(provider, tmp_path), {**store_env, **env}) as gateway:
        found = taken(lambda: int.from_bytes(counted.read_bytes(), sys.byteorder), gateway, provider, dialect)
    check(found, ALLOCATIONS[dialect][store_of(store_env)], "allocations")
