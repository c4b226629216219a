"""What runs for the whole time of a bench, and how long each measurement may take."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench.gateways import Gateway, Upstream, headgate, nginx, nginx_program, redis_server, upstream
from bench.peers import install_nginx
from bench.processes import allow_many_files, free_port


@dataclass(frozen=True)
class Scale:
    """How long and how often."""

    pairs: int  # of runs, whose median counts
    seconds: float  # of a run of whole answers
    peer_pairs: int  # beside a peer, where there is more to wait for
    peer_seconds: float  # likewise: LiteLLM gives a hundred in one, and each of its looks for garbage shows
    streams: int  # of a run of streams
    translated_in_step: bool  # whether translated streams are measured in step too
    first_token_events: int  # of the 512 open streams: at 20 ms each, so many seconds that new ones must come
    first_token_s: float  # measured once they are open: a p99 of a few hundred is its four slowest
    first_token_runs: int  # whose median counts: a single stall of the machine is in the p99 of one


FULL = Scale(
    pairs=7,
    seconds=1.2,
    peer_pairs=5,
    peer_seconds=2.4,
    streams=128,
    translated_in_step=True,
    first_token_events=512,
    first_token_s=16.0,
    first_token_runs=3,
)
QUICK = Scale(
    pairs=2,
    seconds=0.7,
    peer_pairs=2,
    peer_seconds=0.7,
    streams=64,
    translated_in_step=False,
    first_token_events=256,
    first_token_s=3.0,
    first_token_runs=1,
)


@dataclass(frozen=True)
class Stand:
    """The mock upstream, nginx and Headgate with the Redis ledger, all running."""

    folder: Path
    upstream: Upstream
    nginx: Gateway
    headgate: Gateway
    redis: tuple[str, int]
    scale: Scale


@dataclass(frozen=True)
class Given:
    """A gateway that somebody else has started before our mock upstream, which listens on a port that they know."""

    gateway: Gateway
    upstream_port: int


@contextmanager
def stand(scale: Scale, given: Given | None) -> Iterator[Stand]:
    """All of it, in a folder that is gone afterwards. nginx is fetched where there is none. `given` is in our place."""
    allow_many_files()
    program = nginx_program() or install_nginx()
    with (
        tempfile.TemporaryDirectory(prefix="headgate-bench-") as name,
        upstream(folder := Path(name), given.upstream_port if given else free_port()) as there,
        redis_server(folder) as redis,
        nginx(there, folder, program) as plain,
        nullcontext(given.gateway) if given else headgate(there, folder, redis) as ours,
    ):
        yield Stand(folder, there, plain, ours, redis, scale)
