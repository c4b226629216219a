"""The operator's log: one line a request, louder where money is at stake, and never a secret."""

import json
import logging
import re
import sys
from dataclasses import replace
from datetime import datetime

import pytest

from gateway import telemetry
from gateway.ledger.store import Bill, Settled
from translators.errors import LLMError

BILL = Bill("r1", "key_1", None, (), 350, {"input_tokens": 3}, "small", "openai/small", "done")


def test_a_bill_is_one_line_of_json(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headgate"):
        telemetry.settled(BILL, Settled(True, 0))
    date, clock, level, line = capsys.readouterr().err.strip().split(" ", 3)
    datetime.fromisoformat(f"{date} {clock}")
    assert (level, json.loads(line)["cost_nanousd"]) == ("INFO", 350)


def test_an_odd_bill_does_not_take_the_lines_beside_it_along(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "headgate"):
        for amount in (3, 2**64, 5):
            telemetry.settled(replace(BILL, usage={"input_tokens": amount}), Settled(True, 0))
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line.split(" ", 3)[3])["usage"]["input_tokens"] for line in lines] == [3, 2**64, 5]


def test_no_line_where_the_level_is_above_it(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "headgate"):
        telemetry.settled(BILL, Settled(True, 0))
    assert capsys.readouterr().err == ""


def test_lines_of_logging_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.LINES.handle(logging.LogRecord("x", logging.ERROR, "", 0, "said %s", ("this",), None))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR said this\n", capsys.readouterr().err)


class Full:
    """A standard error that takes nothing."""

    def __init__(self, why: Exception) -> None:
        self._why = why

    def write(self, _: str) -> int:
        raise self._why

    def flush(self) -> None:
        raise self._why


@pytest.mark.parametrize("why", [OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed")])
def test_a_log_that_cannot_be_written_hurts_nobody(
    why: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = sys.stderr
    monkeypatch.setattr(sys, "stderr", Full(why))
    telemetry.LINES.handle(logging.LogRecord("x", logging.WARNING, "", 0, "lost", (), None))
    for _ in range(telemetry.MOST_LINES):
        telemetry.LINES.add(BILL, 0.0)
    monkeypatch.setattr(sys, "stderr", kept)
    telemetry.LINES.handle(logging.LogRecord("x", logging.WARNING, "", 0, "written", (), None))
    assert [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()] == ["WARNING written"]


def test_an_overrun_and_a_missing_price_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    telemetry.settled(BILL, Settled(True, 5))
    telemetry.settled(replace(BILL, unpriced=True), Settled(True, 0))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert json.loads(caplog.records[0].getMessage())["overrun_nanousd"] == 5


def test_a_failure_is_told_with_whose_it_was(caplog: pytest.LogCaptureFixture) -> None:
    ended = replace(BILL, ending="failed", target="")
    with caplog.at_level(logging.INFO, "headgate"):
        telemetry.settled(ended, Settled(True, 0), LLMError("timeout", "x" * 1000), "openai/small")
        telemetry.settled(ended, Settled(True, 0), LLMError("upstream_auth", "no such key"), "openai/small")
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.WARNING]
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [line["error_target"] for line in lines] == ["openai/small"] * 2
    assert lines[0]["error"] == "x" * 500
    told = lines[1]["error"], lines[1]["error_code"], lines[1]["error_status"]
    assert told == ("no such key", "provider_auth_failed", 502)


def test_a_bill_that_was_not_taken_is_logged_so_that_it_can_be_booked(caplog: pytest.LogCaptureFixture) -> None:
    telemetry.unsettled(BILL)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    told = json.loads(record.getMessage().partition(": ")[2])
    assert (told["request_id"], told["key_id"], told["cost_nanousd"]) == ("r1", "key_1", 350)


def test_a_worker_that_died_is_a_warning_and_the_servers_small_talk_is_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    servers, above = logging.getLogger("uvicorn.error"), logging.getLogger("uvicorn")
    for logger in (logging.root, above, servers):  # whatever servers of other tests have made of them
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", True)
    for logger, level in ((logging.root, logging.root.level), (servers, servers.level)):
        monkeypatch.setattr(logger, "level", level)  # as it is again afterwards
    monkeypatch.setattr(servers, "filters", [])
    telemetry.start({})
    for line in ("Started server process [%d]", "Child process [%d] died"):
        servers.info(line, 7)
    servers.warning("Invalid HTTP request received.")
    said = [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["WARNING Child process [7] died", "WARNING Invalid HTTP request received."]
    telemetry.start({"HEADGATE_LOG_LEVEL": "ERROR"})
    logging.root.setLevel(logging.ERROR)
    servers.info("Child process [8] died")
    assert capsys.readouterr().err == ""
