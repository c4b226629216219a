"""`headgate keys | teams | users | tags | org`: the holders of caps, made, changed and shown."""

import argparse
import json
import sys
import time
from functools import partial
from typing import Any

from gateway.commands import tables
from gateway.commands.desk import Json, add_where, an_id, command, done, exact_json, json_of, written
from gateway.commands.reports import add_why

CAPS = (
    *("max-budget", "budget-duration", "time-zone", "temp-budget-increase", "temp-budget-expiry", "budgets"),
    *("rpm-limit", "tpm-limit", "rpd-limit", "tpd-limit", "max-parallel-requests", "limits", "metadata"),
)
FIELDS = {  # by kind, the options that are fields of the admin API
    "key": ("alias", "team", "unsupported", "models", "tags", "expires", *CAPS),
    "team": ("alias", "models", "expires", *CAPS),
    "user": CAPS,
    "tag": CAPS,
    "org": CAPS,
}


def add_to(commands: Any) -> None:
    """Add these commands to the command line."""
    _add_records(commands, "key", "virtual keys")
    _add_records(commands, "team", "teams")
    _add_records(commands, "user", "end users' caps and limits")
    _add_records(commands, "tag", "tags' caps and limits")
    _add_org(commands)


def _list(args: argparse.Namespace) -> int:
    given = {"limit": str(args.limit)} | ({"after": args.after} if args.after else {})
    found = done(args, f"list_{args.kind}s", given)
    if not args.json:
        print(tables.records(args.kind, found["data"], time.time()))
        if found["next"]:
            print(f"more: --after {found['next']}", file=sys.stderr)
    return 0


def _create(args: argparse.Namespace) -> int:
    named = {} if args.name is None else {{"user": "user_id"}.get(args.kind, args.kind): args.name}
    return _told(args, done(args, f"create_{args.kind}", named | _given(args)))


def _show(args: argparse.Namespace) -> int:
    return _told(args, done(args, f"show_{args.kind}", {}))


def _update(args: argparse.Namespace) -> int:
    return _told(args, done(args, f"change_{args.kind}", _given(args) | dict.fromkeys(args.clear)))


def _revoke(args: argparse.Namespace) -> int:
    return _told(args, done(args, f"revoke_{args.kind}", {}))


def _rotate(args: argparse.Namespace) -> int:
    return _told(args, done(args, "rotate_key", {"grace_period": args.grace_period}))


def _given(args: argparse.Namespace) -> Json:
    """The body that the options spell: only what was given."""
    values = {name: getattr(args, name.replace("-", "_")) for name in FIELDS[args.kind]}
    return {_field(args.kind, name): value for name, value in values.items() if value is not None}


def _field(kind: str, option: str) -> str:
    """The admin API's name for it, which it may be itself."""
    own = {"alias": f"{kind}_alias", "team": "team_id", "time-zone": "budget_time_zone"}
    own |= {"model": "models", "tag": "tags"}
    return own.get(option, option.replace("-", "_"))


def _told(args: argparse.Namespace, record: Json) -> int:
    if not args.json:
        for name, value in record.items():
            print(f"{name:<22} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
        if "key" in record:
            print("The key is shown this once: keep it.", file=sys.stderr)
    return 0


# --- the options


def _add_records(commands: Any, kind: str, about: str) -> None:
    parser = commands.add_parser(f"{kind}s", help=about, description=f"{about}: list, create, show, update, revoke")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    listed = command(verbs, "list", f"the {kind}s and what they have spent", _list)
    listed.add_argument("--limit", type=int, default=100)
    listed.add_argument("--after", metavar="ID", help="those behind this one")
    created = command(verbs, "create", f"make a {kind}", _create)
    shown = command(verbs, "show", f"one {kind}", _show)
    updated = command(verbs, "update", f"change what is given of a {kind}", _update)
    of_everyone = kind in ("user", "tag")
    end = "take a {kind}'s own caps away: it falls back to those of *" if of_everyone else "refuse a {kind} for good"
    revoked = command(verbs, "revoke", end.format(kind=kind), _revoke)
    with_id = [shown, updated, revoked]
    if of_everyone:
        created.add_argument("name", metavar="ID", type=written, help=f"as callers name it; *: every other {kind}")
    else:
        created.set_defaults(name=None)
    if kind == "key":
        rotated = command(verbs, "rotate", "replace a key's token", _rotate)
        rotated.add_argument("--grace-period", default="24h", help="how long the old token stays good (24h)")
        with_id.append(rotated)
        add_why(verbs)
    for verb in with_id:
        verb.add_argument("id", metavar="ID", type=an_id, help=None if of_everyone else "or its alias")
    for verb in (created, updated):
        _add_fields(verb, kind)
    _add_clear(updated, kind)
    for verb in (listed, created, *with_id):
        verb.set_defaults(kind=kind)
        add_where(verb)


def _add_org(commands: Any) -> None:
    about = "the organisation's caps and limits"
    parser = commands.add_parser("org", help=about, description=f"{about}: show, update")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    shown = command(verbs, "show", "the organisation", _show)
    updated = command(verbs, "update", "change what is given of the organisation", _update)
    _add_fields(updated, "org")
    _add_clear(updated, "org")
    for verb in (shown, updated):
        verb.set_defaults(kind="org", id="")
        add_where(verb)


def _add_clear(verb: argparse.ArgumentParser, kind: str) -> None:
    fields = [_field(kind, option) for option in FIELDS[kind]]
    about = f"{', '.join(fields)}; may be repeated"
    verb.add_argument(
        "--clear", action="append", default=[], type=partial(_field, kind), choices=fields, metavar="FIELD", help=about
    )


def _add_fields(verb: argparse.ArgumentParser, kind: str) -> None:
    if kind in ("key", "team"):
        verb.add_argument("--alias")
        verb.add_argument("--model", action="append", dest="models", metavar="PATTERN", help="may be repeated")
        verb.add_argument("--expires", metavar="TIME", help="ISO 8601 with a zone")
    if kind == "key":
        verb.add_argument("--team", metavar="ID", help="the team whose caps apply too, or its alias")
        verb.add_argument("--tag", action="append", dest="tags", help="its requests count for it; may be repeated")
        what = "what becomes of parameters that a provider has no word for; else as the route or provider has it"
        verb.add_argument("--unsupported", choices=("refuse", "report"), help=what)
    verb.add_argument("--max-budget", metavar="USD")
    verb.add_argument("--budget-duration", metavar="1d", help="1h, 1d, 1w, 1mo …; without it: the total")
    verb.add_argument("--time-zone", metavar="NAME", help="of the calendar that this window keeps to: Europe/Berlin …")
    verb.add_argument("--temp-budget-increase", metavar="USD", help="on top of --max-budget for a time")
    verb.add_argument("--temp-budget-expiry", metavar="TIME", help="until then: ISO 8601 with a zone")
    verb.add_argument("--budgets", type=exact_json, metavar="JSON", help="more caps, as the admin API has them")
    verb.add_argument("--rpm-limit", type=int, metavar="N", help="requests a minute")
    verb.add_argument("--tpm-limit", type=int, metavar="N", help="tokens a minute, input and output")
    verb.add_argument("--rpd-limit", type=int, metavar="N", help="requests in 24 hours")
    verb.add_argument("--tpd-limit", type=int, metavar="N", help="tokens in 24 hours, input and output")
    verb.add_argument("--max-parallel-requests", type=int, metavar="N", help="requests at once")
    verb.add_argument("--limits", type=json_of, metavar="JSON", help="for some models only, as the admin API has them")
    verb.add_argument("--metadata", type=json_of, metavar="JSON")
