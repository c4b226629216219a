"""Rows as a Parquet file: the one door to pyarrow, which is an extra (`parquet`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO

from gateway.reports.export import Row
from translators.errors import LLMError
from translators.usage import BILLED

INTEGERS = {*BILLED, "cost_nanousd", "requests", "overrun_nanousd", "attempts", "latency_ms", "first_token_ms"}
FLAGS = {"adjusts", "estimated", "unpriced"}


@contextmanager
def writing(sink: BinaryIO, columns: Sequence[str]) -> Iterator[Callable[[Sequence[Row]], None]]:
    """What writes some rows at a time. `cost_usd` is a decimal128(18, 9), `at` a timestamp in UTC, `tags` a list.

    Raises LLMError when pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        message = "Parquet needs pyarrow, which is not installed: `pip install '.[parquet]'` in Headgate's folder"
        raise LLMError("invalid_request", message) from None
    schema = pyarrow.schema([(name, _type(pyarrow, name)) for name in columns])
    with parquet.ParquetWriter(sink, schema) as writer:

        def write(some: Sequence[Row]) -> None:
            writer.write_table(pyarrow.Table.from_pylist([_typed(row) for row in some], schema=schema))

        yield write


def _type(pyarrow: Any, column: str) -> Any:
    match column:
        case "at":
            return pyarrow.timestamp("ms", tz="UTC")
        case "cost_usd":
            return pyarrow.decimal128(18, 9)  # its last digit is a nano-dollar
        case "tags":
            return pyarrow.list_(pyarrow.string())
    if column in INTEGERS:
        return pyarrow.int64()
    return pyarrow.bool_() if column in FLAGS else pyarrow.string()


def _typed(row: Row) -> dict[str, Any]:
    typed = {**row, "cost_usd": Decimal(row["cost_usd"])}
    return typed | {"at": datetime.fromisoformat(row["at"])} if "at" in row else typed
