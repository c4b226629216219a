"""What the scripts are given and how their answers are read."""

from typing import Any

import pytest

from gateway.ledger import redis_calls as calls
from gateway.ledger.store import Beat, Entry, Fold, Granted, Level, Meter, Refused, Settled, StoreDown, Sum
from tests.gateway.ledger.requests import ask, bill, cap

ROOT = "{p:default}:"


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ([b"granted", b"5", b"", b"0", b""], Granted(5)),
        ([b"granted", b"5", b"9", b"0", b""], Granted(5, 9)),
        (
            [b"granted", b"5", b"0", b"7", b"[]", b"1", b"0.000000", b"7", b"60.5"],
            Granted(5, 0, 7, (Level(1, 0.0), Level(7, 60.5))),
        ),
        ([b"held", b"key:k|total", b"1", b"2", b"0"], Refused("held", "key:k|total")),
        ([b"rate", b"key:k|rpm", b"1", b"2", b"3.5"], Refused("rate", "key:k|rpm", retry_after_s=3.5)),
        (
            [b"window", "user:é|1d:x".encode(), b"1795181749", b"250000", b"0"],
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
    assert calls.settled([b"again"]) == Settled(False)


def test_a_script_is_called_by_its_hash_or_by_its_text() -> None:
    call = calls.reserve(ROOT, ask("r", cap(5), meters=[Meter("key:k", "rpm", 3)]))
    assert call.durable
    assert call.command()[:4] == ("EVALSHA", calls.RESERVE.sha, 1, ROOT)
    assert call.command(by_text=True)[:4] == ("EVAL", calls.RESERVE.text, 1, ROOT)
    assert calls.script(calls.RESERVE.text) == calls.RESERVE
    assert calls.script(calls.RESERVE.text + " ").sha != calls.RESERVE.sha


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
    assert call.arguments[:7] == [2, 1, "5-2", "5-0", "5-1", "key:k|total", 4]
    kept: list[bytes] = []
    for at in range(7, len(call.arguments), 3):
        day, name, amount = call.arguments[at : at + 3]
        assert day == "2026-11-20"
        kept += [str(name).encode(), str(amount).encode()]
    assert sorted(calls.folded(kept), key=lambda fold: fold.cost_nanousd) == folds[::-1]
