"""The spool: what it acknowledged reaches the store once, whatever happens to the process, the disk or the store."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ledger import spool_file
from gateway.ledger.spool import AT_ONCE, Spool, SpoolFailed, spool_folder
from gateway.ledger.spool_file import REFUSED, bill_of, line_of
from gateway.ledger.store import Bill, Counter, Settled, StoreDown

pytestmark = pytest.mark.anyio

STORE = "store"
COUNTERS = (Counter("key:key_1", "total"), Counter("team:t", "1d:2026-11-20", 1.5, 2.5))


def bill(name: object) -> Bill:
    return Bill(f"req_{name}", "key_1", "t", COUNTERS, 123_456_789, {"input_tokens": 7}, ending="done", tags=("a", "ü"))


class Book:
    """A store as far as the spool knows it. It goes down after `lasts` settles."""

    def __init__(self, lasts: int = 10**9) -> None:
        self.lasts = lasts
        self.bills: list[Bill] = []

    async def settle(self, bill: Bill) -> Settled:
        await asyncio.sleep(0)
        if "refused" in bill.request_id:
            raise ValueError("a bill is from 0")
        if self.lasts <= 0:
            raise StoreDown("gone")
        if "wrong" in bill.request_id:
            raise KeyError(bill.request_id)
        self.lasts -= 1
        first = all(bill.request_id != each.request_id for each in self.bills)
        if first:
            self.bills.append(bill)
        return Settled(first)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "headgate.spool"


@pytest.fixture
async def spool(folder: Path) -> AsyncIterator[Spool]:
    spool = Spool(folder, STORE)
    yield spool
    await spool.close()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_bills_are_brought_to_the_store_in_order_and_nothing_stays(spool: Spool, folder: Path) -> None:
    assert await spool.replay(Book().settle) == 0
    assert not os.access(folder, os.F_OK)
    bills = [bill(at) for at in range(2 * AT_ONCE + 1)]
    for each in bills:
        await spool.add(each)
    assert spool.pending() == len(bills)
    book = Book()
    assert await spool.replay(book.settle) == len(bills)
    assert book.bills == bills
    assert (spool.pending(), files(folder)) == (0, [])
    assert await spool.replay(book.settle) == 0


async def test_the_store_going_away_again_keeps_the_rest(spool: Spool, folder: Path) -> None:
    bills = [bill(at) for at in range(10)]
    await asyncio.gather(*map(spool.add, bills))
    book = Book(lasts=4)
    assert await spool.replay(book.settle) == 4
    assert spool.pending() == 6
    await spool.add(bill("later"))
    for _ in range(50):
        assert await spool.replay(book.settle) == 0
    assert len(files(folder)) == 2  # however often it is tried: one that is on its way, one that is added to
    book.lasts = 100
    assert await spool.replay(book.settle) == 7
    assert book.bills == [*bills, bill("later")]
    assert files(folder) == []


async def test_what_is_added_while_a_replay_is_under_way_is_neither_lost_nor_late(spool: Spool, folder: Path) -> None:
    await spool.add(bill(0))
    book = Book()

    async def settle(each: Bill) -> Settled:
        if each == bill(0):
            await spool.add(bill(1))
        return await book.settle(each)

    assert await spool.replay(settle) == 2
    assert (book.bills, files(folder)) == ([bill(0), bill(1)], [])


async def test_many_bills_share_a_write(spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await spool.add(bill("first"))
    syncs: list[int] = []
    with monkeypatch.context() as watched:
        watched.setattr(os, "fsync", syncs.append)
        await asyncio.gather(*(spool.add(bill(at)) for at in range(300)))
    assert 1 <= len(syncs) <= 3


async def test_the_next_process_takes_over_what_one_left(folder: Path) -> None:
    first = Spool(folder, STORE)
    await first.add(bill(1))
    await first.add(bill(2))
    assert await first.replay(Book(lasts=1).settle) == 1
    living = Spool(folder, STORE)
    assert living.pending() == 0  # its owner lives
    await first.close()
    with pytest.raises(SpoolFailed, match="closed"):
        await first.add(bill(3))
    fresh, book = Spool(folder, STORE), Book()
    assert fresh.pending() == 1
    assert await living.replay(book.settle) == 0
    assert await fresh.replay(book.settle) == 1
    assert (book.bills, files(folder)) == ([bill(2)], [])
    await fresh.close()
    await living.close()


async def test_a_process_that_dies_later_is_noticed_at_a_replay(spool: Spool, folder: Path) -> None:
    other, book = Spool(folder, STORE), Book()
    await other.add(bill(1))
    assert await spool.replay(book.settle) == 0
    await other.close()
    assert await spool.replay(book.settle) == 1
    assert book.bills == [bill(1)]


async def test_what_is_for_another_store_is_left_to_it(
    spool: Spool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere, there, here = Spool(folder, "another store"), Book(), Book()
    await elsewhere.add(bill("there"))
    await spool.add(bill("here"))
    await elsewhere.close()
    for _ in range(3):
        await spool.replay(here.settle)
    assert here.bills == [bill("here")]
    assert sum("another store" in record.message for record in caplog.records) == 1
    again = Spool(folder, "another store")
    assert again.pending() == 1
    assert await again.replay(there.settle) == 1
    assert (there.bills, files(folder)) == ([bill("there")], [])
    await again.close()


async def test_a_line_for_another_store_among_ours_is_kept_aside(spool: Spool, folder: Path) -> None:
    os.mkdir(folder)
    foreign, book = line_of(bill(2), "another store"), Book()
    (folder / "20260101T000000.000000Z-1-aa.jsonl").write_bytes(line_of(bill(1), STORE) + foreign)
    assert await spool.replay(book.settle) == 1
    assert book.bills == [bill(1)]
    assert files(folder) == ["20260101T000000.000000Z-1-aa.torn"]
    assert (folder / files(folder)[0]).read_bytes() == foreign


async def test_a_torn_line_is_kept_aside_and_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkdir(folder)
    torn, other = line_of(bill(2), STORE)[:-30], b'{"hello": 1}\n'
    (folder / "20260101T000000.000000Z-1-aa.jsonl").write_bytes(
        line_of(bill(1), STORE) + other + line_of(bill(3), STORE) + torn
    )
    spool, book = Spool(folder, STORE), Book()
    assert spool.pending() == 2
    assert await spool.replay(book.settle) == 2
    assert book.bills == [bill(1), bill(3)]
    assert files(folder) == ["20260101T000000.000000Z-1-aa.torn"]
    assert (folder / files(folder)[0]).read_bytes() == other + torn + b"\n"
    assert sum("no bill" in record.message for record in caplog.records) == 2
    assert await spool.replay(book.settle) == 0
    await spool.close()


async def test_a_bill_that_the_store_refuses_is_kept_aside_and_holds_up_nobody(
    spool: Spool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bills = [bill(1), bill("refused"), bill(2)]
    await asyncio.gather(*map(spool.add, bills))
    book = Book()
    assert await spool.replay(book.settle) == 2
    assert book.bills == [bill(1), bill(2)]
    assert files(folder) == [REFUSED]
    assert bill_of((folder / REFUSED).read_bytes(), STORE) == bill("refused")
    assert any("the store refused a bill" in record.message for record in caplog.records)
    assert spool.pending() == 0
    assert await spool.replay(book.settle) == 0
    assert files(folder) == [REFUSED]


async def test_a_fault_of_ours_loses_no_bill(spool: Spool) -> None:
    await asyncio.gather(*map(spool.add, [bill(1), bill("wrong"), bill(2)]))
    book = Book()
    with pytest.raises(KeyError):
        await spool.replay(book.settle)
    assert spool.pending() == 2
    assert [each.bill for file in spool._sealed for each in file.read(9)] == [bill("wrong"), bill(2)]


async def test_two_bills_of_one_request_are_never_on_their_way_together(spool: Spool) -> None:
    await asyncio.gather(*map(spool.add, [bill(1), bill(2), replace(bill(1), cost_nanousd=7), bill(3)]))
    together: list[str] = []

    async def settle(each: Bill) -> Settled:
        assert each.request_id not in together
        together.append(each.request_id)
        await asyncio.sleep(0.01)
        together.remove(each.request_id)
        return Settled(True)

    assert await spool.replay(settle) == 4


async def test_a_replay_that_is_cancelled_is_done_again(spool: Spool) -> None:
    await asyncio.gather(*map(spool.add, [bill(1), bill(2)]))
    begun, never = asyncio.Event(), asyncio.Event()

    async def hang(_: Bill) -> Settled:
        begun.set()
        await never.wait()
        return Settled(True)

    replaying = asyncio.ensure_future(spool.replay(hang))
    await begun.wait()
    replaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replaying
    book = Book()
    assert await spool.replay(book.settle) == 2


async def test_a_caller_that_is_cancelled_is_written_all_the_same(spool: Spool) -> None:
    adding = asyncio.ensure_future(spool.add(bill(1)))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.wait([adding])
    await spool.add(bill(2))
    book = Book()
    assert await spool.replay(book.settle) == 2


def refusing(number: int) -> Callable[..., int]:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("step", ["write", "fsync", "open"])
async def test_a_disk_that_refuses_is_told_and_what_it_took_before_is_kept(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    if step != "open":
        await spool.add(bill(1))
    with monkeypatch.context() as broken:
        broken.setattr(os, step, refusing(errno.ENOSPC))
        for at in range(3):
            with pytest.raises(SpoolFailed, match="No space left"):
                await spool.add(bill(f"lost_{at}"))
    await spool.add(bill(2))
    assert len(files(folder)) <= 5
    book = Book()
    await spool.replay(book.settle)
    assert book.bills == ([bill(1), bill(2)] if step != "open" else [bill(2)])
    assert (spool.pending(), files(folder)) == (0, [])


async def test_what_cannot_be_written_as_json_is_told(spool: Spool) -> None:
    with pytest.raises(SpoolFailed):
        await spool.add(bill("\ud800"))
    assert spool.pending() == 0


async def test_a_folder_that_cannot_be_used_is_told_at_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Path] = []

    def access(path: Path, _: int) -> bool:
        asked.append(path)
        return len(asked) == 1

    monkeypatch.setattr(os, "access", access)
    await Spool(folder / "deeper", STORE).close()
    assert caplog.records == []
    await Spool(folder, STORE).close()
    assert f"{folder} cannot be used" in caplog.text
    assert asked == [folder.parent, folder.parent]


@pytest.mark.parametrize(
    ("setting", "env", "expected"),
    [
        ("", {}, "headgate.db.spool"),
        ("", {"HEADGATE_DATA": "/var/lib/hg/ledger.db"}, "/var/lib/hg/ledger.db.spool"),
        ("", {"HEADGATE_DATA": "d/prod.eu"}, "d/prod.eu.spool"),
        ("", {"HEADGATE_DATA": "d/prod.us"}, "d/prod.us.spool"),
        ("", {"REDIS_URL": "redis://h", "HEADGATE_DATA": "/x/y.db"}, "headgate.spool"),
        ("", {"REDIS_URL": "redis://h", "HEADGATE_REDIS_PREFIX": "{team/a}:"}, "_team_a__.spool"),
        ("/srv/spool", {"HEADGATE_DATA": "/x/y.db"}, "/srv/spool"),
    ],
)
def test_where_it_is(setting: str, env: dict[str, str], expected: str) -> None:
    assert spool_folder(setting, env) == Path(expected)


# --- real processes, killed

ADDS = """
import asyncio, sys
from pathlib import Path
from gateway.ledger.spool import Spool
from gateway.ledger.store import Bill, Counter

