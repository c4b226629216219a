"""A bill's way into the journal and back."""

from dataclasses import fields, replace

import orjson
import pytest

from gateway.ledger import journal
from gateway.ledger.store import MAX_NANOUSD, Bill
from tests.gateway.ledger.requests import bill, cap


def test_a_bill_is_read_back_without_its_counters_and_tokens() -> None:
    entry = journal.entry("7", 1_795_181_749_219, journal.line(bill("r", MAX_NANOUSD, cap(None), tokens=7)))
    assert (entry.id, entry.at_s) == ("7", 1795181749.219)
    assert entry.bill["request_id"] == "r"
    assert entry.bill["cost_nanousd"] == MAX_NANOUSD
    assert set(entry.bill) == {field.name for field in fields(Bill)} - {"counters", "tokens"}


def test_a_line_has_every_field_with_its_own_value() -> None:
    names = [field.name for field in fields(Bill)]
    made = Bill(*(0 if name == "cost_nanousd" else name for name in names))  # type: ignore[arg-type]  # names as values
    written = orjson.loads(journal.line(made))
    assert written == {name: getattr(made, name) for name in names if name not in ("counters", "tokens")}


def test_what_the_store_knows_is_laid_over_the_line() -> None:
    line = journal.line(replace(bill("r", 50, cap(None)), usage={"input_tokens": 9, "output_tokens": 40}))
    before = journal.line(
        replace(bill("r", 70, cap(None)), usage={"input_tokens": 9, "output_tokens": 60, "web_searches": 1})
    )
    entry = journal.entry("7", 1, line, counters=["a|total"], overrun_nanousd=3, cost_nanousd=-20, adjusts=before)
    assert (entry.bill["cost_nanousd"], entry.bill["adjusts"], entry.bill["ending"]) == (-20, True, "done")
    assert entry.bill["usage"] == {"output_tokens": -20, "web_searches": -1}
    assert (entry.counters, entry.overrun_nanousd) == (("a|total",), 3)


def test_a_hold_that_nobody_wrote_a_line_for_was_lost() -> None:
    told = journal.bill_of(b"", "r", 5)
    assert (told["request_id"], told["cost_nanousd"], told["ending"], told["usage"]) == ("r", 5, "lost", {})


def test_a_line_of_an_older_headgate_has_blanks_for_what_is_new() -> None:
    entry = journal.entry("7", 1, b'{"request_id":"r","cost_nanousd":5,"ending":"done"}')
    assert (entry.bill["cost_nanousd"], entry.bill["adjusts"], entry.bill["end_user"]) == (5, False, None)


@pytest.mark.parametrize("cost", [-1, MAX_NANOUSD + 1])
def test_a_cost_that_cannot_be_is_refused(cost: int) -> None:
    with pytest.raises(ValueError, match=f"not {cost}"):
        journal.line(bill("r", cost))


def test_a_span_is_in_whole_milliseconds() -> None:
    assert journal.span_ms(1.0005, 2.0) == (1001, 2000)
    first, past = journal.span_ms(float("-inf"), float("inf"))
    assert first == 0
    assert 4e12 < past < 2**63
