"""The drawing, against the table that seed 1 specifies: its numbers and its layout, to the character."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.client import ExchangeLevel
from crosstape.orderbook.drawing import draw, status
from crosstape.orderbook.view import View

# The seed shows two decimals; what it rounded to 0.00 is as small as that here.
BIDS = """
okx 0.001 2620.60, okx 0.22 2620.50, binance 17.70 2620.49, binance 0.0049 2620.46, binance 0.002 2620.44,
binance 0.04 2620.43, okx 0.01 2620.42, kraken 0.0003 2620.41, kraken 3.70 2620.40, binance 0.67 2620.39,
binance 13.36 2620.38, binance 2.80 2620.36, kraken 4.77 2620.35, binance 0.05 2620.34, kraken 16.03 2620.05,
kraken 54.59 2620.04, kraken 41.98 2619.97, kraken 5.50 2619.91, kraken 33.59 2619.81, kraken 3.21 2619.80,
kraken 0.79 2619.66
"""
ASKS = """
binance 77.54 2620.50, binance 3.97 2620.51, binance 2.99 2620.52, binance 0.001 2620.53, kraken 3.21 2620.54,
binance 0.002 2620.57, binance 1.82 2620.60, okx 4.70 2620.61, binance 8.40 2620.62, binance 3.17 2620.63,
kraken 31.29 2620.65, okx 0.05 2620.66, okx 0.80 2620.67, okx 0.76 2620.68, binance 0.80 2620.69,
binance 1.06 2620.70, kraken 6.41 2620.74, kraken 3.70 2620.88, kraken 4.77 2620.99, kraken 5.50 2621.08,
kraken 3.21 2621.09, kraken 1.00 2621.13, kraken 0.78 2621.23, kraken 0.82 2621.35
"""


def levels(text: str) -> tuple[ExchangeLevel, ...]:
    """`exchange quantity price`, comma-separated."""
    words = [level.split() for level in text.replace("\n", " ").split(",")]
    return tuple(ExchangeLevel(Decimal(price), Decimal(quantity), exchange) for exchange, quantity, price in words)


SEED = View("ETH-USD", levels(BIDS), levels(ASKS))

DRAWN = """\
Aggregated Order Book for ETH-USD
Bid Exch     | Bid Qty    | Bid Price  || Ask Price  | Ask Qty    | Ask Exch    
--------------------------------------------------------------------------------
okx          |       0.00 |    2620.60 ||    2620.50 |      77.54 | binance     
okx          |       0.22 |    2620.50 ||    2620.51 |       3.97 | binance     
binance      |      17.70 |    2620.49 ||    2620.52 |       2.99 | binance     
binance      |       0.00 |    2620.46 ||    2620.53 |       0.00 | binance     
binance      |       0.00 |    2620.44 ||    2620.54 |       3.21 | kraken      
binance      |       0.04 |    2620.43 ||    2620.57 |       0.00 | binance     
okx          |       0.01 |    2620.42 ||    2620.60 |       1.82 | binance     
kraken       |       0.00 |    2620.41 ||    2620.61 |       4.70 | okx         
kraken       |       3.70 |    2620.40 ||    2620.62 |       8.40 | binance     
binance      |       0.67 |    2620.39 ||    2620.63 |       3.17 | binance     
binance      |      13.36 |    2620.38 ||    2620.65 |      31.29 | kraken      
binance      |       2.80 |    2620.36 ||    2620.66 |       0.05 | okx         
kraken       |       4.77 |    2620.35 ||    2620.67 |       0.80 | okx         
binance      |       0.05 |    2620.34 ||    2620.68 |       0.76 | okx         
kraken       |      16.03 |    2620.05 ||    2620.69 |       0.80 | binance     
kraken       |      54.59 |    2620.04 ||    2620.70 |       1.06 | binance     
kraken       |      41.98 |    2619.97 ||    2620.74 |       6.41 | kraken      
kraken       |       5.50 |    2619.91 ||    2620.88 |       3.70 | kraken      
kraken       |      33.59 |    2619.81 ||    2620.99 |       4.77 | kraken      
kraken       |       3.21 |    2619.80 ||    2621.08 |       5.50 | kraken      
kraken       |       0.79 |    2619.66 ||    2621.09 |       3.21 | kraken      
             |       0.00 |       0.00 ||    2621.13 |       1.00 | kraken      
             |       0.00 |       0.00 ||    2621.23 |       0.78 | kraken      
             |       0.00 |       0.00 ||    2621.35 |       0.82 | kraken      
--------------------------------------------------------------------------------
"""  # noqa: W291  # the seed's lines end in spaces


def test_the_table_is_the_seeds() -> None:
    assert "\n".join([*draw(SEED), ""]) == DRAWN


def test_the_bid_side_may_be_the_longer_one() -> None:
    assert draw(View("X", SEED.bids[:1]))[3] == (
        "okx          |       0.00 |    2620.60 ||       0.00 |       0.00 |             "
    )


def test_depth_cuts_both_sides() -> None:
    assert draw(SEED, 2) == [*draw(SEED)[:5], "-" * 80]


def test_an_empty_book_is_an_empty_table() -> None:
    assert draw(View("ETH-USD")) == [*draw(SEED)[:3], "-" * 80]


def test_small_prices_show_the_digits_that_tell_them_apart() -> None:
    view = View("SHIB-USD", levels("okx 5 0.00001234, okx 5 0.00001233"), levels("okx 5 0.00001240"))
    assert draw(view)[3] == "okx          |       5.00 | 0.00001234 || 0.00001240 |       5.00 | okx         "


@given(
    st.lists(st.decimals(Decimal("0.00000001"), Decimal(999_999), places=8), max_size=5),
    st.lists(st.decimals(Decimal("0.01"), Decimal(999_999), places=2), max_size=5),
)
def test_every_line_is_80_characters_wide(bids: list[Decimal], asks: list[Decimal]) -> None:
    view = View(
        "X",
        tuple(ExchangeLevel(price, Decimal(1), "coinbasepro") for price in bids),
        tuple(ExchangeLevel(price, Decimal(1), "okx") for price in asks),
    )
    assert {len(line) for line in draw(view)[1:]} == {80}


@pytest.mark.parametrize(
    ("width", "drawn"),
    [
        (80, "okx          |       0.22 |    2620.50 ||    2620.51 |       3.97 | binance     "),
        (79, "      0.22 |    2620.50 ||    2620.51 |       3.97"),
        (50, "      0.22 |    2620.50 ||    2620.51 |       3.97"),
        (49, "   2620.50 ||    2620.51"),
        (10, "   2620.50 ||    2620.51"),
    ],
)
def test_a_narrow_screen_has_fewer_columns_and_those_whole(width: int, drawn: str) -> None:
    lines = draw(SEED, 2, width)
    assert lines[4] == drawn
    assert {len(line) for line in lines[1:]} == {len(drawn)}


def test_the_status_names_what_is_wrong() -> None:
    view = View("ETH-USD", SEED.bids, SEED.asks, (("kraken", "silent"),))
    assert status(view, "live") == "live | CROSSED by 0.10 | without kraken (silent)"
    assert status(View("ETH-USD", SEED.bids[2:], SEED.asks[2:]), "live") == "live"
