"""Decimal text: what may enter the tape, checked against Decimal itself."""

from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.decimals import (
    INTEGER_DIGITS,
    SCALE,
    are_positive_decimals,
    decimal_text,
    is_positive_decimal,
    plain_text,
)

HOSTILE = [
    *["", " ", ".", "-", "+1", "-1", "0", "0.0", "000", "1.", ".5", "1..2", "1.2.3", "NaN", "sNaN", "Infinity", "-inf"],
    *["1e5", "1E-5", "1e1000000", "0x10", "1_000", "1,000", "1 000", " 1", "1 ", "1\n", "\n1", "1\n2", "1\r", "1\x00"],
    *["１２３", "٣", "²", "1２", "9" * 40, "9" * 21, "1." + "0" * 18 + "1", "0." + "0" * 19 + "1", "1.0" + "0" * 40],
    "9" * 100_000,
]  # fmt: skip

near_decimals = st.text(st.sampled_from("0123456789.-+eE_ \n９"), max_size=45) | st.decimals().map(str)


def oracle(text: str) -> bool:
    whole, point, fraction = text.partition(".")
    if not all(part.isascii() and part.isdigit() for part in ([whole, fraction] if point else [whole])):
        return False
    try:
        value = Decimal(text)
    except InvalidOperation:
        return False
    return value > 0 and len(whole) <= INTEGER_DIGITS and len(fraction) <= SCALE


@given(near_decimals)
def test_a_text_is_a_positive_decimal_exactly_when_the_oracle_says_so(text: str) -> None:
    assert is_positive_decimal(text) == oracle(text)


@given(st.integers(1, 10**38 - 1), st.integers(0, SCALE))
def test_every_positive_number_the_store_can_hold_is_accepted(digits: int, scale: int) -> None:
    value = Decimal(f"{digits}e-{scale}")
    assert is_positive_decimal(plain_text(value)) == (len(str(digits)) - scale <= INTEGER_DIGITS)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:30])
def test_a_hostile_text_is_refused_alone_and_among_others(text: str) -> None:
    assert not is_positive_decimal(text)
    assert not are_positive_decimals([text])
    assert not are_positive_decimals(["1", text, "2.5"])


@given(st.lists(near_decimals | st.sampled_from(["1", "2.50", *HOSTILE]), max_size=4))
def test_many_texts_are_positive_decimals_when_each_of_them_is(texts: list[str]) -> None:
    assert are_positive_decimals(iter(texts)) == all(map(is_positive_decimal, texts))


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_canonical_text_keeps_the_value_and_says_it_one_way(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text.upper()
    assert text == "0" or not text.startswith("-0") or "." in text
    assert "." not in text or text[-1] not in "0."
    assert decimal_text(Decimal(text)) == text


@given(st.integers(-(10**50), 10**50), st.integers(0, 30), st.integers(0, 10))
def test_trailing_zeros_do_not_change_canonical_text(digits: int, scale: int, zeros: int) -> None:
    value = Decimal(f"{digits}E-{scale}")
    assert decimal_text(value) == decimal_text(Decimal(f"{digits * 10**zeros}E-{scale + zeros}"))


@pytest.mark.parametrize(
    ("value", "text"),
    [("0E+3", "0"), ("-0.00", "0"), ("1E+3", "1000"), ("1E-7", "0.0000001"), ("100", "100"), ("-1.5", "-1.5")],
)  # fmt: skip
def test_canonical_text_by_example(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text


def test_plain_text_keeps_every_digit_that_was_sent() -> None:
    assert plain_text(Decimal("0.10")) == "0.10"
    assert plain_text(Decimal("1E-8")) == "0.00000001"
    assert plain_text(Decimal("1.5E+3")) == "1500"


@pytest.mark.parametrize("number", ["1e999999999", "1e-999999999", "NaN", "Infinity", "1e101"])
def test_an_absurd_number_neither_fills_memory_nor_passes_as_a_price(number: str) -> None:
    text = plain_text(Decimal(number))
    assert len(text) < 20
    assert not is_positive_decimal(text)
