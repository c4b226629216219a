"""What a virtual key is made of: its token, its id, and its amounts in USD as people write them."""

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from gateway.ledger.store import MAX_NANOUSD
from translators.errors import LLMError

NANO = 10**9
DECIMALS = 9  # of a dollar: the ledger counts in nano-USD
MAX_USD_TEXT = 40  # characters; far more than the largest amount needs


def new_token() -> str:
    """A bearer token, `sk-hg-` and 43 characters of 256 random bits."""
    return f"sk-hg-{secrets.token_urlsafe(32)}"


def new_id(kind: Literal["key", "team"]) -> str:
    """`key_…` or `team_…`, with 96 random bits in lower-case hex."""
    return f"{kind}_{secrets.token_hex(12)}"


def hint(token: str) -> str:
    """A token's first and last characters: enough to recognise it in a list, 24 bits of what is secret."""
    return f"{token[:6]}…{token[-4:]}"


def key_in(env: Mapping[str, str], name: str) -> str | None:
    """The key that a variable holds, without white space around it; None where that leaves nothing.

    Raises LLMError for what is none, without repeating it.
    """
    key = env.get(name, "").strip()
    if not key.isascii() or not key.isprintable():
        raise LLMError("authentication", f"{name} is no key: it holds more than ASCII's printable characters")
    return key or None


def nanousd(amount: object) -> int:
    """USD, a Decimal, an int or a decimal string, in nano-USD, exactly.

    Raises ValueError for what is no amount, is negative, has more than 9 decimal places or is above MAX_NANOUSD.
    """
    value = _decimal(amount)
    if value.is_signed() and value:
        raise ValueError("must not be negative")
    if value > MAX_NANOUSD // NANO:
        raise ValueError(f"must be at most {MAX_NANOUSD // NANO} USD")
    _, digits, exponent = value.as_tuple()
    written = "".join(map(str, digits)).rstrip("0")
    if not written:
        return 0
    shift = int(exponent) + len(digits) - len(written) + DECIMALS  # by arithmetic on the digits: nothing is rounded
    if shift < 0:
        raise ValueError(f"must have at most {DECIMALS} decimal places")
    return int(written) * int(10**shift)


def _decimal(amount: object) -> Decimal:
    if isinstance(amount, Decimal) and amount.is_finite():
        return amount
    if isinstance(amount, int) and not isinstance(amount, bool):
        return Decimal(amount)
    if isinstance(amount, str) and len(amount) <= MAX_USD_TEXT:
        whole, dot, part = amount.partition(".")
        if _digits(whole) and (not dot or _digits(part)):
            return Decimal(amount)
    raise ValueError('must be an amount in USD, such as 25 or "0.5"')


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def usd(amount_nanousd: int) -> str:
    """Nano-USD as an exact decimal string in USD, without zeros that say nothing: "0.1", "25"."""
    sign, amount = ("-", -amount_nanousd) if amount_nanousd < 0 else ("", amount_nanousd)
    whole, rest = divmod(amount, NANO)
    part = f"{rest:0{DECIMALS}d}".rstrip("0")
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"
