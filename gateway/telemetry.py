"""What the operator sees of a request: one log line."""

import logging
from collections.abc import Mapping

import orjson

from gateway.ledger.store import Bill, Settled
from translators.errors import LLMError

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
    logging.basicConfig(level=log_level(env), format="%(asctime)s %(levelname)s %(message)s")


def settled(bill: Bill, outcome: Settled) -> None:
    """One line for a request that was billed; a warning where it cost more than it held."""
    line = {
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
    if outcome.overrun_nanousd:
        line["overrun_nanousd"] = outcome.overrun_nanousd
    level = logging.WARNING if outcome.overrun_nanousd or bill.unpriced else logging.INFO
    if log.isEnabledFor(level):
        log.log(level, "%s", orjson.dumps(line).decode())


def unsettled(bill: Bill) -> None:
    """A bill that the store did not take: everything that is needed to book it by hand."""
    fields = {name: getattr(bill, name) for name in bill.__slots__}
    fields["counters"] = [counter.name for counter in bill.counters]
    log.error("the ledger did not take this bill: %s", orjson.dumps(fields).decode())
