"""The command `headgate`: what serves, checks and explains; the others are in `commands`."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.commands import bench, prices, records, reports
from gateway.commands.desk import Json, command
from gateway.ledger.store import StoreDown
from gateway.virtual_keys import key_in
from translators.errors import LLMError

FILES = ("routes", "pricing", "models")
PIPE_BROKE = 128 + 13  # what a shell tells of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit status: 0, 1 for what could not be done, and argparse's 2 for bad usage.

    A command whose 1 is an answer (`audit`, `reconcile`) has 2 for both; one whose reader went away, a shell's for
    SIGPIPE.
    """
    args = _parser().parse_args(argv)
    try:
        status = int(args.run(args))
        sys.stdout.flush()  # here, where a reader that went away is no traceback
        return status
    except BrokenPipeError:
        _hush()
        return PIPE_BROKE
    except LLMError as error:
        print(f"headgate: {error.message}", file=sys.stderr)
    except StoreDown as error:
        print(f"headgate: the store does not answer: {error}", file=sys.stderr)
    except OSError as error:  # a file that may not be read, a disk that is full
        print(f"headgate: {error}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _hush()
    return int(args.failed)


def _hush() -> None:
    """What standard output still holds goes nowhere, for the flush at exit (docs.python.org, signal)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- serve, check, explain


def _files(args: argparse.Namespace) -> tuple[Path | None, Path | None, Path | None]:
    """routes.yaml, pricing.yaml and models.yaml, as given or as the environment names them; None: the default."""
    from gateway.config import files_in

    routes, pricing, models = files_in(os.environ)
    return args.routes or routes, args.pricing or pricing, args.models or models


def _serve(args: argparse.Namespace) -> int:
    from gateway.config import ConfigErrors  # imported here: the other commands need none of the server
    from gateway.serve import serve

    try:
        serve(args.host, args.port, args.workers, *_files(args))
    except ConfigErrors as faults:
        return _broken(faults.faults)
    return 0


def _check(args: argparse.Namespace) -> int:
    from gateway.config import ConfigErrors, load
    from gateway.routing import never_asked

    try:
        config = load(*_files(args), os.environ)
    except ConfigErrors as faults:
        return _broken(faults.faults)
    settings = config.settings
    on = [name for name in settings.providers if name not in config.off]
    counted = f"{len(settings.routes)} routes, {len(list(config.prices))} prices, {len(list(config.facts))} models"
    print(f"ok: {counted}; providers on: {', '.join(on)}")
    for name, variable in config.off.items():
        print(f"off: {name} ({variable} is not set)")
    for warning in never_asked(config):
        print(f"warning: {warning}")
    return 0


def _explain(args: argparse.Namespace) -> int:
    files = any(path is not None for path in (args.routes, args.pricing, args.models))  # mean here, not HEADGATE_URL
    if files and args.url:
        args.misused("argument --url: not allowed with --routes, --pricing or --models: a running gateway has its own")
    url = args.url or (None if files else os.environ.get("HEADGATE_URL"))
    try:
        chat = json.loads(sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LLMError("invalid_request", f"{args.file} cannot be read as JSON: {error}") from None
    if args.model and isinstance(chat, dict):
        chat["model"] = args.model
    told = asyncio.run(_explained_there(url, chat) if url else _explained_here(args, chat))
    print(json.dumps(told, indent=2, ensure_ascii=False))
    return 0


async def _explained_there(url: str, chat: Json) -> Json:
    from gateway.fetch import admin_call

    key = key_in(os.environ, "HEADGATE_KEY")
    if key is None:
        raise LLMError("authentication", f"set HEADGATE_KEY to a virtual key of {url}")
    told: Json = await admin_call(url, key, "POST", "/v1/chat/completions", {"dry_run": "1"}, chat)
    return told


async def _explained_here(args: argparse.Namespace, chat: Json) -> Json:
    from gateway.config import ConfigErrors, load
    from gateway.explain import explained_by

    try:
        config = load(*_files(args), os.environ)
    except ConfigErrors as faults:
        raise LLMError("invalid_request", f"the configuration is broken:\n{faults}") from None
    # as a client sends it: escapes would count as more of a prompt than its text does
    return explained_by(config, json.dumps(chat, ensure_ascii=False).encode(errors="surrogatepass"))


def _broken(faults: Sequence[object]) -> int:
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1


# --- the options


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}, not {text!r}")
        return int(text)

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headgate", description="An OpenAI-compatible gateway with hard budgets.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = command(commands, "serve", "run the gateway", _serve)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_between(1, 65_535), default=4000)
    serve.add_argument("--workers", type=_between(1, 256), default=1, help="processes")
    check = command(commands, "check", "say what is wrong in the configuration, without starting", _check)
    explain = command(commands, "explain", "what would be sent for a request, and the most it could cost", _explain)
    explain.add_argument("file", metavar="FILE", help="a chat completion's body, JSON; - reads it from standard input")
    explain.add_argument("--model", help="in place of the file's")
    about = "a running gateway, with HEADGATE_KEY (without files HEADGATE_URL); else this computer"
    explain.add_argument("--url", help=about)
    explain.set_defaults(misused=explain.error)
    for one in (serve, check, explain):
        for name in FILES:
            one.add_argument(f"--{name}", type=Path, help=f"a {name}.yaml in place of the default")
    records.add_to(commands)
    reports.add_to(commands)
    prices.add_to(commands)
    bench.add_to(commands)
    return parser
