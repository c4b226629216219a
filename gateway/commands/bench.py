"""`headgate bench URL`: what an OpenAI-compatible gateway costs its callers, and this machine."""

import argparse
import asyncio
import ipaddress
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from gateway.commands import tables
from gateway.commands.desk import Json, command
from gateway.commands.load import Address, Caller, Refused, Seen, point
from gateway.commands.processes import cpu_s, rss_bytes, there
from gateway.proxies import Proxies
from gateway.upstream import Upstream
from gateway.virtual_keys import key_in
from translators.errors import LLMError

POINTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
BUSY_CORES = 0.8  # a load that takes more of its core may be what bounds the rate


def add_to(commands: Any) -> None:
    """Add this command to the command line."""
    about = "measure a gateway: rate, latency, time to first token; CPU and memory of one on this machine"
    bench = command(commands, "bench", about, _bench)
    bench.add_argument("url", metavar="URL", type=_base_url, help="a base URL, such as http://127.0.0.1:4000/v1")
    bench.add_argument("--key", help="a bearer token; else HEADGATE_KEY")
    bench.add_argument("--model", default="demo", help="the model to ask (demo)")
    for name, default, about in (
        ("concurrency", 16, "callers at once"),
        ("requests", 2000, "whole answers at most, one at a time and so many at once"),
        ("streams", 128, "streams at most"),
        ("seconds", 10, "after which a part begins no further request"),
        ("max-completion-tokens", 16, "of each answer"),
    ):
        bench.add_argument(f"--{name}", type=_number, default=default, metavar="N", help=f"{about} ({default})")
    bench.add_argument("--pid", type=_number, metavar="N", help="the gateway's process: its CPU and memory too")
    bench.add_argument("--yes", action="store_true", help="do not ask before asking another machine")
    bench.add_argument("--json", action="store_true", help="print the figures as they are")


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.query
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"must be a base URL such as http://127.0.0.1:4000/v1, not {text!r}")
    return text.rstrip("/")


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 10000000, not {text!r}")
    return int(text)


