"""The operator's log: one line a request, louder where money is at stake, and never a secret."""

import json
import logging
from dataclasses import replace

import pytest

from gateway import telemetry
from gateway.ledger.store import Bill, Settled

BILL = Bill("r1", "key_1", None, (), 350, {"input_tokens": 3}, "small", "openai/small", "done")


def test_a_bill_is_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headgate"):
        telemetry.settled(BILL, Settled(True, 0))
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert json.loads(record.getMessage())["cost_nanousd"] == 350


def test_an_overrun_and_a_missing_price_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    telemetry.settled(BILL, Settled(True, 5))
    telemetry.settled(replace(BILL, unpriced=True), Settled(True, 0))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert json.loads(caplog.records[0].getMessage())["overrun_nanousd"] == 5


def test_a_bill_that_was_not_taken_is_logged_so_that_it_can_be_booked(caplog: pytest.LogCaptureFixture) -> None:
    telemetry.unsettled(BILL)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    told = json.loads(record.getMessage().partition(": ")[2])
    assert (told["request_id"], told["key_id"], told["cost_nanousd"]) == ("r1", "key_1", 350)
