"""The journal, or its sums, as rows for other programs: CSV and JSON Lines here, Parquet in gateway.parquet.

A row has the same fields in every format. Amounts are there twice: `cost_usd`, an exact decimal, and `cost_nanousd`, an
integer (1 USD is 10**9). What has left the journal is a row for each day and group, without a request id; `requests`
says how many it stands for, so that the rows' costs come to what the report says.
"""

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from gateway.admin.answers import iso
from gateway.ledger.store import Store
from gateway.reports.report_forms import By, ExportQuery, Selection
from gateway.reports.spending import FOREVER_S, PAGE, Item, items
from gateway.reports.usage import FIELDS, Group, Sum, aliases_of, grouped, matching
from gateway.virtual_keys import usd
from translators.usage import BILLED

Format = Literal["csv", "jsonl"]
Row = Mapping[str, Any]
MEDIA_TYPES: Mapping[Format, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
SUMS = ("cost_usd", "cost_nanousd", "requests", *BILLED)
ENTRY = (
    *("at", "request_id", "key_id", "key_alias", "team_id", "end_user", "tags", "model", "target", "ending"),
    *("cost_usd", "cost_nanousd", "requests", "overrun_nanousd", "adjusts", "estimated", "unpriced", "price"),
    *("attempts", "latency_ms", "first_token_ms", *BILLED),
)
# a spreadsheet takes text that begins so for a formula, and end users and tags are named by callers
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def columns(by: Sequence[By]) -> tuple[str, ...]:
    """The fields of a row: of an entry, or with `by` of a group."""
    if not by:
        return ENTRY
    names = [FIELDS[name][0] for name in by]
    return (*names, *(["key_alias"] if "key_id" in names else []), *SUMS)


async def rows(store: Store, now_s: float, selection: Selection) -> AsyncIterator[list[Row]]:
    """What matches, some rows at a time: entries from the oldest on, or with `by` groups in their order."""
    if selection.by:
        groups = await grouped(store, now_s, selection)
        aliases = await aliases_of(store, groups)
        yield [_of_group(group, sum, aliases) for group, sum in groups.items()]
        return
    matches, some = await matching(store, selection), list[Row]()
    end_s = FOREVER_S if selection.end is None else selection.end
    async for item in items(store, selection.start, end_s, now_s):
        if matches.bill(item.fields):
            some.append(_of_item(item))
            if len(some) >= PAGE:
                yield some
                some = []
    yield some


async def stream(store: Store, now_s: float, query: ExportQuery) -> AsyncIterator[bytes]:
    """A whole file, piece by piece. What is wrong shows before the first of them."""
    begun = False
    async for some in rows(store, now_s, query):
        yield (b"" if begun else head(query.format, columns(query.by))) + piece(query.format, some)
        begun = True


def head(format: Format, names: Sequence[str]) -> bytes:
    """How a file begins."""
    return ",".join(names).encode() + b"\r\n" if format == "csv" else b""


def piece(format: Format, some: Sequence[Row]) -> bytes:
    """These rows as lines of a file; CSV as RFC 4180 has it, without the line of names."""
    if format == "jsonl":
        return b"".join(orjson.dumps(row) + b"\n" for row in some)
    out = io.StringIO()
    csv.writer(out).writerows([_cell(value) for value in row.values()] for row in some)
    return out.getvalue().encode(errors="replace")


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return orjson.dumps(value).decode() if value else ""
        case str() if value.startswith(_FORMULA) and not _is_number(value):
            return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()


def _of_item(item: Item) -> Row:
    fields, entry = item.fields, item.entry
    plain = {name: fields.get(name) for name in ENTRY}
    return plain | {
        "at": iso(item.at_s),
        "request_id": fields.get("request_id") or "",
        "tags": list(fields.get("tags") or ()),
        "requests": item.requests,
        "overrun_nanousd": entry.overrun_nanousd if entry else 0,
        "adjusts": bool(fields.get("adjusts")),
        **_cost(item.cost_nanousd),
        **_buckets(item.usage),
    }


def _of_group(group: Group, sum: Sum, aliases: Mapping[str, str | None]) -> Row:
    fields = dict(group)
    if "key_id" in fields:
        fields["key_alias"] = aliases.get(fields["key_id"] or "")
    return {**fields, **_cost(sum.cost_nanousd), "requests": sum.requests, **_buckets(sum.tokens)}


def _cost(nanousd: int) -> Row:
    return {"cost_usd": usd(nanousd), "cost_nanousd": nanousd}


def _buckets(usage: Mapping[str, int]) -> Row:
    return {name: usage.get(name, 0) for name in BILLED}
