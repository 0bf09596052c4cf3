"""The schemas of the answers, for the API's document."""

from __future__ import annotations

from pydantic import Field

from crosstape.common.web.described import Absent, Count, Described, Number
from crosstape.twap_engine.order import CloseReason, Shortfall, Side, Status

_UTC = "ISO 8601 without a zone, UTC"


class Receipt(Described):
    """An order that is accepted."""

    message: str
    order_id: str
    quote_aliases: dict[str, str] | Absent = Field(
        None, description="by exchange, the quote that stands in for the one asked for"
    )
    warnings: list[str] | Absent = Field(None, description="what is probably not meant, though it is allowed")


class Receipts(Receipt):
    """The first order's receipt, and that of each where several were sent."""

    orders: list[Receipt] | Absent = None


class OrderSummary(Described):
    """An order in the list."""

    order_id: str
    username: str
    symbol: str
    duration: Count = Field(description="seconds")
    interval: Count = Field(description="seconds")
    order_status: Status
    status: Status


class ExecutionReceipt(Described):
    """What the market was when a slice was filled; prices are null where there was none."""

    book_hash: str | None = Field(description="SHA-256 of the book that it was filled from")
    arrival_price: Number | None
    mid_price: Number | None
    interval_twap: Number | None
    interval_vwap: Number | None


class Execution(Described):
    """A fill."""

    price: Number
    quantity: Number
    timestamp: str = Field(description=_UTC)
    exchange: str
    symbol: str
    fee: Number
    slice: Count = Field(description="counts the order's slices from 0")
    receipt: ExecutionReceipt


class OrderMarket(Described):
    """Where an order may be filled."""

    exchange: str
    symbol: str
    quote_alias: str | Absent = None


class Benchmark(Described):
    """The market's own prices while the order was open."""

    twap: Number | None
    vwap: Number | None
    seconds: Number = Field(description="of the time in which there was a book")


class Slippage(Described):
    """How much worse than these prices the order was filled, in basis points; negative is better."""

    arrival: Number | None
    twap: Number | None
    vwap: Number | None


class VenueShare(Described):
    """What was filled at one exchange."""

    exchange: str
    quantity: Number
    notional: Number
    fees: Number
    share: Number


class OrderProgress(Described):
    """How far an order is."""

    filled: Number | None = Field(description="share of the whole, 0 to 1")
    slices: Count
    slices_run: Count
    slices_missed: Count
    slices_short: dict[Shortfall, Count] = Field(description="slices that got less than they asked for, by why")


class OrderDetail(Described):
    """An order, its executions and what it cost."""

    order_id: str
    username: str
    symbol: str
    side: Side
    duration: Count = Field(description="seconds")
    interval: Count = Field(description="seconds")
    total_quantity: Number
    limit_price: Number
    status: Status
    close_reason: CloseReason | None = Field(None, description="null while it is open")
    executions: list[Execution]
    exchange: str | None = Field(None, description="where it is filled; null: at every exchange of `markets`")
    markets: list[OrderMarket]
    filled_quantity: Number
    unfilled_quantity: Number
    average_price: Number | None
    notional: Number
    fees: Number
    arrival_price: Number | None
    benchmark: Benchmark
    slippage_bps: Slippage
    participation_rate: Number | None
    exchanges: list[VenueShare]
    progress: OrderProgress
    created_at: str = Field(description=_UTC)
    closed_at: str | None = Field(None, description=f"{_UTC}; null while it is open")
    estimated_completion: str | None = Field(None, description=f"{_UTC}; null when it is not open")
    warnings: list[str]
    executions_left_out: Count | Absent = Field(None, description="how many older executions there are")
