"""One run of the load generator → figures."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.build import built
from bench.processes import OTHER_CORE


class Failed(Exception):
    """A run with an error in it measures nothing."""


@dataclass(frozen=True)
class Work:
    """What is sent: closed, `concurrency` at a time, or open, `rate` a second. Counts and seconds end it."""

    request: bytes
    end: str
    first: str = ""
    least: int = 0  # bytes of a good answer
    concurrency: int = 1
    requests: int = 0
    rate: float = 0
    seconds: float = 0
    warm: float = 0
    each: int = 0  # 1: tell of each request, which is more than a pipe holds from some thousands on


@dataclass(frozen=True)
class Run:
    """Milliseconds at p50, p90, p99 and max; `first_contents` of each: when it was to begin (s), and ms."""

    done: int
    latency_ms: dict[str, float]
    first_byte_ms: dict[str, float]
    first_content_ms: dict[str, float]
    widest_gap_ms: float
    first_contents: list[tuple[float, float]]


def run(work: Work, port: int, folder: Path) -> Run:
    """Sends the work to a port of the loopback address. Raises Failed where any answer was not good."""
    with begun(work, port, folder) as process:
        out, _ = process.communicate()
    return read(out)


def begun(work: Work, port: int, folder: Path) -> "subprocess.Popen[str]":
    """The load generator at work, for what is measured meanwhile; `read` takes what it prints."""
    sent = folder / f"request-{port}"
    sent.write_bytes(work.request)
    command = [str(built("load")), "127.0.0.1", str(port), str(sent), "--end", work.end, "--least", str(work.least)]
    if work.first:
        command += ["--first", work.first]
    for name in ("concurrency", "requests", "rate", "seconds", "warm", "each"):
        if value := getattr(work, name):
            command += [f"--{name}", str(value)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {OTHER_CORE}),
    )


def read(out: str) -> Run:
    """What the load generator printed. Raises Failed."""
    told = json.loads(out)
    if told["errors"] or not told["good"]:
        raise Failed(f"{told['errors']} of {told['done']} answers were not good: {told['error']}")
    return Run(
        told["done"],
        told["latency_ms"],
        told["first_byte_ms"],
        told["first_content_ms"],
        told["widest_gap_ms"],
        [(began_s, ms) for began_s, ms in told["first_contents"]],
    )
