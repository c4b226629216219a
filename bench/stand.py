"""What runs for the whole time of a bench, and how long each measurement may take."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateways import Gateway, Upstream, headgate, nginx, nginx_program, redis_server, upstream
from bench.load import Work
from bench.peers import install_nginx
from bench.processes import allow_many_files, free_port


@dataclass(frozen=True)
class Scale:
    """How long and how often; all but `rounds` and `pairs` are of one round."""

    rounds: int  # through the rows, so that each has its share of what the machine does meanwhile
    pairs: int  # of runs of whole answers each time that their turn comes: behind each other case of a round
    seconds: float  # of one of them: short, so that the machine is the same for both of a pair
    latency_s: float  # of one of requests one at a time: a few hundred, for their p99
    embedded_pairs: int  # of whole answers
    stream_pairs: int
    streams: int  # of a run of streams
    translated_in_step: bool  # whether translated streams are measured in step too
    peer_s: float  # of a peer's whole answers, in as many runs as fit
    starts: int
    first_token_events: int  # of the 512 open streams: at 20 ms each, so many seconds that new ones must come
    first_token_s: float  # measured once they are open


FULL = Scale(
    rounds=6,
    pairs=2,
    seconds=0.1,
    latency_s=0.3,
    embedded_pairs=12,
    stream_pairs=3,
    streams=64,
    translated_in_step=True,
    peer_s=3.0,
    starts=4,
    first_token_events=512,
    first_token_s=24.0,
)
QUICK = Scale(
    rounds=1,
    pairs=4,
    seconds=0.1,
    latency_s=0.3,
    embedded_pairs=12,
    stream_pairs=2,
    streams=64,
    translated_in_step=False,
    peer_s=2.0,
    starts=2,
    first_token_events=256,
    first_token_s=3.0,
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
    _kept: ExitStack
    _others: dict[str, Gateway] = field(default_factory=dict)
    warmed: set[tuple[str, Work]] = field(default_factory=set)  # who has done what before: it is not cold

    def other(self, name: str, started: Callable[[], AbstractContextManager[Gateway]]) -> Gateway:
        """Another gateway, started when it is first asked for and kept until the end."""
        if name not in self._others:
            self._others[name] = self._kept.enter_context(started())
        return self._others[name]


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
        ExitStack() as others,
    ):
        yield Stand(folder, there, plain, ours, redis, scale, others)
