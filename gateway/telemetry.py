"""What the operator sees of a request: one log line."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress

import orjson

from gateway.ledger.store import Bill, Settled
from translators.errors import LLMError

KEPT_S = 0.05  # a log line, so that it is written with others
MOST_LINES = 1000
MOST_MESSAGE = 500  # characters of an error's
TELLING = ("upstream_auth", "upstream_quota")  # kinds of errors that the operator alone can do something about
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

log = logging.getLogger("headgate")


def log_level(env: Mapping[str, str]) -> str:
    """HEADGATE_LOG_LEVEL, INFO unless told. Raises LLMError for a word that is none."""
    level = (env.get("HEADGATE_LOG_LEVEL") or "INFO").upper()
    if level not in LEVELS:
        raise LLMError("invalid_request", f"HEADGATE_LOG_LEVEL must be one of {', '.join(LEVELS)}, not {level}")
    return level


def start(env: Mapping[str, str]) -> None:
    """Log lines to standard error, in every worker."""
    logging.basicConfig(level=log_level(env), handlers=[LINES])
    servers = logging.getLogger("uvicorn.error")
    servers.setLevel(logging.INFO)
    servers.addFilter(_grave)
    # what no line of ours shows need not be found out (docs.python.org, logging howto, "Optimization")
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _grave(record: logging.LogRecord) -> bool:
    """Of the server's own lines: warnings, and that a worker died, which it says as if it were nothing."""
    if str(record.msg).endswith("died"):  # uvicorn 0.54, supervisors/multiprocess.py
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return record.levelno >= max(logging.WARNING, logging.root.level)


class Lines(logging.Handler):
    """Standard error, written to a few times a second rather than at every line; at once from warnings on."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self._lines: list[tuple[float, str | Bill]] = []
        self._second, self._written = 0, ""  # the date and time of a second are written out once

    def emit(self, record: logging.LogRecord) -> None:
        """As logging asks for it: whoever logs hears nothing of what goes wrong here."""
        try:
            self.add(self.format(record), record.created)
            if record.levelno >= logging.WARNING:
                self.flush()
        except Exception:  # noqa: BLE001 - as the handlers of logging do it
            self.handleError(record)

    def add(self, line: str | Bill, at_s: float) -> None:
        """Keep `line` for a moment, with its time before it; a bill is put into words when it is written."""
        self._lines.append((at_s, line))
        if len(self._lines) >= MOST_LINES:
            self.flush()
        elif len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_later(KEPT_S, self.flush)
            except RuntimeError:  # no loop runs here
                self.flush()

    def _timed(self, at_s: float, line: str | Bill) -> str:
        second = int(at_s)
        if second != self._second:
            self._second, self._written = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        text = line if isinstance(line, str) else f"INFO {_told(line, 0)}"
        return f"{self._written},{int((at_s - second) * 1000):03d} {text}\n"

    def flush(self) -> None:
        """Write what is kept. What nobody takes (the disk is full, the reader gone) is lost, and no request with it."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                text = "".join([self._timed(at_s, line) for at_s, line in lines])
                with suppress(OSError, ValueError):  # ValueError: it is closed
                    sys.stderr.write(text)
                    sys.stderr.flush()


LINES = Lines()


def settled(bill: Bill, outcome: Settled, failure: LLMError | None = None, failed_target: str = "") -> None:
    """One line for a request that was billed; a warning where it cost more than it held, or our own key was refused.

    `failure`: of its last attempt that failed, at `failed_target`.
    """
    if outcome.overrun_nanousd or bill.unpriced:
        log.warning("%s", _told(bill, outcome.overrun_nanousd, failure, failed_target))
    elif failure is not None:
        level = logging.WARNING if failure.kind in TELLING else logging.INFO
        log.log(level, "%s", _told(bill, 0, failure, failed_target))
    elif log.isEnabledFor(logging.INFO):  # one for every request: logging's own way costs more than all of the line
        LINES.add(bill, time.time())


def _told(bill: Bill, overrun_nanousd: int, failure: LLMError | None = None, failed_target: str = "") -> str:
    line: dict[str, object] = {
        "request_id": bill.request_id,
        "key_id": bill.key_id,
        "model": bill.model,
        "target": bill.target,
        "ending": bill.ending,
        "cost_nanousd": bill.cost_nanousd,
        "usage": bill.usage,
        "estimated": bill.estimated,
        "latency_ms": bill.latency_ms,
        "first_token_ms": bill.first_token_ms,
        "attempts": bill.attempts,
    }
    if bill.unpriced:
        line["unpriced"] = True
    if overrun_nanousd:
        line["overrun_nanousd"] = overrun_nanousd
    if failure is not None:
        line |= _why(failure) | {"error_target": failed_target}
    try:
        return orjson.dumps(line).decode()
    except orjson.JSONEncodeError:  # a number past 64 bits: one odd bill must not take the lines beside it along
        return json.dumps(line)


def _why(error: LLMError) -> dict[str, object]:
    return {"error": error.message[:MOST_MESSAGE], "error_code": error.code, "error_status": error.status}


def refused(request_id: str, key_id: str, error: LLMError) -> None:
    """One line for a request that came to no bill. `key_id`: "" where no key was known yet."""
    if log.isEnabledFor(logging.INFO):
        line = {"request_id": request_id, "key_id": key_id, "ending": "refused"} | _why(error)
        log.info("%s", orjson.dumps(line).decode())


def unsettled(bill: Bill) -> None:
    """A bill that the store did not take: everything that is needed to book it by hand."""
    fields = {name: getattr(bill, name) for name in bill.__slots__}
    fields["counters"] = [counter.name for counter in bill.counters]
    log.error("the ledger did not take this bill: %s", orjson.dumps(fields).decode())
