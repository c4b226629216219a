"""`headgate prices diff`: the prices in force beside a newer collection of facts."""

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.commands import tables
from gateway.commands.desk import command
from translators.errors import LLMError


def add_to(commands: Any) -> None:
    """Add these commands to the command line."""
    about = "the prices in force"
    verbs = commands.add_parser("prices", help=about, description=f"{about}: diff").add_subparsers(
        required=True, metavar="VERB"
    )
    diff = command(verbs, "diff", "what a newer collection of model facts says of the prices in force", _diff)
    diff.add_argument("file", metavar="FILE", type=Path, help="LiteLLM's model_prices_and_context_window.json")
    given = os.environ.get("HEADGATE_PRICING") or None
    diff.add_argument("--pricing", type=Path, default=given, help="a pricing.yaml in place of the default")
    diff.add_argument("--json", action="store_true", help="print the answer as it is")


def _diff(args: argparse.Namespace) -> int:
    from gateway.config import ConfigErrors, load
    from gateway.prices import diff, fact_rows  # imported here: nothing else needs them

    try:
        facts = fact_rows.listed(args.file.read_text(encoding="utf-8"))
        ours = dict(load(None, args.pricing, None, os.environ).prices)
        found = diff.difference(ours, fact_rows.rows(facts), datetime.now(UTC))
    except ConfigErrors as faults:
        raise LLMError("invalid_request", f"the configuration is broken:\n{faults}") from None
    except (OSError, ValueError) as error:
        raise LLMError("invalid_request", f"{args.file} cannot be read as model facts: {error}") from None
    told = diff.told(found) | {"unknown": fact_rows.unknown(facts)}
    print(json.dumps(told, indent=2) if args.json else _page(told))
    return 0


def _page(told: dict[str, Any]) -> str:
    """What changed, what is gone and what is new, each as a table."""
    rates: list[tables.Column] = [
        ("CHANGED", lambda row: row["name"]),
        ("RATE", lambda row: row["rate"]),
        ("OLD", lambda row: row["old"] or "-"),
        ("NEW", lambda row: row["new"] or "-"),
        ("%", lambda row: f"{float(row['percent']):+g}" if row["percent"] else "-"),
    ]
    new: list[tables.Column] = [
        ("NEW", lambda row: row["name"]),
        ("INPUT", lambda row: row["rates"].get("input", "-")),
        ("OUTPUT", lambda row: row["rates"].get("output", "-")),
    ]
    gone: list[tables.Column] = [("GONE", lambda row: row["name"])]
    unknown: list[tables.Column] = [("NOT UNDERSTOOD", lambda row: row["field"]), ("OF", lambda row: row["model"])]
    parts = (
        (told["changed"], rates),
        ([{"name": name} for name in told["gone"]], gone),
        (told["new"], new),
        ([{"field": field, "model": model} for field, model in told["unknown"].items()], unknown),
    )
    counted = f"{len(told['changed'])} rates changed, {len(told['gone'])} rows gone, {len(told['new'])} new"
    return "\n\n".join([*(tables.table(rows, columns) for rows, columns in parts if rows), counted])
