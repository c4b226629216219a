"""The rows that are not CPU: what a caller waits for, what memory is held, how soon it is up."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench import load
from bench.answers import EVENTS
from bench.gateways import PACE_MS, Gateway, Headgate, headgate, headgate_as
from bench.load import Work
from bench.processes import WORKER_CORE, running
from bench.rows import Row, quiet, warm
from bench.stand import Stand
from gateway.commands.processes import cpu_s, rss_bytes

MB = 1e6
WAITED = "two questions to Redis and four writes, each of which wakes another core, take longer by themselves"
QUEUED = "one beginning in a hundred waits behind others, and in five turns of the loop for what else there is"
OPEN = 512  # streams at once, while new ones come
ALL, TOO_MANY = 0.95, ", which is all there is: so many streams are too many for this machine"
WINDOW_S = 2.0  # of which each has a p99 of its own: a hundred beginnings
STALL_MS = 250.0  # a stream that is silent for so long, at a pace of 20 ms, stood still
SLOW_STREAMS, SLOW_PACE_MS, SLOW_RATE = 5000, 500, 500
GROWTH_STEP, GROWTH_REQUESTS, GROWTH_S = 50_000, 1_000_000, 900


def _direct(stand: Stand, **how: Any) -> Work:
    return stand.nginx.work("openai", how.pop("streamed"), **how)


def added_latency(stand: Stand) -> Iterator[Row]:
    """One request at a time: through the gateway, less straight to the upstream."""
    through: dict[str, list[float]] = {"p50": [], "p99": []}
    direct: dict[str, list[float]] = {"p50": [], "p99": []}
    how = {"concurrency": 1, "seconds": stand.scale.latency_s}
    ours, straight = stand.headgate.work("openai", False, **how), _direct(stand, streamed=False, **how)
    warm(stand, stand.headgate, ours)
    for _ in range(stand.scale.pairs):
        for work, port, found in ((straight, stand.upstream.port, direct), (ours, stand.headgate.port, through)):
            run = load.run(work, port, stand.folder)
            for point, times in found.items():
                times.append(run.latency_ms[point])
    for point, at_most in (("p50", 0.35), ("p99", 1.0)):
        added = [each - quiet(direct[point]) for each in through[point]]
        told = f"added latency, unary, one at a time, {point}"
        yield Row(told, added, "ms", at_most=at_most, why=WAITED, counts="quiet")


def first_token(stand: Stand) -> Iterator[Row]:
    """Streams arrive by chance, each so long that some 512 are open: the first content, less the upstream's."""
    events, seconds = stand.scale.first_token_events, stand.scale.first_token_s
    lasting_s = events * PACE_MS / 1000
    rate = OPEN / lasting_s
    stand.upstream.pace(PACE_MS, events)
    how = {"rate": rate, "warm": lasting_s, "seconds": lasting_s + seconds, "each": 1}
    direct = load.run(_direct(stand, streamed=True, rate=rate, seconds=1.0), stand.upstream.port, stand.folder)
    work = stand.headgate.work("openai", True, **how)
    with load.begun(work, stand.headgate.port, stand.folder) as process:
        time.sleep(lasting_s)
        before = cpu_s(stand.headgate.pid)
        time.sleep(seconds)
        cores = (cpu_s(stand.headgate.pid) - before) / seconds
        run = load.read(process.communicate()[0])
    stand.upstream.pace()
    upstreams = direct.first_content_ms["p50"]  # its p99 would be one of fifty
    added = [each - upstreams for each in _p99s(run.first_contents)]
    what = f"{OPEN} open paced streams, {rate:.0f} more a second"
    detail = {"through": run.first_content_ms, "direct": direct.first_content_ms}
    note = f"{cores * 100:.0f} % of a core, when last measured{TOO_MANY if cores > ALL else ''}"
    told = f"added time to first token, p99, {what}"
    yield Row(told, added, "ms", at_most=5, note=note, detail=detail, why=QUEUED, counts="quiet")
    stalled = float(run.widest_gap_ms > STALL_MS)
    silence = {"widest_gap_ms": run.widest_gap_ms, "direct": direct.widest_gap_ms}
    work_done = f"runs of these in which a stream was silent for {STALL_MS:.0f} ms"
    yield Row(work_done, [stalled], "", at_most=0, detail=silence, counts="worst")


