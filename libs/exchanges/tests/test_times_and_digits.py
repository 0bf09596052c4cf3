"""Times and numbers are exact to the last digit, and what is neither is refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.exchanges.digits import number_text
from crosstape.exchanges.times import decimal_seconds, iso, milliseconds

SECONDS = st.integers(0, 9_000_000_000)


@given(seconds=SECONDS, fraction=st.text("0123456789", min_size=1, max_size=9))
def test_an_iso_time_keeps_up_to_nine_digits(seconds, fraction):
    text = f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{fraction}Z"
    assert iso(text) == seconds * 10**9 + int(fraction.ljust(9, "0"))
    assert iso(text.replace(f".{fraction}", "")) == seconds * 10**9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2021-04-17",
        "2021-04-17T16:43:60.1Z",
        "2021-04-17T16:43:+1.1Z",
        "2021-04-17T16:43:1_.1Z",
        "2021-04-17T16:43:30.Z",
        "2021-04-17T16:43:30.1234567890Z",
        "2021-04-17T16:43:30.1_2Z",
        "2021-04-17T16:43:30.123_56Z",
        "2021-04-17T16:43:30.123４56Z",
        "2021-04-17T16:43:30,123456Z",
        "2021-04-17T16:43:60.123456Z",
        "2021-02-30T16:43:30.1Z",
        "1021-04-17T16:43:30.1Z",
        "2021-04-17T16:43:3０.1Z",
        "2021-04-17T16:43:30.1é",
    ],
)
def test_what_is_no_iso_time_is_refused(text):
    with pytest.raises(ValueError, match="not a time"):
        iso(text)


def test_microseconds_are_exact_however_many_seconds_were_read_before():
    for second in (*range(100), 0):
        text = f"2021-04-17T16:{second // 60:02}:{second % 60:02}.012003Z"
        assert iso(text) == (1_618_675_200 + second) * 10**9 + 12_003_000


@given(st.text(max_size=30))
def test_any_other_text_is_a_value_error_and_nothing_else(text):
    for parse in (iso, milliseconds, decimal_seconds):
        try:
            assert 0 <= parse(text) < 1 << 63
        except ValueError:
            continue


@given(seconds=SECONDS, fraction=st.text("0123456789", min_size=1, max_size=9))
def test_seconds_with_a_fraction_keep_every_digit(seconds, fraction):
    assert decimal_seconds(f"{seconds}.{fraction}") == seconds * 10**9 + int(fraction.ljust(9, "0"))


@pytest.mark.parametrize("text", ["9999999999999", "-1", "1e3", "1_0", "９", "99999999999999"])
def test_milliseconds_that_64_bits_cannot_hold_or_that_are_no_digits_are_refused(text):
    with pytest.raises(ValueError, match="time"):
        milliseconds(text)


@given(st.decimals(0, 10**15, allow_nan=False, allow_infinity=False, places=8))
def test_a_json_number_comes_back_as_it_was_sent(value):
    text = format(value, "f")
    assert number_text(msgspec.json.decode(text, type=msgspec.Raw)) == text


@given(digits=st.integers(0, 10**12), exponent=st.integers(-30, 30))
def test_an_exponent_is_written_out_without_changing_the_value(digits, exponent):
    text = number_text(msgspec.json.decode(f"{digits}e{exponent}", type=msgspec.Raw))
    assert "e" not in text.lower()
    assert Decimal(text) == Decimal(digits).scaleb(exponent)


@pytest.mark.parametrize("text", ["-1", "-1e5", '"1"', '"NaN"', "null", "1e1000000", "1e-1000000", "[1]", "true"])
def test_what_is_no_plain_number_is_refused(text):
    with pytest.raises(ValueError, match="not a plain number"):
        number_text(msgspec.json.decode(text, type=msgspec.Raw))
