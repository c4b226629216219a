"""How long what Redis has acknowledged lasts: what its settings may lose, and what may be demanded of each write."""

import re
from collections.abc import Mapping, Sequence

from gateway.ledger.redis_door import Wait
from gateway.ledger.store import StoreDown

WAIT_MS = 1000  # below what a command may take

_DEMAND = re.compile(r"aof|replicas:([1-9][0-9]?)")


def wait(demand: str) -> Wait | None:
    """`aof`: fsynced by the server; `replicas:N`: in the memory of N replicas; "": as the server's settings have it.

    Raises ValueError for another word. Source: redis.io/docs/latest/commands/waitaof, …/wait.
    """
    match = _DEMAND.fullmatch(demand)
    if not demand:
        return None
    if match is None:
        raise ValueError(f"HEADGATE_REDIS_WAIT is `aof` or `replicas:N`, not {demand!r}")
    if demand == "aof":
        return Wait(("WAITAOF", 1, 0, WAIT_MS), 1, "the server's disk")
    return Wait(("WAIT", match[1], WAIT_MS), int(match[1]), f"{match[1]} replicas")


def check(demand: Wait | None, version: str) -> None:
    """Raises StoreDown when a server of this version cannot do what is demanded."""
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if demand is not None and demand.command[0] == "WAITAOF" and number < (7, 2):
        raise StoreDown(
            f"HEADGATE_REDIS_WAIT=aof needs WAITAOF, which Redis has since 7.2; this server is {version or 'unknown'}:"
            " upgrade it, or set `appendfsync always` there and leave HEADGATE_REDIS_WAIT out"
        )


def warnings(settings: Mapping[str, str], demanded: bool) -> Sequence[str]:
    """What may lose money in these settings of the server (CONFIG GET), one sentence each."""
    found: list[str] = []
    if settings.get("appendonly") == "no":
        found.append(
            "Redis keeps no append-only file (`appendonly no`): a restart forgets budgets, bills and perhaps keys;"
            " set `appendonly yes`."
        )
    elif settings.get("appendfsync") == "no":
        found.append(
            "Redis leaves it to the operating system when its append-only file reaches the disk (`appendfsync no`):"
            " a crash forgets what was billed in the last half minute; set `appendfsync always` or `everysec`."
        )
    elif settings.get("appendfsync") == "everysec" and not demanded:
        found.append(
            "Redis writes its append-only file to disk once a second (`appendfsync everysec`): should its machine"
            " crash, it forgets up to the last second, of which living workers tell it their bills and holds again;"
            " `appendfsync always` forgets nothing."
        )
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        found.append(
            f"Redis may throw away what is ours when its memory is full (`maxmemory-policy {policy}`): budgets and"
            " holds would vanish; set `maxmemory-policy noeviction`."
        )
    return found
