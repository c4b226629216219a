"""The command `headgate`. Keys, teams and usage work on the store directly, or by URL on a running gateway."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway import tables
from gateway.ledger.opening import store_of
from gateway.ledger.store import StoreDown
from gateway.operations import OPERATIONS, answer
from translators.errors import LLMError

Json = dict[str, Any]
CLEARED = ("alias", "team", "unsupported", "models", "max-budget", "budget-duration", "budgets", "expires", "metadata")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit status: 0, 1 for what could not be done, and argparse's 2 for bad usage."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except LLMError as error:
        print(f"headgate: {error.message}", file=sys.stderr)
    except StoreDown as error:
        print(f"headgate: the store does not answer: {error}", file=sys.stderr)
    return 1


# --- serve, check, explain


def _serve(args: argparse.Namespace) -> int:
    from gateway.config import ConfigErrors  # imported here: the other commands need none of the server
    from gateway.serve import serve

    try:
        serve(host=args.host, port=args.port, workers=args.workers, routes=args.routes, pricing=args.pricing)
    except ConfigErrors as faults:
        return _broken(faults.faults)
    return 0


def _check(args: argparse.Namespace) -> int:
    from gateway.config import ConfigErrors, load

    try:
        config = load(args.routes, args.pricing, None, os.environ)
    except ConfigErrors as faults:
        return _broken(faults.faults)
    settings = config.settings
    on = [name for name in settings.providers if name not in config.off]
    counted = f"{len(settings.routes)} routes, {len(list(config.prices))} prices, {len(list(config.facts))} models"
    print(f"ok: {counted}; providers on: {', '.join(on)}")
    for name, variable in config.off.items():
        print(f"off: {name} ({variable} is not set)")
    return 0


def _explain(args: argparse.Namespace) -> int:
    try:
        chat = json.loads(sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LLMError("invalid_request", f"{args.file} cannot be read as JSON: {error}") from None
    if args.model and isinstance(chat, dict):
        chat["model"] = args.model
    told = asyncio.run(_explained_there(args.url, chat) if args.url else _explained_here(args, chat))
    print(json.dumps(told, indent=2, ensure_ascii=False))
    return 0


async def _explained_there(url: str, chat: Json) -> Json:
    from gateway.fetch import admin_call

    key = os.environ.get("HEADGATE_KEY")
    if not key:
        raise LLMError("authentication", f"set HEADGATE_KEY to a virtual key of {url}")
    told: Json = await admin_call(url, key, "POST", "/v1/chat/completions", {"dry_run": "1"}, chat)
    return told


async def _explained_here(args: argparse.Namespace, chat: Json) -> Json:
    from gateway.config import ConfigErrors, load
    from gateway.explain import explained_by

    try:
        config = load(args.routes, args.pricing, None, os.environ)
    except ConfigErrors as faults:
        raise LLMError("invalid_request", f"the configuration is broken:\n{faults}") from None
    return explained_by(config, json.dumps(chat).encode())


def _broken(faults: Sequence[object]) -> int:
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1


# --- keys, teams, usage


def _list(args: argparse.Namespace) -> int:
    given = {"limit": str(args.limit)} | ({"after": args.after} if args.after else {})
    found = _done(args, f"list_{args.kind}s", given)
    if not args.json:
        print(tables.records(args.kind, found["data"]))
        if found["next"]:
            print(f"more: --after {found['next']}", file=sys.stderr)
    return 0


def _create(args: argparse.Namespace) -> int:
    return _told(args, _done(args, f"create_{args.kind}", _given(args)))


def _show(args: argparse.Namespace) -> int:
    return _told(args, _done(args, f"show_{args.kind}", {}))


def _update(args: argparse.Namespace) -> int:
    cleared = {_field(args.kind, name.replace("-", "_")): None for name in args.clear}
    return _told(args, _done(args, f"change_{args.kind}", _given(args) | cleared))


def _revoke(args: argparse.Namespace) -> int:
    return _told(args, _done(args, f"revoke_{args.kind}", {}))


def _rotate(args: argparse.Namespace) -> int:
    return _told(args, _done(args, "rotate_key", {"grace_period": args.grace_period}))


def _usage(args: argparse.Namespace) -> int:
    key = "key_id" if (args.key or "").startswith("key_") else "key_alias"
    limit = args.limit if args.limit is not None else 0 if args.by else 20
    asked = {key: args.key, "team_id": args.team, "model": args.model, "by": args.by, "limit": str(limit)}
    asked |= {"from": args.start, "to": args.end}
    found = _done(args, "usage", {name: value for name, value in asked.items() if value is not None})
    if args.json:
        return 0
    if args.by:
        print(tables.groups(args.by.split(","), found["groups"]), end="\n\n")
    if found["entries"]:
        print(tables.entries(found["entries"]), end="\n\n")
    print(f"spent {found['spend_usd']} USD in {found['requests']} requests; held now {found['held_usd']} USD")
    return 0


def _given(args: argparse.Namespace) -> Json:
    """The body that the options spell: only what was given."""
    names = [name.replace("-", "_") for name in CLEARED]
    values = {name: getattr(args, name, None) for name in names}
    return {_field(args.kind, name): value for name, value in values.items() if value is not None}


def _field(kind: str, name: str) -> str:
    return {"alias": f"{kind}_alias", "team": "team_id"}.get(name, name)


def _told(args: argparse.Namespace, record: Json) -> int:
    if not args.json:
        for name, value in record.items():
            print(f"{name:<16} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
        if "key" in record:
            print("The key is shown this once: keep it.", file=sys.stderr)
    return 0


def _done(args: argparse.Namespace, operation: str, given: Json) -> Json:
    """What the operation answers, printed as it is when JSON is asked for."""
    id = getattr(args, "id", "")
    answered = asyncio.run(_by_url(args.url, operation, id, given) if args.url else _directly(operation, id, given))
    if args.json:
        print(json.dumps(answered, indent=2, ensure_ascii=False))
    return answered


async def _by_url(url: str, name: str, id: str, given: Json) -> Json:
    from gateway.fetch import admin_call

    admin_key = os.environ.get("HEADGATE_ADMIN_KEY")
    if not admin_key:
        raise LLMError("authentication", f"set HEADGATE_ADMIN_KEY to the admin key of {url}")
    operation = OPERATIONS[name]
    path = operation.path.replace("{id}", quote(id, safe=""))
    query, body = ({}, given) if operation.has_body else (given, None)
    answered: Json = await admin_call(url, admin_key, operation.method, path, query, body)
    return answered


async def _directly(name: str, id: str, given: Json) -> Json:
    store = store_of(os.environ)
    await store.open()
    try:
        return await answer(OPERATIONS[name], store, time.time(), id, given)
    finally:
        await store.close()


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
    serve = _command(commands, "serve", "run the gateway", _serve)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_between(1, 65_535), default=4000)
    serve.add_argument("--workers", type=_between(1, 256), default=1, help="processes")
    check = _command(commands, "check", "say what is wrong in the configuration, without starting", _check)
    explain = _command(commands, "explain", "what would be sent for a request, and the most it could cost", _explain)
    explain.add_argument("file", metavar="FILE", help="a chat completion's body, JSON; - reads it from standard input")
    explain.add_argument("--model", help="in place of the file's")
    explain.add_argument(
        "--url", default=os.environ.get("HEADGATE_URL"), help="a running gateway, with HEADGATE_KEY; else this computer"
    )
    for command in (serve, check, explain):
        command.add_argument("--routes", type=Path, help="a routes.yaml in place of the default")
        command.add_argument("--pricing", type=Path, help="a pricing.yaml in place of the default")
    _add_records(commands, "key", "virtual keys")
    _add_records(commands, "team", "teams")
    _add_usage(commands)
    return parser


def _command(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    return parser


def _add_records(commands: Any, kind: str, about: str) -> None:
    parser = commands.add_parser(f"{kind}s", help=about, description=f"{about}: list, create, show, update, revoke")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    listed = _command(verbs, "list", f"the {kind}s and what they have spent", _list)
    listed.add_argument("--limit", type=int, default=100)
    listed.add_argument("--after", metavar="ID", help="those behind this one")
    created = _command(verbs, "create", f"make a {kind}", _create)
    shown = _command(verbs, "show", f"one {kind}", _show)
    updated = _command(verbs, "update", f"change what is given of a {kind}", _update)
    revoked = _command(verbs, "revoke", f"refuse a {kind} from now on, for good", _revoke)
    with_id = [shown, updated, revoked]
    if kind == "key":
        rotated = _command(verbs, "rotate", "replace a key's token", _rotate)
        rotated.add_argument("--grace-period", default="24h", help="how long the old token stays good (24h)")
        with_id.append(rotated)
    for command in with_id:
        command.add_argument("id", type=_id)
    for command in (created, updated):
        _add_fields(command, kind)
    updated.add_argument("--clear", action="append", default=[], choices=CLEARED, help="may be repeated")
    for command in (listed, created, *with_id):
        command.set_defaults(kind=kind)
        _add_where(command)


def _add_fields(command: argparse.ArgumentParser, kind: str) -> None:
    command.add_argument("--alias")
    if kind == "key":
        command.add_argument("--team", metavar="ID", help="the team whose caps apply too")
        what = "what becomes of parameters that a provider has no word for; else as the route or provider has it"
        command.add_argument("--unsupported", choices=("refuse", "report"), help=what)
    command.add_argument("--model", action="append", dest="models", metavar="PATTERN", help="may be repeated")
    command.add_argument("--max-budget", metavar="USD")
    command.add_argument("--budget-duration", metavar="1d", help="1h, 1d, 1w, 1mo …; without it: the total")
    command.add_argument("--budgets", type=_exact_json, metavar="JSON", help="more caps, as the admin API has them")
    command.add_argument("--expires", metavar="TIME", help="ISO 8601 with a zone")
    command.add_argument("--metadata", type=_json, metavar="JSON")


def _add_usage(commands: Any) -> None:
    command = _command(commands, "usage", "what was spent", _usage)
    command.add_argument("--by", help="key, team, model, day, provider: one or several, with commas between")
    command.add_argument("--from", dest="start", metavar="TIME", help="a date (UTC) or ISO 8601 with a zone")
    command.add_argument("--to", dest="end", metavar="TIME", help="likewise, exclusive")
    command.add_argument("--key", metavar="ALIAS", help="or its id")
    command.add_argument("--team", metavar="ID")
    command.add_argument("--model")
    command.add_argument("--limit", type=int, help="how many entries to list, newest first (20; 0 with --by)")
    _add_where(command)


def _add_where(command: argparse.ArgumentParser) -> None:
    about = "a running gateway, with HEADGATE_ADMIN_KEY; else the store at REDIS_URL or HEADGATE_DATA"
    command.add_argument("--url", default=os.environ.get("HEADGATE_URL"), help=about)
    command.add_argument("--json", action="store_true", help="print the answer as it is")


def _id(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from None


def _exact_json(text: str) -> Any:
    """JSON whose fractions stay as they are written: amounts are exact."""
    _json(text)
    return json.loads(text, parse_float=str)
