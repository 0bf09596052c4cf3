"""The identity of a trade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.trade import TradeId, trade_id


@given(st.integers(0, 2**63 - 1))
def test_a_plain_number_below_two_to_the_63_is_an_int(number: int) -> None:
    assert trade_id(str(number)) == number


@given(st.text() | st.integers(2**63, 10**30).map(str))
def test_an_id_leads_back_to_the_very_text_of_the_exchange(text: str) -> None:
    assert str(trade_id(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("00", "00"),
        ("007", "007"),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "9223372036854775808"),
        ("-1", "-1"),
        ("+1", "+1"),
        ("1_0", "1_0"),
        (" 1", " 1"),
        ("²", "²"),
        ("１", "１"),
        ("", ""),
        ("a3f1c2d0-0000-4000-8000-000000000000", "a3f1c2d0-0000-4000-8000-000000000000"),
    ],
)
def test_an_id_has_one_form(text: str, expected: TradeId) -> None:
    assert trade_id(text) == expected
