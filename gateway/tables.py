"""What the command line prints for people: columns of text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """A header and one line a row, each column as wide as its widest cell. Control characters are shown as `?`."""
    cells = [[name for name, _ in columns], *([_plain(cell(row)) for _, cell in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def records(kind: str, rows: Sequence[Row]) -> str:
    """Keys or teams (`kind`), one a line."""
    team: list[Column] = [("TEAM", _field("team_id"))] if kind == "key" else []
    columns: list[Column] = [
        ("ID", _field("id")),
        ("ALIAS", _field(f"{kind}_alias")),
        *team,
        ("SPENT USD", _field("spend_usd")),
        ("HELD USD", _field("held_usd")),
        ("CAPS", _caps),
        ("MODELS", lambda row: ",".join(row["models"]) or "all"),
        ("EXPIRES", _field("expires")),
        ("STATE", lambda row: "revoked" if row["revoked"] else "live"),
    ]
    return table(rows, columns)


def groups(by: Sequence[str], rows: Sequence[Row]) -> str:
    """A usage report's groups."""
    named = {"key": ["key_id", "key_alias"], "team": ["team_id"]}
    fields = [field for name in by for field in named.get(name, [name])]
    named_columns: list[Column] = [(field.upper().replace("_", " "), _field(field)) for field in fields]
    sums: list[Column] = [("SPENT USD", _field("spend_usd")), ("REQUESTS", _field("requests")), ("TOKENS", _tokens)]
    return table(rows, [*named_columns, *sums])


def entries(rows: Sequence[Row]) -> str:
    """A usage report's entries."""
    columns: list[Column] = [
        ("AT", _field("at")),
        ("REQUEST", _field("request_id")),
        ("KEY", lambda row: row["key_alias"] or row["key_id"]),
        ("MODEL", _field("model")),
        ("TARGET", _field("target")),
        ("COST USD", lambda row: row["cost_usd"] + (" ~" if row["estimated"] else "")),
        ("TOKENS", _tokens),
        ("ENDING", _field("ending")),
    ]
    return table(rows, columns)


def _field(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row.get(name) in (None, "") else str(row[name])


def _caps(row: Row) -> str:
    return " ".join(f"{cap['max_budget']}/{cap['budget_duration'] or 'total'}" for cap in row["windows"]) or "none"


def _tokens(row: Row) -> str:
    return " ".join(f"{name.removesuffix('_tokens')}={amount}" for name, amount in row["tokens"].items()) or "-"


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
