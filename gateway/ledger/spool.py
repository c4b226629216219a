"""Bills that the store did not take, kept on disk until it does.

One file per process. What `add` has acknowledged has been through fsync; many bills share one. A bill leaves only when
the store has taken it, and settling is idempotent by request id, so that each is booked once, whenever a process dies.
Files of processes that are gone are adopted by whoever comes first, of those whose store the bills are for.
"""

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.ledger.batches import Lane
from gateway.ledger.spool_file import REFUSED, Found, SpoolFile, line_of
from gateway.ledger.store import Bill, Settled, StoreDown

AT_ONCE = 100  # bills on their way to the store together: they share its journeys

log = logging.getLogger("headgate")

Result = TypeVar("Result")


class SpoolFailed(Exception):
    """The disk refuses. The message names the folder."""


def spool_folder(setting: str, env: Mapping[str, str]) -> Path:
    """Where the spool is: as set, else beside the embedded store; with Redis, named for its prefix, where we are.

    Several stores may share it: each bill says which one it is for.
    """
    if setting:
        return Path(setting)
    if env.get("REDIS_URL"):
        return Path(re.sub(r"[^A-Za-z0-9_.-]", "_", env.get("HEADGATE_REDIS_PREFIX") or "headgate") + ".spool")
    return Path((env.get("HEADGATE_DATA") or "headgate.db") + ".spool")


class Spool:
    """The spool in `folder`, which is made when the first bill comes, of the store that is known by `store_id`."""

    def __init__(self, folder: Path, store_id: str) -> None:
        self._folder = folder
        self._store_id = store_id
        self._others: set[Path] = set()  # files for other stores
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headgate-spool")
        self._adds: Lane[bytes, None] = Lane(self._send, width=1)
        self._replaying = asyncio.Lock()
        self._current: SpoolFile | None = None
        self._sealed: list[SpoolFile] = []  # oldest first; nothing is added to these
        self._closed = False
        self._adopt()
        if not os.access(_nearest(folder), os.R_OK | os.W_OK | os.X_OK):
            log.warning("%s cannot be used: should the store go away, its bills would be in the log alone", folder)

    async def add(self, bill: Bill) -> None:
        """Keep `bill`: it is on the disk when this returns, and will be even if the caller is cancelled meanwhile.

        Raises SpoolFailed.
        """
        if self._closed:
            raise SpoolFailed(f"{self._folder}: the spool is closed")
        try:
            await self._adds.put(line_of(bill, self._store_id))
        except (TypeError, StoreDown) as error:  # no JSON; too many wait for the disk
            raise self._failed(error) from error

    async def replay(self, settle: Callable[[Bill], Awaitable[Settled]]) -> int:
        """Have `settle` take the bills, begun in their order, up to the first StoreDown; how many it took.

        What it refuses with ValueError is set aside. Call it at the start, and from time to time even if nothing is
        pending here: another process may have died. Raises SpoolFailed, and whatever else `settle` raises; the bill
        then stays.
        """
        async with self._replaying:
            count = 0
            await self._do(self._adopt)
            while (file := await self._do(self._oldest)) is not None:
                while found := _distinct(await self._do(file.read, AT_ONCE)):
                    bills = [each.bill for each in found if each.bill is not None]
                    answers = await asyncio.gather(*map(settle, bills), return_exceptions=True)
                    taken, down = await self._do(self._note, file, found, answers)
                    count += taken
                    if down:
                        return count
                await self._do(self._remove, file)
            return count

    def pending(self) -> int:
        """How many bills this process has to bring to the store."""
        return sum(file.pending for file in (*self._sealed, *([self._current] if self._current else ())))

    async def close(self) -> None:
        """Write what was asked for, and leave the files to the next process."""
        self._closed = True
        await self._adds.drain()
        async with self._replaying:
            await self._do(self._let_go)
        self._thread.shutdown()

    # --- in the one thread
    def _note(
        self, file: SpoolFile, found: Sequence[Found], answers: Sequence[Settled | BaseException]
    ) -> tuple[int, bool]:
        """Leave behind what is dealt with. How many bills were taken, and whether the store went away meanwhile."""
        given, taken = iter(answers), 0
        for each in found:
            answer = next(given) if each.bill is not None else None
            if isinstance(answer, StoreDown):
                _mark(file)
                return taken, True
            if isinstance(answer, ValueError | OverflowError):
                file.refuse(each, str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif each.bill is None:
                file.set_aside(each)
            else:
                taken += 1
            file.advance(each)
        return taken, False

    def _append(self, lines: Sequence[bytes]) -> None:
        if self._current is None:
            self._current = SpoolFile.create(self._folder, self._store_id)
        try:
            self._current.append(lines)
        except OSError:  # after a failed fsync nothing is certain of what is in the file: it is never written again
            broken, self._current = self._current, None
            if broken.pending:
                self._sealed.append(broken)
            else:
                broken.discard()
            raise

    def _oldest(self) -> SpoolFile | None:
        """What to replay next; the file that bills are added to comes last, and is then closed to more."""
        if not self._sealed and self._current is not None:
            self._sealed, self._current = [self._current], None
        return self._sealed[0] if self._sealed else None

    def _adopt(self) -> None:
        for path in self._folder.glob("*.jsonl"):
            try:
                file = SpoolFile.adopt(path) if path.name != REFUSED and path not in self._others else None
            except OSError as error:
                log.error("the bills in %s cannot be read: %s", path, error)
                continue
            if file is not None and file.store not in ("", self._store_id):
                log.warning("%s is of a process that is gone and of another store: it is left to a gateway there", path)
                self._others.add(path)
                file.close()
            elif file is not None:
                log.info("%s, of a process that is gone, is adopted: %d bills", path, file.pending)
                self._sealed.append(file)
        self._sealed.sort(key=lambda file: file.path.name)

    def _remove(self, file: SpoolFile) -> None:
        _mark(file)  # where it cannot be deleted, nobody begins with it anew
        file.remove()
        self._sealed.remove(file)

    def _let_go(self) -> None:
        for file in (*self._sealed, *([self._current] if self._current else ())):
            _mark(file)
            file.close()
        self._sealed, self._current = [], None

    # --- the way to it
    async def _send(self, lines: Sequence[bytes]) -> Sequence[Exception | None]:
        try:
            await self._do(self._append, lines)
        except SpoolFailed as error:
            return [SpoolFailed(str(error)) for _ in lines]
        return [None] * len(lines)

    async def _do(self, step: Callable[..., Result], *arguments: object) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, step, *arguments)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SpoolFailed:
        return SpoolFailed(f"{self._folder}: {error}")


def _distinct(found: Sequence[Found]) -> Sequence[Found]:
    """`found` up to the second bill of one request: these two are never on their way together."""
    seen: set[str] = set()
    for at, each in enumerate(found):
        if each.bill is not None:
            if each.bill.request_id in seen:
                return found[:at]
            seen.add(each.bill.request_id)
    return found


def _mark(file: SpoolFile) -> None:
    try:
        file.mark()
    except OSError as error:  # a full disk: what was taken is asked for again, and is known to the store
        log.warning("%s: %s", file.path, error)


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
