"""Parquet files hold exact amounts, and who lacks pyarrow is told what to install."""

import builtins
import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from gateway.reports.export import ENTRY, Row, columns
from gateway.reports.parquet import writing
from translators.errors import LLMError
from translators.usage import BILLED


def entry(cost_usd: str, **fields: Any) -> Row:
    row: dict[str, Any] = dict.fromkeys(ENTRY) | dict.fromkeys(BILLED, 0)
    row |= {"at": "2026-11-20T16:00:00.123Z", "request_id": "r", "tags": ["a", "b"], "cost_usd": cost_usd}
    return row | {"cost_nanousd": int(Decimal(cost_usd) * 10**9), "requests": 1, "estimated": True} | fields


def written(rows: list[list[Row]], names: tuple[str, ...]) -> Any:
    file = io.BytesIO()
    with writing(file, names) as write:
        for some in rows:
            write(some)
    return parquet.read_table(io.BytesIO(file.getvalue()))


def test_amounts_are_exact_and_have_types() -> None:
    table = written([[entry("0.000000001"), entry("8999999.999999999")], [entry("-0.5", end_user="ann")]], ENTRY)
    assert tuple(table.column_names) == ENTRY
    assert table.schema.field("cost_usd").type == pyarrow.decimal128(18, 9)
    assert table.schema.field("cost_nanousd").type == pyarrow.int64()
    assert table["cost_usd"].to_pylist() == [Decimal("0.000000001"), Decimal("8999999.999999999"), Decimal("-0.5")]
    assert table["cost_nanousd"].to_pylist() == [1, 8_999_999_999_999_999, -500_000_000]
    assert table["at"].to_pylist()[0] == datetime(2026, 11, 20, 16, 0, 0, 123_000, tzinfo=UTC)
    assert table["tags"].to_pylist()[0] == ["a", "b"]
    assert table["estimated"].to_pylist() == [True] * 3
    assert table["end_user"].to_pylist() == [None, None, "ann"]


def test_groups_and_nothing_at_all() -> None:
    names = columns(["model", "day"])
    row = {"model": "m", "day": "2026-11-20", "cost_usd": "1", "cost_nanousd": 10**9, "requests": 2}
    table = written([[row | dict.fromkeys(BILLED, 0)]], names)
    assert table.to_pylist()[0]["day"] == "2026-11-20"
    empty = written([], names)
    assert (empty.num_rows, tuple(empty.column_names)) == (0, names)


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LLMError, match=r"pip install '\.\[parquet\]'"), writing(io.BytesIO(), ENTRY):
        pass
