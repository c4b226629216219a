"""`headgate usage --csv | --jsonl | --parquet FILE`: the journal, or its sums, written to a file."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from gateway.admin.forms import read
from gateway.commands.desk import admin_key_for
from gateway.ledger.opening import store_of
from gateway.ledger.store import Store
from gateway.reports.export import Format, Row, columns, head, piece, rows
from gateway.reports.parquet import writing
from gateway.reports.report_forms import ExportQuery
from translators.errors import LLMError

Kind = Literal["csv", "jsonl", "parquet"]
Write = Callable[[Sequence[Row]], None]


def export(url: str | None, kind: Kind, path: str, asked: Mapping[str, str]) -> None:
    """Write what `asked` selects to the file at `path`, which is there whole or not at all; "-" is standard output."""
    query = read(ExportQuery, asked)
    found = _by_url(url, asked) if url else _directly(store_of(os.environ, may_make=False), query)
    with _sink(path) as sink, _writer(kind, sink, columns(query.by)) as write:
        asyncio.run(_copy(found, write))


async def _copy(found: AsyncIterator[Sequence[Row]], write: Write) -> None:
    async for some in found:
        write(some)


async def _by_url(url: str, asked: Mapping[str, str]) -> AsyncIterator[Sequence[Row]]:
    from gateway.fetch import admin_lines

    lines = admin_lines(url, admin_key_for(url), "/admin/usage/export", {**asked, "format": "jsonl"})
    async for some in lines:
        yield some


async def _directly(store: Store, query: ExportQuery) -> AsyncIterator[Sequence[Row]]:
    await store.open()
    try:
        async for some in rows(store, time.time(), query):
            yield some
    finally:
        await store.close()


@contextmanager
def _sink(path: str) -> Iterator[BinaryIO]:
    if path in ("-", "/dev/stdout"):
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe is written to, not replaced
            with open(path, "wb") as sink:
                yield sink
        else:
            with _replacing(Path(os.path.realpath(path))) as sink:  # what a link leads to, not the link
                yield sink
    except OSError as error:
        raise LLMError("invalid_request", f"{path} cannot be written: {error.strerror or error}") from None


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    part = Path(f"{target}.part")
    try:
        with part.open("wb") as sink:
            if target.exists():
                shutil.copymode(target, part)
            yield sink
        part.replace(target)
    finally:
        with suppress(OSError):  # where it could not be made, that is what is told
            part.unlink()


def _writer(kind: Kind, sink: BinaryIO, names: Sequence[str]) -> AbstractContextManager[Write]:
    return writing(sink, names) if kind == "parquet" else _text(kind, sink, names)


@contextmanager
def _text(kind: Format, sink: BinaryIO, names: Sequence[str]) -> Iterator[Write]:
    sink.write(head(kind, names))

    def write(some: Sequence[Row]) -> None:
        sink.write(piece(kind, some))

    yield write
