"""Hypothesis strategies for the words of the market."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from crosstape.common.market.decimals import plain_text
from crosstape.common.market.trade import TakerSide, Trade, TradeId
from crosstape.common.testing.builders import make_trade

START = 1_751_328_000_000_000_000
"""2025-07-01T00:00:00Z in nanoseconds."""


def decimal_texts(*, places: int = 8) -> st.SearchStrategy[str]:
    """Positive decimal text as exchanges write it, trailing zeros included."""
    return st.builds(
        lambda digits, scale: plain_text(Decimal(digits).scaleb(-scale)),
        st.integers(1, 10**14),
        st.integers(0, places),
    )


def trades(*, seconds: int = 180) -> st.SearchStrategy[Trade]:
    """A trade of one market within `seconds` from START; ids are few, so that lists of them repeat some, and so are
    many of the times: on the edges of the first minutes, where several trades meet."""
    last = seconds * 1_000 - 1
    edges = [at for at in (0, 1, 59_999, 60_000, 60_001, 119_999) if at <= last]
    return st.builds(
        _trade,
        st.integers(1, 60) | st.sampled_from(["a", "B", "a0"]),
        st.sampled_from(edges) | st.integers(0, last),
        decimal_texts(),
        decimal_texts(),
        st.sampled_from(list(TakerSide)),
    )


def tapes(*, seconds: int = 180, max_size: int = 40) -> st.SearchStrategy[list[Trade]]:
    """Trades of one market with distinct ids: a tape's content, in no particular order."""
    return st.lists(trades(seconds=seconds), max_size=max_size, unique_by=lambda trade: trade.trade_id)


def _trade(trade_id: TradeId, milliseconds: int, price: str, quantity: str, side: TakerSide) -> Trade:
    return make_trade(trade_id, time=START + milliseconds * 1_000_000, price=price, quantity=quantity, side=side)
