"""What every dialect checks in a REST answer before it becomes history, candles or an instrument."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from crosstape.common.market.decimals import are_positive_decimals, decimal_text, is_positive_decimal
from crosstape.common.market.trade import Trade
from crosstape.exchanges.dialect import Kline, MalformedFrame


def checked_trades(trades: Iterable[Trade]) -> list[Trade]:
    """`trades`, once every price and quantity is a decimal the tape can hold. Raises MalformedFrame."""
    rows = list(trades)
    if not are_positive_decimals(text for trade in rows for text in (trade.price, trade.quantity)):
        raise MalformedFrame("value", "a price or quantity is not a positive decimal")
    return rows


def checked_klines(klines: Sequence[Kline]) -> list[Kline]:
    """`klines` oldest first, once every number is a decimal; only a volume may be zero.

    Raises MalformedFrame.
    """
    prices = (text for k in klines for text in (k.open, k.high, k.low, k.close))
    volumes = (k.volume for k in klines if k.volume.strip("0.") or not k.volume)
    if not are_positive_decimals(prices) or not are_positive_decimals(volumes):
        raise MalformedFrame("value", "a candle's price or volume is not a positive decimal")
    return sorted(klines, key=lambda kline: kline.open_time)


def step(text: str) -> str:
    """Canonical text of a tick or lot size; empty where the exchange tells none that can be used."""
    return decimal_text(Decimal(text)) if is_positive_decimal(text) else ""
