"""A bill's way into the journal and back."""

import pytest

from gateway.ledger import journal
from gateway.ledger.store import MAX_NANOUSD
from tests.gateway.ledger.requests import bill, cap


def test_a_bill_is_read_back_without_its_counters() -> None:
    entry = journal.entry("7", 1_795_181_749_219, journal.line(bill("r", MAX_NANOUSD, cap(None))))
    assert (entry.id, entry.at_s) == ("7", 1795181749.219)
    assert entry.bill["request_id"] == "r"
    assert entry.bill["cost_nanousd"] == MAX_NANOUSD
    assert "counters" not in entry.bill


@pytest.mark.parametrize("cost", [-1, MAX_NANOUSD + 1])
def test_a_cost_that_cannot_be_is_refused(cost: int) -> None:
    with pytest.raises(ValueError, match=f"not {cost}"):
        journal.line(bill("r", cost))


def test_a_span_is_in_whole_milliseconds() -> None:
    assert journal.span_ms(1.0005, 2.0) == (1001, 2000)
    first, past = journal.span_ms(float("-inf"), float("inf"))
    assert first == 0
    assert 4e12 < past < 2**63