def _bench(args: argparse.Namespace) -> int:
    if args.pid is not None and not there(args.pid):
        raise LLMError("invalid_request", f"there is no process {args.pid}: --pid is one of this machine, on Linux")
    key = key_in(os.environ, "HEADGATE_KEY") or "" if args.key is None else args.key
    address = Address(args.url, key, args.model, args.max_completion_tokens)
    most = 2 * args.requests + args.streams + 2 * args.concurrency + 2  # the first ones warm up, and are not counted
    print(
        f"{address.url}, model {address.model}: at most {most:,} requests of max_completion_tokens {address.tokens},"
        f" in three parts of about {args.seconds} s at most",
        file=sys.stderr,
        flush=True,
    )
    if not args.yes and not _is_loopback(address.url):
        _ask_leave()
    told = asyncio.run(_measured(address, args))
    print(json.dumps(told, indent=2) if args.json else _page(told))
    return 0


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ask_leave() -> None:
    if not sys.stdin.isatty():
        raise LLMError("invalid_request", "it may cost money, and nobody is here to be asked: add --yes")
    print("It may cost money. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise LLMError("invalid_request", "not measured")


# --- the figures


async def _measured(address: Address, args: argparse.Namespace) -> Json:
    pool = Upstream(args.concurrency, Proxies(os.environ))
    try:
        whole, streams = (Caller(pool, address, streamed=streamed) for streamed in (False, True))
        for caller in (whole, streams):
            await _first(caller, address)
        await whole.load(args.concurrency, 2 * args.concurrency, args.seconds)
        told: Json = {"url": address.url, "model": address.model, "max_completion_tokens": address.tokens}
        for name, caller, concurrency, requests in (
            ("whole_one_at_a_time", whole, 1, args.requests),
            ("whole", whole, args.concurrency, args.requests),
            ("streams", streams, args.concurrency, args.streams),
        ):
            own_s, its_s = time.process_time(), cpu_s(args.pid) if args.pid else 0.0
            seen = await caller.load(concurrency, requests, args.seconds)
            cores = (time.process_time() - own_s) / seen.seconds
            cpu_us = (cpu_s(args.pid) - its_s) / seen.asked * 1e6 if args.pid else None
            told[name] = {"concurrency": concurrency, **_figures(seen), "cpu_us": cpu_us, "load_cores": cores}
    finally:
        await pool.close()
    return told | {"memory_bytes": rss_bytes(args.pid) if args.pid else None}


async def _first(caller: Caller, address: Address) -> None:
    """Asks once, and says plainly what is wrong with the answer. Raises LLMError."""
    try:
        await caller.ask(Seen())
    except Refused as error:
        advice = {
            401: "; --key or HEADGATE_KEY is the bearer token",
            404: f"; is {address.url} the base URL, with its /v1, and `{address.model}` a model there (--model)?",
        }
        told = f"{caller.url} answered {error.status}: {error.message}{advice.get(error.status, '')}"
        raise LLMError("invalid_request", told) from None
    except LLMError as error:
        raise LLMError(error.kind, f"{caller.url} gave no good answer: {error.message}") from None


def _figures(seen: Seen) -> Json:
    return {
        "requests": seen.asked,
        "errors": dict(seen.errors),
        "per_second": len(seen.whole_ms) / seen.seconds,
        "latency_ms": _points(seen.whole_ms),
        "first_token_ms": _points(seen.first_ms),
        "between_tokens_ms": _points(seen.between_ms),
        "overhead_ms": _points(seen.overhead_ms),
    }


def _points(times_ms: Sequence[float]) -> dict[str, float] | None:
    ordered = sorted(times_ms)
    return {name: point(ordered, share) for name, share in POINTS.items()} if ordered else None


# --- as a page


def _page(told: Json) -> str:
    one, many, streams = told["whole_one_at_a_time"], told["whole"], told["streams"]
    at_once = f"{many['concurrency']} at once"
    rows = [
        _row("whole answers, one at a time", one, one["latency_ms"]),
        _row(f"whole answers, {at_once}", many, many["latency_ms"]),
        _row(f"streams, {at_once}: to the first token", streams, streams["first_token_ms"]),
        {"what": "  between two tokens", "points": streams["between_tokens_ms"]},
    ]
    columns: list[tables.Column] = [("", lambda row: row["what"])]
    columns += [("REQUESTS", lambda row: row.get("requests", "")), ("A SECOND", lambda row: row.get("per_second", ""))]
    columns += [(f"{name.upper()} MS", _point(name)) for name in POINTS]
    if told["memory_bytes"] is not None:
        columns.append(("CPU EACH", lambda row: row.get("cpu", "")))
    columns.append(("ERRORS", lambda row: row.get("errors", "")))
    return "\n".join([tables.table(rows, columns), *_notes(told)])


def _row(what: str, part: Json, points: dict[str, float] | None) -> Json:
    cpu_us, errors = part["cpu_us"], part["errors"]
    return {
        "what": what,
        "requests": str(part["requests"]),
        "per_second": f"{part['per_second']:.1f}",
        "points": points,
        "cpu": "-" if cpu_us is None else f"{cpu_us:.0f} µs" if cpu_us < 1000 else f"{cpu_us / 1000:.2f} ms",
        "errors": ", ".join(f"{count} × {why}" for why, count in errors.items()) or "none",
    }


def _point(name: str) -> Any:
    return lambda row: f"{row['points'][name]:.2f}" if row["points"] else "-"


def _notes(told: Json) -> list[str]:
    notes: list[str] = []
    parts = {"one at a time": "whole_one_at_a_time", "at once": "whole", "streams": "streams"}
    own = {name: told[part]["overhead_ms"] for name, part in parts.items() if told[part]["overhead_ms"]}
    if own:
        each = "; ".join(f"{name} {points['p50']:.1f} / {points['p99']:.1f}" for name, points in own.items())
        notes.append(f"its own time as Headgate tells it, p50 / p99 ms: {each}")
    if told["memory_bytes"] is not None:
        notes.append(f"memory: {told['memory_bytes'] / 1e6:.0f} MB")
    if (cores := told["whole"]["load_cores"]) > BUSY_CORES:
        notes.append(f"the load itself took {cores:.0%} of a core: a faster one might see a higher rate")
    return ["", *notes] if notes else []
