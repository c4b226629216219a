"""A whole answer in instructions, counted by valgrind: the same on every day, whatever else the machine does."""

import shutil
from collections.abc import Iterator

from bench import load
from bench.gateways import headgate
from bench.rows import Row
from bench.stand import Stand

FEW, MANY = 300, 1300  # requests: what the second run has more of is theirs, and not the start's


def instructions(stand: Stand) -> Iterator[Row]:
    """The worker's own, in user space, with Redis. Two minutes, in which it is forty times as slow."""
    work, valgrind = "instructions of a whole answer, OpenAI to openai, 16 at once", shutil.which("valgrind")
    if valgrind is None:
        yield Row(work, (), "thousand", note="valgrind is not installed here (Debian: apt-get install valgrind)")
        return
    few, many = (_counted(stand, valgrind, requests) for requests in (FEW, MANY))
    yield Row(work, [(many - few) / (MANY - FEW) / 1000], "thousand", note="in user space, whatever the machine does")


def _counted(stand: Stand, valgrind: str, requests: int) -> int:
    """Of a worker that starts, answers so many requests and ends."""
    told = stand.folder / f"instructions-{requests}"
    counting = [valgrind, "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={told}"]
    with headgate(stand.upstream, stand.folder, stand.redis, ["env", "PYTHONHASHSEED=0", *counting]) as ours:
        load.run(ours.work("openai", False, concurrency=16, requests=requests), ours.port, stand.folder)
    try:
        return int(told.read_text().rpartition("summary:")[2])
    except (FileNotFoundError, ValueError) as missing:
        raise load.Failed(f"valgrind did not come to say what it had counted: {missing}") from missing
