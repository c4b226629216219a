"""One file of the spool: bills as lines of JSON, locked while its process lives.

A line is `{"v":1,"crc":"…","store":"…","bill":{…}}`; the CRC-32 is of all that follows it, so that a line which a crash
or a power cut has torn is told from a whole one. A bill is of one store, and so are all of a file.
`{"v":1,"crc":"…","taken":N}` says that the store has taken the first N bytes. The lock (flock) belongs to the open
file: the system drops it with the process, however that ends.
"""

import fcntl
import logging
import os
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from gateway.ledger.store import Bill

REFUSED = "refused.jsonl"  # bills that the store will never take, of all processes

log = logging.getLogger("headgate")

_BILL = TypeAdapter(Bill)
_HEAD = b'{"v":1,"crc":"%08x",'
_CRC_AT, _BODY_AT = len(b'{"v":1,"crc":"'), len(_HEAD % 0)


class Found(NamedTuple):
    """One line and where it ends. `bill` None: it holds none of the file's store that can be read."""

    bill: Bill | None
    line: bytes
    end: int


def line_of(bill: Bill, store: str) -> bytes:
    """`bill` whole, with its counters, and the id of the store that it is for.

    Raises TypeError for what JSON cannot hold (a lone surrogate, 2**64).
    """
    return _sealed(b'"store":%s,"bill":%s}\n' % (orjson.dumps(store), orjson.dumps(bill)))


def bill_of(line: bytes, store: str) -> Bill | None:
    """The bill for `store` that `line` holds; None when it is torn, of another version, another store's, or no bill."""
    try:
        return _BILL.validate_python(orjson.loads(line)["bill"]) if store_of(line) == store else None
    except (KeyError, ValidationError):
        return None


def store_of(line: bytes) -> str | None:
    """The id of the store that the bill in `line` is for; None when it is no bill, or torn."""
    try:
        return str(orjson.loads(line)["store"]) if _is_whole(line) else None
    except (orjson.JSONDecodeError, KeyError):
        return None


def _sealed(body: bytes) -> bytes:
    return _HEAD % zlib.crc32(body) + body


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"}\n") and line[:_BODY_AT] == _HEAD % zlib.crc32(line[_BODY_AT:])


def _taken(line: bytes) -> int | None:
    return int(orjson.loads(line)["taken"]) if line[_BODY_AT:].startswith(b'"taken":') and _is_whole(line) else None


class SpoolFile:
    """A file that this process holds. Everything here blocks, and raises OSError as the disk does."""

    def __init__(self, path: Path, descriptor: int, store: str = "") -> None:
        self.path = path
        self.store = store  # the id of the one that its bills are for; "" while it has none
        self.pending = 0  # bills that the store has not taken
        self._descriptor = descriptor
        self._begin = self._marked = 0  # what lies before is taken, and said to be in the file

    @classmethod
    def create(cls, folder: Path, store: str) -> "SpoolFile":
        """A new one, in a folder that is made if it is not there. Both are their owner's alone."""
        if not folder.is_dir():
            os.makedirs(folder, mode=0o700, exist_ok=True)
            _fsync_folder(folder.parent)
        while True:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
            descriptor = os.open(folder / name, flags, 0o600)
            if _locked(folder / name, descriptor):  # else another process took it for a dead one's, empty
                file = cls(folder / name, descriptor, store)
                try:
                    _fsync_folder(folder)
                except OSError:
                    file.discard()
                    raise
                return file

    @classmethod
    def adopt(cls, path: Path) -> "SpoolFile | None":
        """The file at `path`; None when a living process holds it, or it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return None
        if not _locked(path, descriptor):
            return None
        file = cls(path, descriptor)
        file._survey()
        return file

    def append(self, lines: Sequence[bytes]) -> None:
        """Write `lines` and fsync, all or none. After an OSError nothing more may be added: who knows what it holds."""
        self._put(b"".join(lines))
        self.pending += len(lines)

    def read(self, count: int) -> Sequence[Found]:
        """The next `count` lines that the store has not taken, in order; fewer at the end."""
        found, end = [], self._begin
        with self.path.open("rb") as lines:
            lines.seek(end)
            for line in islice(lines, count):
                end += len(line)
                found.append(Found(bill_of(line, self.store), line, end))
        return found

    def advance(self, past: Found) -> None:
        """All up to `past` is dealt with; `mark` writes it down."""
        self._begin = past.end
        self.pending -= past.bill is not None

    def mark(self) -> None:
        """Write down how far the store has taken it, so that whoever reads it next begins there."""
        if self._begin > self._marked:
            size = os.fstat(self._descriptor).st_size
            torn = os.pread(self._descriptor, 1, size - 1) != b"\n"
            self._put((b"\n" if torn else b"") + _sealed(b'"taken":%d}\n' % self._begin))
            self._marked = self._begin

    def set_aside(self, found: Found) -> None:
        """Keep a line that is no bill in a file of its own beside this one; a mark or an empty line is no loss."""
        if found.line.strip() and _taken(found.line) is None:
            aside = self.path.with_suffix(".torn")
            _append_to(aside, found.line.rstrip(b"\n") + b"\n")
            log.error("a line of the spool is no bill of this store: it is kept in %s", aside)

    def refuse(self, found: Found, why: str) -> None:
        """Keep a bill that the store will never take."""
        aside = self.path.with_name(REFUSED)
        _append_to(aside, found.line)
        log.error("the store refused a bill of the spool (%s): it is kept in %s", why, aside)

    def remove(self) -> None:
        """Delete the file: the store has taken all of it. Raises OSError where that cannot be, and is as it was."""
        self.path.unlink(missing_ok=True)
        self.close()
        with suppress(OSError):  # what a power cut brings back is marked as taken
            _fsync_folder(self.path.parent)

    def discard(self) -> None:
        """Delete the file if that can be, and let go of it in any case."""
        try:
            self.remove()
        except OSError as error:
            log.warning("%s stays: %s", self.path, error)
            self.close()

    def close(self) -> None:
        """Let go of the file; another process may adopt it."""
        os.close(self._descriptor)

    def _put(self, data: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            _write(self._descriptor, data)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise

    def _survey(self) -> None:
        with self.path.open("rb") as lines:
            at, ends = 0, []
            for line in lines:
                at += len(line)
                if (taken := _taken(line)) is not None:
                    self._begin = self._marked = max(self._begin, taken)
                elif _is_whole(line):
                    ends.append(at)
                    self.store = self.store or store_of(line) or ""
        self.pending = sum(end > self._begin for end in ends)


def _locked(path: Path, descriptor: int) -> bool:
    """Whether the open file is ours alone and still the one at `path`; closed if not."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return False


def _append_to(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        _write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _fsync_folder(path.parent)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
