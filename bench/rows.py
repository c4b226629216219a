"""The rows of the table (issue 5, "The figures to reach"): the work, the target, and how it is measured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, median, quantiles
from typing import Any, Literal

from bench.answers import Dialect
from bench.compared import Compared, compared, cost
from bench.gateways import Gateway, headgate
from bench.load import Work
from bench.peers import STARTED, installed
from bench.stand import Stand


@dataclass(frozen=True)
class Row:
    """One line of the table. `figure`: what `counts` of the `samples`.

    Of a time by itself that is the lowest tenth, `quiet`, since whatever else the machine does only adds to it; the
    `worst` where one is one too many.

    Without samples nothing was measured, and `note` says why. `us` and `store_us`: microseconds of CPU a request, by
    who took them and of whose store's server. `why`: what stands in a target's way.
    """

    work: str
    samples: Sequence[float]
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""
    us: dict[str, float] = field(default_factory=dict)
    store_us: dict[str, float] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    counts: Literal["median", "quiet", "worst"] = "median"
    failed: bool = False  # an answer was not good, or a gateway did not start
    others: float = 0.0  # cores that other programs took meanwhile

    @property
    def figure(self) -> float | None:
        """None where nothing was measured."""
        if not self.samples:
            return None
        if self.counts == "worst":
            return max(self.samples)
        return quiet(self.samples) if self.counts == "quiet" else median(self.samples)

    @property
    def met(self) -> bool | None:
        """None where nothing was measured, or nothing is asked for."""
        figure = self.figure
        if figure is None:
            return None
        if self.at_most is not None:
            return figure <= self.at_most
        return None if self.at_least is None else figure >= self.at_least


def quiet(samples: Sequence[float]) -> float:
    """The lowest tenth: a tenth of the samples are below it."""
    return quantiles(samples, n=10, method="inclusive")[0] if len(samples) > 1 else samples[0]


def joined(rounds: Sequence[Row]) -> Row:
    """One row of what several rounds have of it."""
    last = rounds[-1]
    return replace(
        last,
        samples=[sample for row in rounds for sample in row.samples],
        us={name: median(row.us[name] for row in rounds) for name in last.us},
        store_us={name: median(row.store_us[name] for row in rounds) for name in last.store_us},
        detail={name: [row.detail[name] for row in rounds] for name in last.detail},
        others=mean(row.others for row in rounds),
    )


# docs/performance.md, "Where the microseconds go", has the profiles behind these
WHOLE = "seven tenths are the interpreter's, at some 7,000 bytecodes each; with none of ours it would be 4 × nginx"
STREAMED = "three fifths are the kernel's, with nginx's own system calls; an event's 200 bytecodes are a fifth"
DIVIDED = "theirs is divided by ours: see the rows above"


def _compared(work: str, unit: str, found: Compared, one: str, other: str, **how: Any) -> Row:
    return Row(
        work,
        found.ratios,
        unit,
        us={one: found.one.own_us, other: found.other.own_us},
        store_us={one: found.one.store_us, other: found.other.store_us},
        **how,
    )


def _whole(concurrency: int, seconds: float) -> dict[str, Any]:
    return {"concurrency": concurrency, "seconds": seconds}


def _streams(stand: Stand) -> dict[str, Any]:
    return {"concurrency": 64, "requests": stand.scale.streams}


def warm(stand: Stand, gateway: Gateway, work: Work) -> None:
    """What a gateway does for the first time is thrown away."""
    if (gateway.name, work) not in stand.warmed:
        cost(gateway, work, stand.folder)
        stand.warmed.add((gateway.name, work))


def _compare(stand: Stand, one: tuple[Gateway, Work], other: tuple[Gateway, Work], pairs: int, **how: Any) -> Compared:
    for each in (other, one):
        warm(stand, *each)
    return compared(one, other, pairs, stand.folder, **how)


def _beside_nginx(stand: Stand, work: str, dialect: Dialect, streamed: bool, how: dict[str, Any], **row: Any) -> Row:
    ours, plain = (gateway.work(dialect, streamed, **how) for gateway in (stand.headgate, stand.nginx))
    pairs = stand.scale.stream_pairs if streamed else stand.scale.pairs
    found = _compare(stand, (stand.headgate, ours), (stand.nginx, plain), pairs)
    return _compared(work, "× nginx", found, stand.headgate.name, "nginx", **row)


def whole_answers(stand: Stand) -> Iterator[Row]:
    """CPU of a request that is answered whole."""
    for dialect in stand.headgate.models:
        for concurrency in (16, 64) if dialect == "openai" else (16,):
            work = f"unary, OpenAI to {dialect}, {concurrency} at once"
            how = _whole(concurrency, stand.scale.seconds)
            at_most = 6 if dialect == "openai" else 9
            yield _beside_nginx(stand, work, dialect, False, how, at_most=at_most, why=WHOLE)


def streams(stand: Stand) -> Iterator[Row]:
    """CPU of a stream of 64 events, paced 20 ms apart, 64 at once: each at its own time, and all in step.

    Events that are due together are handled in one turn of a gateway's loop, which halves what they cost nginx.
    """
    for in_step, told in ((False, "64 at once"), (True, "64 in step")):
        stand.upstream.pace(in_step=in_step)
        for dialect in stand.headgate.models:
            if in_step and dialect != "openai" and not stand.scale.translated_in_step:
                continue
            work = f"stream of 64 paced events, OpenAI to {dialect}, {told}"
            at_most = 1.5 if dialect == "openai" else 2.5
            yield _beside_nginx(stand, work, dialect, True, _streams(stand), at_most=at_most, why=STREAMED)
    stand.upstream.pace()


def embedded(stand: Stand) -> Iterator[Row]:
    """CPU with the embedded store, beside the same with Redis, whose server's own CPU is counted in."""
    small = stand.other("embedded", lambda: headgate(stand.upstream, stand.folder, None))
    small = replace(small, name="embedded")
    works: dict[str, tuple[bool, dict[str, Any]]] = {
        f"unary, {many} at once": (False, _whole(many, stand.scale.seconds)) for many in (16, 64)
    }
    works["stream of 64 paced events, 64 at once"] = (True, _streams(stand))
    for name, (streamed, how) in works.items():
        one, other = ((each, each.work("openai", streamed, **how)) for each in (small, stand.headgate))
        pairs = stand.scale.stream_pairs if streamed else stand.scale.embedded_pairs
        found = _compare(stand, one, other, pairs, stores=True)
        yield _compared(f"the embedded store: {name}", "× Redis", found, "embedded", "headgate", at_most=1.3)


