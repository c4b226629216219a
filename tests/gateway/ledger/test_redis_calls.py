"""What the scripts are given and how their answers are read."""

from typing import Any

import orjson
import pytest

from gateway.ledger import redis_calls as calls
from gateway.ledger.redis_scripts import keys
from gateway.ledger.store import (
    Ask,
    Beat,
    Entry,
    Fold,
    Granted,
    Meter,
    Refused,
    Settled,
    Standing,
    StoreDown,
    Sum,
)
from tests.gateway.ledger.requests import around_now, ask, bill, cap, said

ROOT = keys("{p:default}:")


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ([b"granted", 5, None, 0, b""], Granted(5)),
        ([b"granted", 5, 9, 0, b""], Granted(5, 9)),
        (
            [b"granted", 5, 0, 7, b"[]", 1, 0, 7, 60_500_000],
            Granted(5, 0, 7, ((1, 0.0), (7, 60.5))),
        ),
        ([b"held", b"key:k|total", b"1", b"2", b"0", 0], Refused("held", "key:k|total")),
        (
            [b"over_budget", b"key:k|total", b"1", b"2", b"0", -3],
            Refused("over_budget", "key:k|total", left_nanousd=-3),
        ),
        ([b"rate", b"key:k|rpm", b"1", b"2", b"3.5", 0], Refused("rate", "key:k|rpm", retry_after_s=3.5)),
        (
            [b"window", "user:é|1d:x".encode(), b"1795181749", b"250000", b"0", 0],
            Refused("window", "user:é|1d:x", 1795181749.25),
        ),
    ],
)
def test_the_answers_of_a_reserve(answer: list[bytes], read: Granted | Refused) -> None:
    assert calls.reserved(answer)[0] == read


def test_an_answer_that_no_script_gives_is_a_store_that_is_down() -> None:
    with pytest.raises(StoreDown):
        calls.reserved(b"OK")


def test_the_answers_of_a_settle() -> None:
    assert calls.settled([b"settled", b"3", 10, -2]) == Settled(True, 3, (10, -2))
    assert calls.settled([b"again", 7]) == Settled(False, 0, (7,))


def test_a_reserve_says_all_of_the_ask() -> None:
    today = around_now(None)
    meters = [Meter("key:%s", "rpm", 3), Meter("key:k", "parallel", 4), Meter("key:k", "tpd", 8)]
    asked = ask("é", cap(5), today, most=7, usual=6, least=-5, meters=meters, tokens=9)
    call = calls.reserve(ROOT, asked)
    id, least, usual, most, whole, patient, tokens, least_tokens, lease_s, line, names, *rest = said(call)[4:]
    assert (id.decode(), int(least), int(usual), int(most), whole, patient) == ("é", -5, 6, 7, b"0", b"1")
    assert (int(tokens), int(least_tokens), float(lease_s), line) == (9, 0, 1000.0, asked.line)
    assert names == b'["key:k|total","key:k|1d:today"]'
    start_s, end_s = repr(today.start_s), repr(today.end_s)
    assert orjson.loads(rest[0]) == [["total", "0.0", "0.0"], ["1d:today", start_s, end_s]]
    assert rest[1:5] == [start_s.encode(), end_s.encode(), b"0", b"8"]
    taken = b'[["key:%%s","rpm","%s","1"],["key:k","parallel","","1"],["key:k","tpd","%s","%s"]]'
    assert rest[5:11] == [taken, b"0", b"1", b"2", b"1", b"3"]
    assert rest[11:14] == [b"{p:default}:states:key", b"k", b'["1","0","",']
    assert rest[14:18] == [b"{p:default}:sums:key:k|total", b"5", b"{p:default}:sums:key:k|1d:today", b""]
    rates = [b"{p:default}:meters:key:%s|rpm", b"r", b"3"], [b"{p:default}:meters:key:k|tpd", b"T", b"8"]
    assert rest[18:] == [b"key:k", *rates[0], b"key:k", b"p", b"4", *rates[1]]
    assert call.durable


def test_a_reserve_with_nothing_to_count_on_leaves_blanks() -> None:
    free = Ask("r", (Standing("org", "default", 0), Standing("key", "k", 0)), (cap(None, on_cap="refuse"),), 1, 2, 3)
    rest = said(calls.reserve(ROOT, free))[15:]
    assert rest[1:11] == [b"", b"", b"0", b"", b"", b"0", b"2", b"1", b"0", b"0"]
    assert rest[13] == b"" and rest[16] == b'["0","0","",'
    twice = [Meter("key:k", "rpm", 3), Meter("key:k", "rpm", 4)]
    assert said(calls.reserve(ROOT, ask("r", cap(5, on_cap="refuse"), meters=twice)))[18:22:3] == [b"1", b"1"]


def test_a_settle_says_all_of_the_bill() -> None:
    billed = bill("é", 9_000_000 * 10**9, cap(5), tokens=12)
    id, cost, tokens, line, names, windows, *sums = said(calls.settle(ROOT, billed))[4:]
    assert (id.decode(), cost, int(tokens)) == ("é", b"9000000000000000", 12)
    assert orjson.loads(line)["cost_nanousd"] == 9_000_000 * 10**9
    assert (names, windows) == (b'["key:k|total"]', b'[["total","0.0","0.0"]]')
    assert sums == [b"{p:default}:sums:key:k|total"]