async def add(spool, name):
    await spool.add(Bill(name, "key_1", None, (Counter("key:key_1", "total"),), 1))
    print(name, flush=True)

async def main():
    spool, at = Spool(Path(sys.argv[1]), "store"), 0
    while True:
        await asyncio.gather(*(add(spool, f"{sys.argv[2]}_{at + each}") for each in range(20)))
        at += 20

asyncio.run(main())
"""
REPLAYS = """
import asyncio, os, sys
from pathlib import Path
from gateway.ledger.spool import Spool
from gateway.ledger.store import Settled

async def settle(bill):
    book = os.open(sys.argv[2], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.write(book, bill.request_id.encode() + b"\\n")
    os.close(book)
    if bill.request_id == sys.argv[3]:
        os.kill(os.getpid(), 9)
    return Settled(True)

async def main():
    spool = Spool(Path(sys.argv[1]), "store")
    await spool.replay(settle)
    await spool.close()

asyncio.run(main())
"""


def process(script: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


async def test_all_that_was_acknowledged_survives_a_kill(folder: Path) -> None:
    writers = [process(ADDS, folder, name) for name in ("a", "b")]
    acknowledged: set[str] = set()
    for writer in writers:
        assert writer.stdout is not None
        acknowledged.update(writer.stdout.readline().strip() for _ in range(200))
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().splitlines(keepends=True)
        acknowledged.update(line.strip() for line in rest if line.endswith("\n"))
        writer.stdout.close()
        writer.wait()
    spool, book = Spool(folder, STORE), Book()
    await spool.replay(book.settle)
    assert len(acknowledged) >= 400
    assert acknowledged <= {each.request_id for each in book.bills}
    assert [name for name in files(folder) if not name.endswith(".torn")] == []
    await spool.close()


async def test_a_replay_that_is_killed_asks_again_and_forgets_nothing(folder: Path, tmp_path: Path) -> None:
    spool = Spool(folder, STORE)
    names = [f"req_{at}" for at in range(AT_ONCE + 50)]
    await asyncio.gather(*(spool.add(bill(at)) for at in range(len(names))))
    await spool.close()
    book = tmp_path / "book"
    for dies_at in (names[AT_ONCE + 20], ""):
        replayer = process(REPLAYS, folder, book, dies_at)
        replayer.communicate()
        assert replayer.returncode == (-signal.SIGKILL if dies_at else 0)
    asked = Tally(book.read_text().split())
    assert set(asked) == set(names)
    assert set(asked.values()) == {1, 2}  # the store knows a request that it has settled
    assert files(folder) == []


async def test_a_folder_that_cannot_be_synced_keeps_no_file_open_and_no_bill_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, book, synced = Spool(folder, "store"), Book(), spool_file._fsync_folder
    open_files = len(os.listdir("/proc/self/fd"))

    def refused(_: Path) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(spool_file, "_fsync_folder", refused)
    for at in range(3):
        with pytest.raises(SpoolFailed):
            await spool.add(bill(at))
    assert (len(os.listdir("/proc/self/fd")), files(folder)) == (open_files, [])
    monkeypatch.setattr(spool_file, "_fsync_folder", synced)
    await spool.add(bill(3))
    monkeypatch.setattr(spool_file, "_fsync_folder", refused)
    assert await spool.replay(book.settle) == 1
    monkeypatch.setattr(spool_file, "_fsync_folder", synced)
    await spool.add(bill(4))
    assert await spool.replay(book.settle) == 1
    assert (book.bills, files(folder), len(os.listdir("/proc/self/fd"))) == ([bill(3), bill(4)], [], open_files)
    await spool.close()


async def test_a_file_that_cannot_be_deleted_is_not_begun_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, book, unlink = Spool(folder, "store"), Book(), Path.unlink
    await spool.add(bill(0))

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError("the folder may not be written to")

    monkeypatch.setattr(Path, "unlink", refused)
    for _ in range(3):
        with pytest.raises(SpoolFailed):
            await spool.replay(book.settle)
    await spool.close()
    later = Spool(folder, "store")
    with pytest.raises(SpoolFailed):
        await later.replay(book.settle)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert await later.replay(book.settle) == 0
    await later.close()
    assert (book.bills, files(folder)) == ([bill(0)], [])