AT_LEAST = {"litellm": (80.0, 30.0), "portkey": (8.0, 4.0), "sglang": (1.0, 1.0)}  # × our CPU: whole, streamed
RUN_S = {"litellm": 1.0, "portkey": 0.3, "sglang": 0.3}  # LiteLLM gives 100 answers in one; its garbage collector shows
WARM_S = 1.0  # of whole answers that are thrown away in each round, and as much twice more at first: V8 compiles for
# seconds, and lets go of what it had compiled, a third of what it takes, when nothing came for a while


def peer(name: str) -> Callable[[Stand], Iterator[Row]]:
    """The rows of one peer: its CPU beside ours in the same run."""

    def rows(stand: Stand) -> Iterator[Row]:
        if not installed(name):
            for at_least in AT_LEAST[name]:
                note = "not installed here: scripts/bench peers"
                yield Row(f"beside {name}", (), "× headgate", at_least=at_least, note=note)
            return
        other = stand.other(name, lambda: STARTED[name](stand.upstream, stand.folder))
        yield _beside_peer(stand, other, False, _whole(16, RUN_S[name]))
        yield _beside_peer(stand, other, True, _streams(stand))

    return rows


def _beside_peer(stand: Stand, other: Gateway, streamed: bool, how: dict[str, Any]) -> Row:
    theirs, ours = (gateway.work("openai", streamed, **how) for gateway in (other, stand.headgate))
    pairs = stand.scale.stream_pairs if streamed else round(stand.scale.peer_s / how["seconds"])
    cold = theirs if streamed else replace(theirs, seconds=WARM_S)
    for _ in range(1 if (other.name, theirs) in stand.warmed else 3):
        cost(other, cold, stand.folder)
    found = _compare(stand, (other, theirs), (stand.headgate, ours), pairs)
    return _compared(
        f"beside {other.name} {other.version}: {'stream of 64 paced events, 64' if streamed else 'unary, 16'} at once",
        "× headgate",
        found,
        other.name,
        "headgate",
        at_least=AT_LEAST[other.name][streamed],
        note=other.note,
        why=DIVIDED,
    )
