"""What processes of this machine cost: CPU and memory of a whole process tree, from Linux's /proc."""

import os
from contextlib import suppress
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def there(pid: int) -> bool:
    """Whether /proc knows of that process."""
    return Path(f"/proc/{pid}/stat").exists()


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, at = [pid], 0
    while at < len(found):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            for task in Path(f"/proc/{found[at]}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        at += 1
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process tree, in seconds: of what lives, and of children that were waited for.

    The kernel states it twice. /proc/PID/stat has user and system apart, in ticks of 10 ms; a task's schedstat has
    their sum in nanoseconds, but nothing of threads that ended. The finer one stands where it misses none of the other.
    """
    return sum(_own_cpu_s(each) for each in tree(pid))


def _own_cpu_s(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it ended while we looked
    user, system, of_children = int(stat[11]), int(stat[12]), int(stat[13]) + int(stat[14])
    coarse = fine = (user + system) * TICK_S
    with suppress(FileNotFoundError, ProcessLookupError):  # a thread ended while we looked, or this kernel has it not
        tasks = [(task / "schedstat").read_text().split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
        fine = sum(map(int, tasks)) / 1e9
    return (fine if abs(coarse - fine) <= 2 * TICK_S else coarse) + of_children * TICK_S


def rss_bytes(pid: int) -> int:
    """Resident memory of a process tree."""
    total = 0
    for each in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * PAGE_BYTES
    return total
