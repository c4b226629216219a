"""Chaos over real processes: `python -m tests.chaos [--store sqlite|redis] [--runs 3] [--seed N]`.

Two workers, an upstream that counts what it generates, a Redis of its own behind a proxy that loses answers. Each
phase does its worst on fresh keys; then the keys' books, the journal and the upstream's counts are held together, and
whatever is not as it must be makes the exit status 1.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos import outages, phases
from tests.chaos.checks import Figures
from tests.chaos.processes import ROOT, counting_upstream, gateway, redis_behind_a_cutter
from tests.chaos.stage import LONG, Form, Stage

ROUTES = """
lease_s: {lease_s}
providers:
  patient: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
  hasty: {{dialect: openai, base_url: "{url}/v1", api_key: k, timeouts: {{first_byte_s: 1.5, idle_s: 1}}}}
  other: {{dialect: anthropic, base_url: "{url}", api_key: k}}
routes:
  o-*: patient/*
  h-*: hasty/*
  a-*: other/*
"""
PRICES = """
models:
  "patient/*": {input: 1, output: 10, cache_read: 1, cache_write: 1, source: made, as_of: 2026-11-20}
  "hasty/*": {input: 1, output: 10, cache_read: 1, cache_write: 1, source: made, as_of: 2026-11-20}
  "other/*": {input: 1, output: 10, cache_read: 1, cache_write: 1, source: made, as_of: 2026-11-20}
"""

Phase = Callable[[Stage], Coroutine[object, object, list[Figures]]]
EVERY: tuple[Phase, ...] = (
    phases.bursts,
    phases.hang_ups,
    outages.killed_worker,
    outages.store_away,
    phases.upstream_cut_off,
    phases.limits,
    outages.killed_gateway,
)


@contextmanager
def staged(store: str, form: Form, seed: int) -> Iterator[Stage]:
    """Everything a run needs, on a store with nothing in it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        upstream = stack.enter_context(counting_upstream())
        path, redis = folder / "headgate.db", None
        env = {"HEADGATE_DATA": str(path)}
        if store == "redis":
            redis = stack.enter_context(redis_behind_a_cutter(folder, seed))
            env["REDIS_URL"] = f"redis://127.0.0.1:{redis.url_port}/0"
        routes = ROUTES.format(url=f"http://127.0.0.1:{upstream.port}", lease_s=form.lease_s)
        running = stack.enter_context(gateway(env, routes, PRICES, folder))
        yield Stage(form, running, upstream, redis, path, seed)


async def run(stage: Stage, phases: Sequence[Phase], said: Callable[[Figures], None]) -> list[Figures]:
    """The phases one after another."""
    found: list[Figures] = []
    for phase in phases:
        begun = time.monotonic()
        for figures in await phase(stage):
            figures.seconds = figures.seconds or time.monotonic() - begun
            said(figures)
            found.append(figures)
    return found


# ── what is printed ──────────────────────────────────────────────────────────────────────────────────────────────────

COLUMNS: tuple[str, ...] = (
    "phase",
    "asked",
    "in full",
    "overspend",
    "unbilled",
    "overbilled",
    "lost",
    "leaked",
    "estimates",
)
COLUMNS += ("under", "over", "bound", "cancel", "wait", "audit", "time")
WIDTHS = (27, 6, 7, 9, 9, 10, 4, 6, 9, 11, 11, 11, 7, 6, 9, 6)


def row(cells: Sequence[object]) -> str:
    """One line of the table."""
    first, *rest = (str(cell) for cell in cells)
    return first.ljust(WIDTHS[0]) + "".join(cell.rjust(width + 1) for cell, width in zip(rest, WIDTHS[1:], strict=True))


def line(figures: Figures) -> str:
    """A phase's line. Amounts are nano-USD."""
    money = (figures.overspend, figures.unbilled, figures.overbilled)
    estimates = (figures.estimates, figures.under, figures.over, figures.bound)
    waited = f"{max(figures.waits_s):.1f}s" if figures.waits_s else "-"
    cancel = f"{max(figures.cancels_ms)}ms" if figures.cancels_ms else "-"
    times = (cancel, waited, figures.audit, f"{figures.seconds:.1f}s")
    return row(
        (figures.phase, figures.asked, figures.answered, *money, figures.lost, figures.leaked, *estimates, *times)
    )


def summary(found: Sequence[Figures]) -> str:
    """What it all came to, in one line."""

    def total(name: str) -> int:
        return sum(getattr(figures, name) for figures in found)

    estimates = (
        f"{total('estimates')} estimates: {total('under')} under, {total('over')} over, bound {total('bound')} nUSD"
    )
    bursts = [figures for figures in found if figures.affordable]
    answered = ", ".join(f"{figures.phase} {figures.answered} of {figures.affordable}" for figures in bursts)
    return (
        f"overspend {total('overspend')} nUSD, unbilled {total('unbilled')} nUSD, overbilled {total('overbilled')} nUSD"
        f" ({estimates}), lost journal entries {total('lost')}, leaked holds {total('leaked')}; answered: {answered}"
    )


def main() -> int:
    """0 when everything was as it must be, in every run."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Do the gateway's ledger the worst.")
    parser.add_argument("--store", choices=("sqlite", "redis"), action="append", help="both, unless given")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="of the answers that are lost on their way from Redis")
    parser.add_argument("--phase", action="append", choices=[phase.__name__ for phase in EVERY], help="only these")
    args = parser.parse_args()
    phases = [phase for phase in EVERY if phase.__name__ in (args.phase or [phase.__name__])]
    sound = True
    for store in args.store or ("sqlite", "redis"):
        for number in range(args.runs):
            print(f"\n{store}, run {number + 1} of {args.runs}, seed {args.seed + number}; amounts in nUSD")
            print(row(COLUMNS), flush=True)
            with staged(store, LONG, args.seed + number) as stage:
                found = asyncio.run(run(stage, phases, _say))
            print(summary(found), flush=True)
            sound = sound and all(figures.sound for figures in found)
    print("\nsound" if sound else "\nNOT SOUND")
    return 0 if sound else 1


def _say(figures: Figures) -> None:
    print(line(figures), *(f"\n    ! {fault}" for fault in figures.faults[:12]), flush=True, sep="")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
