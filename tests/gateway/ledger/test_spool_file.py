"""One file of the spool: what is written is read again, and what is torn is told from what is whole."""

import errno
import os
from dataclasses import fields
from pathlib import Path
from zlib import crc32

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.spool_file import SpoolFile, bill_of, line_of
from gateway.ledger.store import MAX_NANOUSD, Bill, Counter

STORE = "3f"
BILL = Bill("req_1", "key_1", None, (Counter("key:key_1", "total"),), 123_456_789)

amounts = st.integers(min_value=-MAX_NANOUSD, max_value=MAX_NANOUSD)
words = st.text(max_size=20)
numbers = st.integers(min_value=0, max_value=2**53)
times = st.floats(min_value=0, max_value=1e12, allow_nan=False)
counters = st.builds(
    Counter,
    scope=words,
    window=words,
    start_s=times,
    end_s=times,
    cap_nanousd=st.none() | amounts,
    softs_nanousd=st.lists(amounts, max_size=3).map(tuple),
    on_cap=st.sampled_from(["clamp", "refuse"]),
)
bills = st.builds(
    Bill,
    request_id=words,
    key_id=words,
    team_id=st.none() | words,
    counters=st.lists(counters, max_size=3).map(tuple),
    cost_nanousd=amounts,
    usage=st.dictionaries(words, numbers, max_size=3),
    model=words,
    target=words,
    ending=words,
    estimated=st.booleans(),
    unpriced=st.booleans(),
    price=words,
    latency_ms=numbers,
    first_token_ms=st.none() | numbers,
    attempts=numbers,
    key_alias=st.none() | words,
    end_user=st.none() | words,
    tags=st.lists(words, max_size=3).map(tuple),
    tokens=numbers,
    adjusts=st.booleans(),
)


@given(bills)
def test_any_bill_is_the_same_when_it_is_read_again(bill: Bill) -> None:
    line = line_of(bill, STORE)
    assert bill_of(line, STORE) == bill
    assert line.count(b"\n") == 1
    assert orjson.loads(line)["bill"].keys() == {field.name for field in fields(Bill)}


@given(bills, st.data())
def test_a_line_that_is_cut_or_changed_is_no_bill(bill: Bill, data: st.DataObject) -> None:
    line = line_of(bill, STORE)
    at = data.draw(st.integers(min_value=0, max_value=len(line) - 1))
    assert bill_of(line[:at], STORE) is None
    assert bill_of(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :], STORE) is None


def test_a_bill_that_is_whole_but_of_another_version_or_shape_is_none() -> None:
    line = line_of(BILL, STORE)
    assert bill_of(line, "another store") is None
    assert bill_of(line.replace(b'"v":1', b'"v":2'), STORE) is None
    for body in (
        b'"store":"3f","bill":{}}\n',
        b'"store":"3f"}\n',
        b'"store":"4a","bill":{}}\n',
        b'"other":1}\n',
        b'"bill":[}\n',
    ):
        assert bill_of(b'{"v":1,"crc":"%08x",%b' % (crc32(body), body), STORE) is None


def test_what_json_cannot_hold_is_said_so() -> None:
    with pytest.raises(TypeError):
        line_of(Bill("\ud800", "key_1", None, (), 1), STORE)


def test_only_the_owner_may_read_and_only_one_process_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "spool"
    file = SpoolFile.create(folder, STORE)
    file.append([line_of(BILL, STORE), line_of(BILL, STORE)])
    assert (folder.stat().st_mode & 0o777, file.path.stat().st_mode & 0o777) == (0o700, 0o600)
    assert SpoolFile.adopt(file.path) is None
    file.close()
    adopted = SpoolFile.adopt(file.path)
    assert adopted is not None
    assert (adopted.pending, adopted.store) == (2, STORE)
    adopted.remove()
    assert SpoolFile.adopt(file.path) is None
    assert list(folder.iterdir()) == []


def test_a_mark_says_where_to_go_on_even_behind_a_torn_line(tmp_path: Path) -> None:
    file = SpoolFile.create(tmp_path, STORE)
    file.append([line_of(BILL, STORE)] * 3)
    with file.path.open("ab") as torn:
        torn.write(line_of(BILL, STORE)[:40])
    (first,) = file.read(1)
    file.advance(first)
    file.mark()
    file.close()
    adopted = SpoolFile.adopt(file.path)
    assert adopted is not None and adopted.pending == 2
    found = adopted.read(100)
    assert [each.bill for each in found] == [BILL, BILL, None, None]
    for each in found:
        if each.bill is None:
            adopted.set_aside(each)
    adopted.close()
    assert file.path.with_suffix(".torn").read_bytes() == line_of(BILL, STORE)[:40] + b"\n"


def test_a_write_that_fails_half_way_leaves_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SpoolFile.create(tmp_path, STORE)
    file.append([line_of(BILL, STORE)])
    before = file.path.read_bytes()
    write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        file.append([line_of(BILL, STORE)])
    assert (file.path.read_bytes(), file.pending) == (before, 1)
    file.close()


def test_a_short_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    file = SpoolFile.create(tmp_path, STORE)
    file.append([line_of(BILL, STORE)])
    assert [each.bill for each in file.read(9)] == [BILL]
    file.close()
