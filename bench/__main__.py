"""`scripts/bench`: measures, prints the table row by row, keeps the results.

scripts/bench                 all of the table; the peers that are installed
scripts/bench --quick         two minutes: shorter, fewer runs, without what takes long and without the peers
scripts/bench --case NAME     one group of rows (given several times: several)
scripts/bench --peers         the peers too, installed where they are missing
scripts/bench --long          the growth over a million requests too, and the instructions
scripts/bench peers           installs the peers, and measures nothing
scripts/bench charts          draws results/latest.json into docs/
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from bench import answers, peers, rows, waits
from bench.build import NoCompiler, built
from bench.charts import draw
from bench.gateways import Gateway
from bench.instructions import instructions
from bench.load import Failed
from bench.processes import CORES, NotStarted, Others, memory_ns
from bench.rows import Row, joined
from bench.stand import FULL, QUICK, Given, Stand, stand
from bench.table import keep, line, results

CASES: dict[str, Callable[[Stand], Iterator[Row]]] = {
    "unary": rows.whole_answers,
    "streams": rows.streams,
    "latency": waits.added_latency,
    "first-token": waits.first_token,
    "beginnings": waits.beginnings,
    "embedded": rows.embedded,
    "sglang": rows.peer("sglang"),
    "portkey": rows.peer("portkey"),
    "litellm": rows.peer("litellm"),
    "open-streams": waits.open_streams,
    "growth": waits.growth,
    "instructions": instructions,
}
QUICK_CASES = ["unary", "streams", "latency", "first-token", "beginnings", "embedded"]
LONG = ("growth", "instructions")  # by name, or with --long
ONCE = ("open-streams", *LONG)  # in the last round: it takes long, or leaves the worker another one
SHORT = ("unary", "latency")  # seconds long: a turn behind each of the others, or so many where there is none
TURNS = 6
GIVEN_CASES = ["unary", "streams", "latency", "first-token", "open-streams"]


def main() -> int:
    """The exit status: 0, 1 where a row could not be measured, 2 where something is missing. No target counts."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then too
    try:
        if asked.what == "charts":
            print(*draw(), sep="\n")
            return 0
        if asked.what == "peers" or asked.peers:
            complete = peers.install_all()
            if asked.what == "peers":
                return 0 if complete else 2
        return measure(asked)
    except (NoCompiler, NotStarted, peers.NotInstalled, FileNotFoundError) as missing:
        print(f"scripts/bench: {missing}", file=sys.stderr)
        return 2


def arguments() -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        "scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["run", "peers", "charts"], default="run")
    parser.add_argument("--quick", action="store_true", help="two minutes")
    parser.add_argument("--case", action="append", choices=CASES, metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--peers", action="store_true", help="the peers too, installed where they are missing")
    parser.add_argument("--long", action="store_true", help="the growth over a million requests too, and instructions")
    other = parser.add_argument_group("another gateway in our place, on this machine, before the mock upstream")
    other.add_argument("--url", help="its base URL, such as http://127.0.0.1:4000/v1")
    other.add_argument("--pid", type=int, help="the process whose tree is measured")
    other.add_argument("--key", default="none", help="the bearer token that it asks for")
    other.add_argument("--model", default=answers.MODELS["openai"], help="a model that leads to the mock upstream")
    other.add_argument("--upstream-port", type=int, default=18080, help="where the mock upstream is to listen")
    asked = parser.parse_args()
    if (asked.url is None) != (asked.pid is None):
        parser.error("--url and --pid belong together")
    return asked


def given(asked: argparse.Namespace) -> Given | None:
    """The gateway that was named, if one was."""
    if asked.url is None:
        return None
    url = urlsplit(asked.url)
    if url.hostname not in ("127.0.0.1", "localhost") or not url.port:
        raise NotStarted(f"{asked.url}: the bench calls a port of 127.0.0.1, as it measures a process of this machine")
    path, headers = f"{url.path.rstrip('/')}/chat/completions", {"authorization": f"Bearer {asked.key}"}
    gateway = Gateway("given", "", url.port, asked.pid, headers, path, models={"openai": asked.model})
    return Given(gateway, asked.upstream_port)


def chosen(asked: argparse.Namespace) -> list[str]:
    """The cases to run."""
    if asked.case:
        return list(asked.case)
    names = GIVEN_CASES if asked.url else QUICK_CASES if asked.quick else [name for name in CASES if name not in LONG]
    names = names + [name for name in peers.STARTED if asked.peers and name not in names]
    return [*names, *(LONG if asked.long else ())]


def ordered(names: Sequence[str]) -> list[str]:
    """A round's cases in their order: the short ones again and again, so that they meet the machine in many a state."""
    short, once = [name for name in names if name in SHORT], [name for name in names if name in ONCE]
    others = [name for name in names if name not in (*SHORT, *ONCE)]
    turns = [*short, *(each for name in others for each in (name, *short))] if others else short * TURNS
    return [*turns, *once]


def measure(asked: argparse.Namespace) -> int:
    """Runs the cases on one stand, round by round, and prints each row when the last one has it."""
    if len(CORES) < 2:
        print("there is one core: the gateway shares it with the load, and latencies say little", file=sys.stderr)
    for program in ("upstream", "load"):
        built(program)
    told: list[Row] = []
    ours = [os.getpid(), *([asked.pid] if asked.pid else [])]
    others = Others(*ours)
    scale = QUICK if asked.quick else FULL
    with stand(scale, given(asked)) as here:
        gateway = here.headgate
        about = f"{gateway.name} {gateway.version}; nginx {here.nginx.version}; {gateway.note}"
        print(about.rstrip("; "), flush=True)
        measured: dict[str, list[Row]] = {}
        memory: list[dict[str, float]] = []
        for left in reversed(range(scale.rounds)):
            memory.append(memory_ns())
            cases = ordered([name for name in chosen(asked) if not left or name not in ONCE])
            for at, name in enumerate(cases):
                last = not left and name not in cases[at + 1 :]
                for row in _rows(name, here, ours):
                    measured.setdefault(row.work, []).append(row)
                    if row.failed or last:
                        told.append(row if row.failed else joined(measured[row.work]))
                        print(line(told[-1]), flush=True)
            if left:
                print(f"{left} more of {scale.rounds} rounds …", file=sys.stderr, flush=True)
        versions = {"headgate": gateway.version, "nginx": here.nginx.version}
    whole = not (asked.quick or asked.case or asked.url)
    how = "full" if whole else "quick" if asked.quick else "part"
    kept = keep(results(told, how, others.cores(), versions, memory))
    said = "; ".join(", ".join(f"{size} {ns:g} ns" for size, ns in each.items()) for each in memory)
    print(f"\nA read of memory at each round's beginning: {said}.")
    asked_for = [row for row in told if row.at_most is not None or row.at_least is not None]
    print(f"{sum(row.met is True for row in asked_for)} of {len(asked_for)} met; {kept}")
    if whole:
        draw()
    return int(any(row.failed for row in told))


def _rows(name: str, here: Stand, ours: list[int]) -> Iterator[Row]:
    """A case's rows of one round, and what programs other than `ours` took of the machine while each was measured."""
    others = Others(*ours)
    try:
        for row in CASES[name](here):
            yield replace(row, others=others.cores())
    except (Failed, NotStarted) as error:
        here.upstream.pace()
        yield Row(name, (), "", note=str(error), failed=True)


if __name__ == "__main__":
    sys.exit(main())
