"""What the command line prints for people: columns of text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """A header and one line a row, each column as wide as its widest cell. Control characters are shown as `?`."""
    cells = [[name for name, _ in columns], *([plain(cell(row)) for _, cell in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def records(kind: str, rows: Sequence[Row], now_s: float) -> str:
    """Keys, teams, users or tags (`kind`), one a line."""
    own: dict[str, list[Column]] = {
        "key": [("ALIAS", _field("key_alias")), ("TEAM", _field("team_id"))],
        "team": [("ALIAS", _field("team_alias"))],
    }
    columns: list[Column] = [
        ("ID", _field("id")),
        *own.get(kind, []),
        ("SPENT USD", _field("spend_usd")),
        ("HELD USD", _field("held_usd")),
        ("CAPS", _caps),
        ("LIMITS", _limits),
    ]
    if kind in own:
        columns += [("MODELS", lambda row: ",".join(row["models"]) or "all"), ("EXPIRES", _field("expires"))]
    return table(rows, [*columns, ("STATE", partial(_state, now_s))])


def groups(by: Sequence[str], rows: Sequence[Row]) -> str:
    """A usage report's groups; where they come with a share and a trend, these too."""
    named = {"key": ["key_id", "key_alias"], "team": ["team_id"], "user": ["end_user"]}
    fields = [field for name in by for field in named.get(name, [name])]
    named_columns: list[Column] = [(field.upper().replace("_", " "), _field(field)) for field in fields]
    sums: list[Column] = [("SPENT USD", _field("spend_usd"))]
    sums += [(name.upper(), _field(name)) for name in ("share", "trend") if rows and name in rows[0]]
    return table(rows, [*named_columns, *sums, ("REQUESTS", _field("requests")), ("TOKENS", _tokens)])


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


def caps(rows: Sequence[Row]) -> str:
    """What `why` says of the caps over a request."""
    columns: list[Column] = [
        ("", _blocks),
        ("CAP ON", _field("scope")),
        ("WINDOW", lambda row: row["window"] + (" (soft)" if row["soft"] else "")),
        ("CAP USD", _field("cap_usd")),
        ("SPENT USD", _field("spent_usd")),
        ("HELD USD", _field("held_usd")),
        ("LEFT USD", _field("left_usd")),
        ("FREES", lambda row: row["frees"] or "never"),
    ]
    return table(rows, columns)


def limits(rows: Sequence[Row]) -> str:
    """What `why` says of the limits over a request."""
    columns: list[Column] = [
        ("", _blocks),
        ("LIMIT ON", _field("scope")),
        ("OF", _field("measure")),
        ("LIMIT", _field("limit")),
        ("USED", _field("used")),
        ("EMPTY IN", lambda row: f"{row['empty_in_s']:.0f} s" if row["used"] and row["measure"] != "parallel" else "-"),
    ]
    return table(rows, columns)


def holds(rows: Sequence[Row]) -> str:
    """Who holds what."""
    columns: list[Column] = [
        ("HELD BY", _field("request_id")),
        ("USD", _field("held_usd")),
        ("UNTIL", _field("deadline")),
    ]
    return table(rows, columns)


def differences(rows: Sequence[Row]) -> str:
    """Two sides' figures, one beside the other."""
    names = ("mark", "day", "model", "measure", "ours", "theirs", "difference", "percent", "note")
    return table(rows, [("" if name == "mark" else name.upper(), _plainly(name)) for name in names])


def _plainly(name: str) -> Callable[[Row], str]:
    return lambda row: str(row[name])


def _blocks(row: Row) -> str:
    return "✗" if row["blocks"] else "-" if not row["applies"] else ""


def _state(now_s: float, row: Row) -> str:
    if row["revoked"]:
        return "revoked"
    expires = row.get("expires")
    return "expired" if expires and datetime.fromisoformat(expires).timestamp() <= now_s else "live"


def _field(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row.get(name) in (None, "") else str(row[name])


def _caps(row: Row) -> str:
    return " ".join(_cap(cap) for cap in row["windows"]) or "none"


def _cap(cap: Row) -> str:
    return f"{cap['cap_usd']}/{cap['budget_duration'] or 'total'}{_models(cap)}{'~' if cap['soft'] else ''}"


def _limits(row: Row) -> str:
    return " ".join(rate for limits in (row, *row["limits"]) for rate in _rates(limits)) or "none"


def _rates(limits: Row) -> Iterator[str]:
    names = ("rpm_limit", "tpm_limit", "rpd_limit", "tpd_limit", "max_parallel_requests")
    for name, short in zip(names, ("rpm", "tpm", "rpd", "tpd", "parallel"), strict=True):
        if limits[name] is not None:
            yield f"{short}={limits[name]}{_models(limits)}"


def _models(row: Row) -> str:
    return f"({row['model']})" if row.get("model") else ""


def _tokens(row: Row) -> str:
    return " ".join(f"{name.removesuffix('_tokens')}={amount}" for name, amount in row["tokens"].items()) or "-"


def plain(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