def test_what_is_said_again_is_what_was_meant() -> None:
    """The same counters come with other meters, in another store, other ones at the place of those that are gone."""
    counters = (cap(1),)
    for meters in ([Meter("a", "rpm", 1)], [], [Meter("b", "tpm", 2)]):
        for root in (ROOT, keys("{q:default}:")):
            for _ in range(2):
                words = said(calls.reserve(root, ask("r", *counters, meters=meters)))
                assert words[25] == str(len(meters)).encode()
                assert words[31::3] == [f"{root.first}meters:{meter.name}".encode() for meter in meters]
                assert said(calls.settle(root, bill("r", 1, *counters)))[10] == f"{root.first}sums:key:k|total".encode()
    for at in range(3 * calls.MOST_SAME):
        settled = said(calls.settle(ROOT, bill("r", 1, cap(None, scope=f"key:{at}"))))
        assert settled[10] == f"{{p:default}}:sums:key:{at}|total".encode()


@pytest.mark.parametrize("most", [10**18, 10**19, 10**20, 10**40])
def test_an_amount_beyond_all_counting_is_still_one_that_the_server_reads(most: int) -> None:
    assert int(said(calls.reserve(ROOT, ask("r", cap(5), most=most)))[7]) == min(most, 10**19)


def test_what_only_lives_on_and_what_is_looked_at_is_not_waited_for() -> None:
    assert not calls.renew(ROOT, [Beat("r")], 10).durable
    assert calls.settle(ROOT, bill("r", 1)).durable


@pytest.mark.parametrize("cost", [-1, 9_000_001 * 10**9])
def test_a_cost_that_no_bill_can_have_does_not_reach_the_server(cost: int) -> None:
    with pytest.raises(ValueError, match="nano-USD"):
        calls.settle(ROOT, bill("r", cost))


def test_an_entry_of_layout_1_is_read() -> None:
    entry = calls.entry(
        b"1795181749250-3", [b"line", b'{"request_id":"r","cost_nanousd":4}', b"counters", b'["a|total"]']
    )
    assert (entry.id, entry.at_s, entry.counters) == ("1795181749250-3", 1795181749.25, ("a|total",))
    assert (entry.bill["request_id"], entry.bill["cost_nanousd"], entry.bill["adjusts"]) == ("r", 4, False)


def test_what_the_store_says_of_an_entry_stands_over_its_line() -> None:
    fields = [b"line", b'{"cost_nanousd":9}', b"counters", b"[]", b"request_id", b"r", b"cost", b"-5"]
    entry = calls.entry(b"1-0", [*fields, b"adjusts", b"{}", b"overrun", b"2"])
    assert (entry.bill["cost_nanousd"], entry.bill["adjusts"], entry.overrun_nanousd) == (-5, True, 2)
    assert entry.bill["request_id"] == "r"


def test_everything_at_one_instant() -> None:
    sums = ["key:é|total".encode(), b"3", b"100", b"1"]
    taken = b'[["key:k","parallel","","1"],["key:k","rpm","17","1"]]'
    hold = [b"r", b"1795181759.5", b"100", b"2", b'["a|total"]', taken, b""]
    now = calls.snapshot([b"1795181749", b"500000", sums, hold * 2, [b"key:k", b"2"], b"1-0", b"9-9", b"key:z|total"])
    assert now.after == "key:z|total"
    assert now.now_s == 1795181749.5
    assert now.sums == {"key:é|total": Sum(3, 100, 1)}
    assert now.slots == {"key:k": 2}
    assert (now.first_id, now.last_id) == ("1-0", "9-9")
    one, other = now.holds
    assert one == other
    assert (one.request_id, one.nanousd, one.cost_nanousd, one.deadline_s) == ("r", 100, 2, 1795181759.5)
    assert (one.counters, one.slots, one.bill["ending"]) == (("a|total",), ("key:k",), "lost")


def test_folds_come_back_as_they_were_given() -> None:
    group: dict[str, Any] = {"day": "2026-11-20", "key_id": "k", "model": 'a "}\n model', "end_user": None}
    folds = [
        Fold(group, 7, 2, {"input_tokens": 5, "odd } name": 1}),
        Fold({**group, "model": "b"}, -3, 1, {}),
    ]
    entries = [Entry(f"5-{at}", 0.0, {}) for at in range(2)]
    call = calls.fold(ROOT, entries, {"key:k|total": 4}, folds)
    words = said(call)[4:]
    assert words[:7] == [b"2", b"1", b"5-2", b"5-0", b"5-1", b"key:k|total", b"4"]
    kept: list[bytes] = []
    for at in range(7, len(words), 3):
        day, name, amount = words[at : at + 3]
        assert day == b"2026-11-20"
        kept += [name, amount]
    assert sorted(calls.folded(kept), key=lambda fold: fold.cost_nanousd) == folds[::-1]
