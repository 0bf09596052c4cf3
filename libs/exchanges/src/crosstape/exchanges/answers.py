"""How REST answers are read and paged, and how values are checked, the same in every dialect."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from crosstape.common.market.book import BookUpdate
from crosstape.common.market.decimals import are_positive_decimals, decimal_text, is_positive_decimal
from crosstape.common.market.trade import Trade
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery, Kline, MalformedFrame, Rejected
from crosstape.exchanges.frames import WRONG, malformed

T = TypeVar("T")

log = logging.getLogger(__name__)


def read_answer(decoder: msgspec.json.Decoder[T], body: bytes, rejection: Callable[[bytes], Rejected | None]) -> T:
    """The body of an answer. Raises the `rejection` that it is, where it is one, else MalformedFrame."""
    try:
        return decoder.decode(body)
    except WRONG as error:
        raise rejection(body) or malformed(error) from error


def readable(exchange: str, decoder: msgspec.json.Decoder[T], rows: Collection[msgspec.Raw]) -> list[T | None]:
    """The rows of a market list, None for each that cannot be read: of markets that are not open yet an exchange may
    tell hardly more than the name (OKX does, ccxt 4.5.64), and they must not keep the others out. How many there are is
    logged, with what the last of them lacks.

    Raises MalformedFrame where more than half of them cannot be read.
    """
    read: list[T | None] = []
    failure: Exception | None = None
    for row in rows:
        try:
            read.append(decoder.decode(row))
        except WRONG as error:
            read.append(None)
            failure = error
    if failure is not None:
        wrong = read.count(None)
        if wrong > len(rows) / 2:
            raise malformed(failure) from failure
        log.warning("%s: %d of %d listed markets cannot be read: %s", exchange, wrong, len(rows), failure)
    return read


def set_apart(trades: Iterable[Trade]) -> tuple[list[Trade], list[Trade]]:
    """Those whose price and quantity are decimals that the tape can hold, and those that it cannot hold."""
    holdable: list[Trade] = []
    refused: list[Trade] = []
    for trade in trades:
        is_holdable = is_positive_decimal(trade.price) and is_positive_decimal(trade.quantity)
        (holdable if is_holdable else refused).append(trade)
    return holdable, refused


def checked_page(page: HistoryPage) -> HistoryPage:
    """`page` with what no tape can hold set apart: one such trade must not keep the others out."""
    if are_positive_decimals(text for trade in page.trades for text in (trade.price, trade.quantity)):
        return page
    trades, refused = set_apart(page.trades)
    return msgspec.structs.replace(page, trades=trades, refused=refused)


def page_before(query: HistoryQuery, trades: list[Trade]) -> HistoryPage:
    """A page of an exchange that gives the trades before an id, newest first: the cursor is the oldest id so far."""
    ids = [trade.trade_id for trade in trades if isinstance(trade.trade_id, int)]
    oldest = min(ids, default=0)
    if query.first_id is None:
        reaches_back = bool(trades) and (oldest <= 1 or min(trade.time for trade in trades) < query.start)
    else:
        reaches_back = bool(trades) and oldest <= max(query.first_id, 1)
    is_end = reaches_back or not ids or (query.cursor is not None and oldest >= int(query.cursor))
    return HistoryPage(trades, None if is_end else str(oldest), reaches_back)


def checked_klines(klines: Sequence[Kline]) -> list[Kline]:
    """`klines` oldest first, once every number is a decimal; only a volume may be zero.

    Raises MalformedFrame.
    """
    prices = (text for k in klines for text in (k.open, k.high, k.low, k.close))
    volumes = (k.volume for k in klines if k.volume.strip("0.") or not k.volume)
    if not are_positive_decimals(prices) or not are_positive_decimals(volumes):
        raise MalformedFrame("value", "a candle's price or volume is not a positive decimal")
    return sorted(klines, key=lambda kline: kline.open_time)


def checked_levels(update: BookUpdate) -> BookUpdate:
    """`update`, once every price is a decimal and every quantity too, which may be zero. Raises MalformedFrame."""
    levels = [*update.bids, *update.asks]
    quantities = (quantity for _, quantity in levels if quantity.strip("0.") or not quantity)
    if not are_positive_decimals(price for price, _ in levels) or not are_positive_decimals(quantities):
        raise MalformedFrame("value", "a level's price or quantity is not a decimal")
    return update


def step(text: str) -> str:
    """Canonical text of a tick or lot size; empty where the exchange tells none that can be used."""
    return decimal_text(Decimal(text)) if is_positive_decimal(text) else ""