def _p99s(times: Sequence[tuple[float, float]]) -> list[float]:
    """The p99 of those that began within the same two seconds, where these are whole."""
    windows: dict[int, list[float]] = {}
    for began_s, ms in times:
        windows.setdefault(int(began_s // WINDOW_S), []).append(ms)
    whole = max(map(len, windows.values())) / 2
    return [sorted(window)[int(0.99 * (len(window) - 1))] for window in windows.values() if len(window) > whole]


def open_streams(stand: Stand) -> Iterator[Row]:
    """Slow streams held open by one worker, and its memory at the height of it."""
    stand.upstream.pace(SLOW_PACE_MS)
    assert SLOW_STREAMS / SLOW_RATE < EVENTS * SLOW_PACE_MS / 1000, "the first would have ended before the last began"
    work = stand.headgate.work("openai", True, rate=SLOW_RATE, seconds=SLOW_STREAMS / SLOW_RATE)
    most = 0
    with load.begun(work, stand.headgate.port, stand.folder) as process:
        while process.poll() is None:
            most = max(most, rss_bytes(stand.headgate.pid))
            time.sleep(0.2)
        done = load.read(process.communicate()[0])
    stand.upstream.pace()
    note = f"all {done.done} answered whole"
    yield Row(f"memory with {SLOW_STREAMS} slow streams open", [most / MB], "MB", at_most=400, note=note)


def beginnings(stand: Stand) -> Iterator[Row]:
    """From the command to the first answer to a caller, and the memory of a worker that has given one."""
    times: list[float] = []
    memory: list[float] = []
    for _ in range(stand.scale.starts):
        ours = headgate_as(stand.upstream, stand.folder, stand.redis[0])
        work = Gateway("headgate", "", ours.port, 0, stand.headgate.headers).work("openai", False, requests=1)
        begun = time.monotonic()
        with running(ours.command, WORKER_CORE, ours.log, _answers(ours, work, stand), ours.env) as pid:
            times.append(time.monotonic() - begun)
            memory.append(rss_bytes(pid) / MB)
    yield Row("start to first answer", times, "s", at_most=1, counts="quiet")
    yield Row("memory of an idle worker", memory, "MB", at_most=90)


def _answers(ours: Headgate, work: Work, stand: Stand) -> Any:
    def once() -> bool:
        if not ours.listens():
            return False
        load.run(work, ours.port, stand.folder)
        return True

    return once


def growth(stand: Stand) -> Iterator[Row]:
    """What a million requests leave behind in a worker that did nothing else, after the first fifty thousand; fewer
    where the machine is slow."""
    sizes: list[float] = []
    with headgate(stand.upstream, stand.folder, stand.redis) as fresh:
        work = fresh.work("openai", False, concurrency=64, requests=GROWTH_STEP)
        begun = time.monotonic()
        for _ in range(GROWTH_REQUESTS // GROWTH_STEP):
            load.run(work, fresh.port, stand.folder)
            sizes.append(rss_bytes(fresh.pid) / MB)
            if (took_s := time.monotonic() - begun) > GROWTH_S:
                break
    first, last = sizes[0], sizes[-1]
    note = f"{first:.1f} MB after {GROWTH_STEP:,}, {max(sizes):.1f} at most; {took_s:.0f} s"
    grown = [last - first] if len(sizes) > 1 else []
    work_done = f"growth of memory over {len(sizes) * GROWTH_STEP:,} requests"
    yield Row(work_done, grown, "MB", at_most=5, note=note, detail={"MB": sizes})
