"""The rows of the table (issue 5, "The figures to reach"): the work, the target, and how it is measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from bench.answers import Dialect
from bench.compared import Compared, compared
from bench.gateways import Gateway, headgate
from bench.peers import STARTED, installed
from bench.stand import Stand


@dataclass(frozen=True)
class Row:
    """One line of the table. `figure` None: not measured, and `note` says why. `why`: what stands in a target's way."""

    work: str
    figure: float | None
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def met(self) -> bool | None:
        """None where nothing was measured."""
        if self.figure is None:
            return None
        if self.at_most is not None:
            return self.figure <= self.at_most
        return self.at_least is None or self.figure >= self.at_least


# docs/performance.md, "Where the microseconds go", has the profiles behind these
WHOLE = "seven tenths are the interpreter's, at some 7,000 bytecodes each; with none of ours it would be 4 × nginx"
STREAMED = "three fifths are the kernel's, with nginx's own system calls; an event's 200 bytecodes are a fifth"
DIVIDED = "theirs is divided by ours: see the rows above"


def detail_of(found: Compared, one: str, other: str) -> dict[str, Any]:
    """The absolute figures behind a ratio, for the notes, the results and the charts. Microseconds of CPU a request."""
    us = {one: round(found.one.own_us, 1), other: round(found.other.own_us, 1)}
    stores = {one: round(found.one.store_us, 1), other: round(found.other.store_us, 1)}
    return {"us": us, "store_us": stores, "ratios": found.ratios}


def _note(found: Compared, one: str, other: str, unit: str = "µs") -> str:
    by = {"µs": 1.0, "ms": 1000.0}[unit]
    store = f" + {found.one.store_us / by:.3g} of its store" if found.one.store_us else ""
    return f"{one} {found.one.own_us / by:.3g} {unit}{store}, {other} {found.other.own_us / by:.3g} {unit}"


def _whole(concurrency: int, seconds: float) -> dict[str, Any]:
    return {"concurrency": concurrency, "seconds": seconds}


def _streams(stand: Stand) -> dict[str, Any]:
    return {"concurrency": 64, "requests": stand.scale.streams}


def _beside_nginx(stand: Stand, dialect: Dialect, streamed: bool, how: dict[str, Any]) -> Compared:
    ours, plain = (gateway.work(dialect, streamed, **how) for gateway in (stand.headgate, stand.nginx))
    return compared((stand.headgate, ours), (stand.nginx, plain), stand.scale.pairs, stand.folder)


def whole_answers(stand: Stand) -> Iterator[Row]:
    """CPU of a request that is answered whole."""
    for dialect in stand.headgate.models:
        for concurrency in (16, 64) if dialect == "openai" else (16,):
            found = _beside_nginx(stand, dialect, False, _whole(concurrency, stand.scale.seconds))
            yield Row(
                f"unary, OpenAI to {dialect}, {concurrency} at once",
                found.ratio,
                "× nginx",
                at_most=6 if dialect == "openai" else 9,
                note=_note(found, stand.headgate.name, "nginx"),
                detail=detail_of(found, stand.headgate.name, "nginx"),
                why=WHOLE,
            )


def streams(stand: Stand) -> Iterator[Row]:
    """CPU of a stream of 64 events, paced 20 ms apart, 64 at once: each at its own time, and all in step.

    Events that are due together are handled in one turn of a gateway's loop, which halves what they cost nginx.
    """
    for in_step, told in ((False, "64 at once"), (True, "64 in step")):
        stand.upstream.pace(in_step=in_step)
        for dialect in stand.headgate.models:
            if in_step and dialect != "openai" and not stand.scale.translated_in_step:
                continue
            found = _beside_nginx(stand, dialect, True, _streams(stand))
            yield Row(
                f"stream of 64 paced events, OpenAI to {dialect}, {told}",
                found.ratio,
                "× nginx",
                at_most=1.5 if dialect == "openai" else 2.5,
                note=_note(found, stand.headgate.name, "nginx", "ms"),
                detail=detail_of(found, stand.headgate.name, "nginx"),
                why=STREAMED,
            )
    stand.upstream.pace()


def embedded(stand: Stand) -> Iterator[Row]:
    """CPU with the embedded store, beside the same with Redis, whose server's own CPU is counted in."""
    with headgate(stand.upstream, stand.folder, None) as small:
        small = replace(small, name="embedded")
        works: dict[str, tuple[bool, dict[str, Any]]] = {
            f"unary, {many} at once": (False, _whole(many, stand.scale.seconds)) for many in (16, 64)
        }
        works["stream of 64 paced events, 64 at once"] = (True, _streams(stand))
        for name, (streamed, how) in works.items():
            one, other = ((each, each.work("openai", streamed, **how)) for each in (small, stand.headgate))
            found = compared(one, other, stand.scale.pairs, stand.folder, stores=True)
            yield Row(
                f"the embedded store: {name}",
                found.ratio,
                "× Redis",
                at_most=1.3,
                note=_note(found, "embedded", "with Redis") + f" + {found.other.store_us:.3g} of redis-server",
                detail=detail_of(found, "embedded", "headgate"),
            )


AT_LEAST = {"litellm": (80.0, 30.0), "portkey": (8.0, 4.0), "sglang": (1.0, 1.0)}  # × our CPU: whole, streamed
WARM = 5  # runs of whole answers, which come first, that are thrown away: V8 compiles for seconds


def peer(name: str) -> Callable[[Stand], Iterator[Row]]:
    """The rows of one peer: its CPU beside ours in the same run."""

    def rows(stand: Stand) -> Iterator[Row]:
        if not installed(name):
            for at_least in AT_LEAST[name]:
                note = "not installed here: scripts/bench peers"
                yield Row(f"beside {name}", None, "× headgate", at_least=at_least, note=note)
            return
        with STARTED[name](stand.upstream, stand.folder) as other:
            for streamed, how in ((False, _whole(16, stand.scale.peer_seconds)), (True, _streams(stand))):
                yield _beside_peer(stand, other, streamed, how)

    return rows


def _beside_peer(stand: Stand, other: Gateway, streamed: bool, how: dict[str, Any]) -> Row:
    theirs, ours = (gateway.work("openai", streamed, **how) for gateway in (other, stand.headgate))
    warm = 1 if streamed else WARM
    found = compared((other, theirs), (stand.headgate, ours), stand.scale.peer_pairs, stand.folder, warm)
    told = _note(found, other.name, "headgate", "ms" if streamed else "µs")
    return Row(
        f"beside {other.name} {other.version}: {'stream of 64 paced events, 64' if streamed else 'unary, 16'} at once",
        found.ratio,
        "× headgate",
        at_least=AT_LEAST[other.name][streamed],
        note=f"{told}; {other.note}",
        detail=detail_of(found, other.name, "headgate"),
        why=DIVIDED,
    )
