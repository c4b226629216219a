"""`headgate usage | audit | reconcile`, and `headgate keys why`: what was spent, that it adds up, what refuses."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from gateway.commands import charts, tables
from gateway.commands.desk import Json, add_where, an_id, answered, command, done, written
from gateway.commands.export import Kind, export
from gateway.reports.provider_reports import COST, Provider, Stated, read
from gateway.reports.reconcile import Difference, compare, span, total
from gateway.reports.report_forms import BY_TEXT
from gateway.virtual_keys import NANO
from translators.errors import LLMError


def add_to(commands: Any) -> None:
    """Add these commands to the command line."""
    _add_usage(commands)
    audit = command(commands, "audit", "prove that the journal, the counters, the holds and the caps agree", _audit)
    add_where(audit)
    audit.set_defaults(failed=2)  # 1 says that it is not clean
    _add_reconcile(commands)


def add_why(verbs: Any) -> None:
    """`headgate keys why`."""
    why = command(verbs, "why", "why a request by a key would be refused now", _why)
    why.add_argument("id", metavar="ID", type=an_id, help="or its alias")
    why.add_argument("--model", help="as a caller would ask for it; else the caps of every model are listed")
    why.add_argument("--target", help="the provider/model that it leads to first: a cap may be about that one's name")
    why.add_argument("--user", help="the end user it would be for")
    why.add_argument("--tag", help="one more tag beside the key's own")
    add_where(why)


# --- usage


def _usage(args: argparse.Namespace) -> int:
    by = args.by.split(",") if args.by else []
    asked = _selection(args) | ({"by": args.by} if args.by else {})
    for kind in FILES:
        if (path := getattr(args, kind)) is not None:
            export(args.url, kind, path, asked)
            return 0
    asked["limit"] = str(args.limit if args.limit is not None else 0 if by else 20)
    drawn = bool(by) and not args.json and sys.stdout.isatty()
    if drawn:
        asked["by"] = ",".join(charts.to_ask(by))
    found = done(args, "usage", asked)
    if not args.json:
        rows = charts.charted(by, found["groups"], found["spend_usd"]) if drawn else found["groups"]
        _tell_usage(by, rows, found)
    return 0


FILES: tuple[Kind, ...] = get_args(Kind)


def _selection(args: argparse.Namespace) -> dict[str, str]:
    key = "key_id" if (args.key or "").startswith("key_") else "key_alias"
    asked = {key: args.key, "team_id": args.team, "end_user": args.user, "tag": args.tag, "model": args.model}
    asked |= {"from": args.start, "to": args.end}
    return {name: value for name, value in asked.items() if value is not None}


def _tell_usage(by: Sequence[str], rows: Sequence[Json], found: Json) -> None:
    if by:
        print(tables.groups(by, rows), end="\n\n")
    if found["entries"]:
        print(tables.entries(found["entries"]), end="\n\n")
    print(f"spent {found['spend_usd']} USD in {found['requests']} requests; held now {found['held_usd']} USD")
    for day in found["approximate_days"]:
        print(f"of {day}, which is cut, only sums are kept: they count where it begins", file=sys.stderr)


def _add_usage(commands: Any) -> None:
    usage = command(commands, "usage", "what was spent", _usage)
    usage.add_argument("--by", help=BY_TEXT)
    usage.add_argument("--from", dest="start", metavar="TIME", help="a date (UTC) or ISO 8601 with a zone")
    usage.add_argument("--to", dest="end", metavar="TIME", help="likewise, exclusive")
    usage.add_argument("--key", metavar="ALIAS", help="or its id")
    usage.add_argument("--team", metavar="ID", help="or its alias")
    usage.add_argument("--user", help="the end user")
    usage.add_argument("--tag")
    usage.add_argument("--model")
    usage.add_argument("--limit", type=int, help="how many entries to list, newest first (20; 0 with --by)")
    files = usage.add_mutually_exclusive_group()
    for kind in FILES:
        needs = " (needs the extra parquet)" if kind == "parquet" else ""
        about = f"write the entries, or with --by the groups, to FILE as {kind}{needs}; - is standard output"
        files.add_argument(f"--{kind}", metavar="FILE", type=written, help=about)
    add_where(usage)


# --- audit, why


def _audit(args: argparse.Namespace) -> int:
    found = done(args, "audit", {})
    if not args.json:
        for finding in found["findings"]:
            print(tables.plain(f"WRONG  {finding['what']}  {finding['name']}: {finding['message']}"))
        for overrun in found["overruns"]:
            print(tables.plain(f"overrun  {overrun['at'] or ''}  {overrun['name']}: {overrun['message']}"))
        checked = found["checked"]
        counts = ", ".join(f"{checked[name]} {name}" for name in ("entries", "counters", "holds", "slots", "records"))
        verdict = "clean" if found["clean"] else f"NOT CLEAN: {len(found['findings'])} findings"
        print(f"{verdict}; checked {counts}; spent {checked['spent_usd']} USD, {checked['folded_usd']} of it folded")
    return 0 if found["clean"] else 1


def _why(args: argparse.Namespace) -> int:
    asked = {name: value for name in ("model", "target", "user", "tag") if (value := getattr(args, name)) is not None}
    found = done(args, "why", asked)
    if not args.json:
        print(tables.plain(found["verdict"]))
        for rows, shown in ((found["caps"], tables.caps), (found["limits"], tables.limits)):
            if rows:
                print(f"\n{shown(rows)}")
        held_by = {row["request_id"]: row for one in (*found["caps"], *found["limits"]) for row in one["held_by"]}
        if held_by:
            print(f"\n{tables.holds(list(held_by.values()))}")
    return 0


# --- reconcile


def _reconcile(args: argparse.Namespace) -> int:
    stated = [line for path in args.files for line in read(args.provider, _text(path))]
    stated = [line for line in stated if (args.start or "") <= line.day < (args.end or "9999")]
    if not stated:
        raise LLMError("invalid_request", "the export tells of no day in that time")
    first, last = span(stated)
    end = (date.fromisoformat(last) + timedelta(days=1)).isoformat()
    found = answered(args, "usage", {"by": "day,target", "from": first, "to": end, "limit": "0"})
    differences = compare(found["groups"], stated, args.name or args.provider)
    beyond = sum(one.beyond(args.tolerance) for one in differences)
    told = _told(differences, args.tolerance)
    if args.json:
        print(json.dumps({"differs": beyond > 0, "beyond": beyond, "differences": told}, indent=2, ensure_ascii=False))
    else:
        _tell_reconciled(told, differences, beyond, _kinds(stated), args.tolerance)
    return 1 if beyond else 0


def _text(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LLMError("invalid_request", f"{path} cannot be read: {error}") from None


def _kinds(stated: Sequence[Stated]) -> str:
    return " and ".join(sorted({f"{line.about}s" if line.about == "cost" else line.about for line in stated}))


def _told(differences: Sequence[Difference], tolerance: Decimal) -> list[Json]:
    return [
        {
            "mark": "✗" if one.beyond(tolerance) else "",
            "day": one.day,
            "model": one.model,
            "measure": _measure(one.measure),
            "ours": _figure(one.measure, one.ours),
            "theirs": _figure(one.measure, one.theirs),
            "difference": _figure(one.measure, one.ours - one.theirs),
            "percent": "" if one.percent is None else f"{one.percent:.2f}",
            "note": f"missing {one.missing}" if one.missing else "",
        }
        for one in differences
    ]


def _measure(measure: str) -> str:
    return "cost_usd" if measure == COST else measure


def _figure(measure: str, amount: Decimal) -> str:
    return f"{amount / NANO:.6f}" if measure == COST else f"{amount:.0f}"


def _tell_reconciled(
    told: Sequence[Json], differences: Sequence[Difference], beyond: int, kinds: str, tolerance: Decimal
) -> None:
    if told:
        print(tables.differences(told), end="\n\n")
    for measure, (ours, theirs) in total(differences).items():
        print(f"{_measure(measure)}: ours {_figure(measure, ours)}, theirs {_figure(measure, theirs)}")
    verdict = f"{beyond} of {len(told)} figures differ" if beyond else f"all {len(told)} figures agree"
    print(f"{verdict} by more than {tolerance} % ({kinds})" if beyond else f"{verdict} within {tolerance} % ({kinds})")


def _add_reconcile(commands: Any) -> None:
    about = "compare what was billed with a provider's usage or cost export, by day and model"
    reconcile = command(commands, "reconcile", about, _reconcile)
    reconcile.set_defaults(failed=2)  # 1 says that figures differ
    reconcile.add_argument("files", metavar="FILE", nargs="+", help="JSON of its API or CSV; - is standard input")
    reconcile.add_argument("--provider", required=True, choices=get_args(Provider), help="whose export it is")
    reconcile.add_argument("--name", help="what routes.yaml calls the provider (as --provider)")
    reconcile.add_argument("--from", dest="start", metavar="DATE", type=_day, help="UTC")
    reconcile.add_argument("--to", dest="end", metavar="DATE", type=_day, help="exclusive")
    reconcile.add_argument("--tolerance", metavar="PERCENT", type=_percent, default=Decimal(1), help="1 if not given")
    add_where(reconcile)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a date such as 2026-11-20, not {text!r}") from None


def _percent(text: str) -> Decimal:
    try:
        percent = Decimal(text)
    except InvalidOperation:
        percent = Decimal(-1)
    if not percent.is_finite() or percent < 0:
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, not {text!r}")
    return percent
