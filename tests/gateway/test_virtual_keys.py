"""Tokens are long and never twice the same; USD and nano-USD are the same amount, to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.store import MAX_NANOUSD
from gateway.virtual_keys import hint, key_in, nanousd, new_id, new_token, usd
from translators.errors import LLMError


def test_tokens_are_long_random_and_look_like_an_sdks_key() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert token.startswith("sk-hg-")
        assert len(token) == 49
        assert token.isascii()
        assert token.isprintable()
        assert " " not in token


def test_a_key_in_the_environment_is_read_without_the_white_space_around_it() -> None:
    assert key_in({"KEY": " sk-hg-1\r\n"}, "KEY") == "sk-hg-1"
    assert key_in({"KEY": " \n"}, "KEY") is key_in({}, "KEY") is None


@pytest.mark.parametrize("key", ["sk-hg-é", "sk-hg-\n1", "sk-hg-\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(LLMError, match="KEY is no key") as refused:
        key_in({"KEY": key}, "KEY")
    assert refused.value.kind == "authentication"
    assert key not in refused.value.message


def test_a_hint_tells_tokens_apart_and_keeps_the_secret() -> None:
    token = new_token()
    assert hint(token) == f"sk-hg-…{token[-4:]}"
    assert len(token) - len(hint(token)) > 30


def test_ids_say_what_they_are_of() -> None:
    assert new_id("key").startswith("key_")
    assert new_id("team").startswith("team_")
    assert new_id("key") != new_id("key")


@pytest.mark.parametrize(
    ("amount", "exactly"),
    [
        (0, 0),
        (25, 25_000_000_000),
        (Decimal("0.1"), 100_000_000),
        ("0.1", 100_000_000),
        ("0.000000001", 1),
        (Decimal("1E-9"), 1),
        (Decimal("1e3"), 1_000_000_000_000),
        (Decimal("0.10000000000000000000000000000000000000000"), 100_000_000),
        ("1234567.123456789", 1_234_567_123_456_789),
        (Decimal("-0"), 0),
        ("9000000", MAX_NANOUSD),
    ],
)
def test_amounts_are_exact(amount: object, exactly: int) -> None:
    assert nanousd(amount) == exactly


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        ("0.0000000001", "decimal places"),
        (Decimal("1e-999999999"), "decimal places"),
        (Decimal("0.30000000000000000000000000000000000000001"), "decimal places"),
        (-1, "negative"),
        ("-1", "amount in USD"),
        (Decimal("-0.5"), "negative"),
        ("9000000.000000001", "at most"),
        (Decimal("1e999999999"), "at most"),
        (10**4000, "at most"),
        (Decimal("NaN"), "amount in USD"),
        (Decimal("Infinity"), "amount in USD"),
        ("ten", "amount in USD"),
        ("", "amount in USD"),
        (".5", "amount in USD"),
        ("1_000", "amount in USD"),
        ("１", "amount in USD"),
        ("0" * 1000, "amount in USD"),
        (True, "amount in USD"),
        (0.1, "amount in USD"),
        (None, "amount in USD"),
        ([1], "amount in USD"),
    ],
)
def test_what_is_no_amount_is_refused_and_never_rounded(amount: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        nanousd(amount)


@given(st.integers(0, MAX_NANOUSD))
def test_usd_and_nanousd_are_the_same_amount(amount: int) -> None:
    assert nanousd(usd(amount)) == amount
    assert Decimal(usd(amount)) * 10**9 == amount


def test_usd_says_no_needless_zeros() -> None:
    assert [usd(n) for n in (0, 1, 100_000_000, 25 * 10**9, 1_500_000_000)] == ["0", "0.000000001", "0.1", "25", "1.5"]
    assert usd(-1_500_000_000) == "-1.5"
