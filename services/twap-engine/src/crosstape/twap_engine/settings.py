"""Settings of the TWAP engine, read once from `CROSSTAPE_*` variables."""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Annotated

from msgspec import Struct
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from crosstape.common.runtime.settings import BusUserSettings, InternalSettings, Origin, comma_list
from crosstape.common.sql import DatabaseUrl
from crosstape.common.symbols import exchange_id

BASIS_POINT = Decimal("0.0001")
HIGHEST_FEE_BPS = 1_000


class ExecutorKind(enum.StrEnum):
    """Where slices are executed."""

    SIMULATED = "simulated"
    CCXT = "ccxt"


class Limits(Struct, frozen=True):
    """The most notional that goes to real exchanges, of an order and of a UTC day, in each quote currency; nothing in
    one that is not named."""

    order: dict[str, Decimal]
    day: dict[str, Decimal]

    def of_order(self, quote: str) -> Decimal:
        return self.order.get(quote, Decimal())

    def of_day(self, quote: str) -> Decimal:
        return self.day.get(quote, Decimal())

    def allow(self, quote: str) -> bool:
        """Whether anything may be traded in it."""
        return min(self.of_order(quote), self.of_day(quote)) > 0


class TwapSettings(InternalSettings, BusUserSettings):
    """What the TWAP engine reads."""

    orders_database_url: DatabaseUrl = Field(
        "sqlite:////var/lib/crosstape/orders.db",
        description="`sqlite:////absolute/path` (embedded) or `postgresql://user:password@host:port/database`",
    )
    history_url: Origin = Field("http://127.0.0.1:8101", description="origin of the history service")
    auth_url: Origin = Field("http://127.0.0.1:8102", description="origin of the auth service")
    taker_fees_bps: Annotated[dict[str, Decimal], NoDecode] = Field(
        {}, description="what each exchange charges a taker, in basis points: `binance=10,kraken=26`; others: nothing"
    )
    book_seconds: float = Field(
        15.0,
        gt=0,
        description="silence of a book after which it is not traded on; its ingestor tells it whole every 10 s",
    )
    lease_seconds: float = Field(
        2.0, gt=0, le=4, description="how long a replica may be silent before the others take over its orders"
    )
    executor: ExecutorKind = Field(
        ExecutorKind.SIMULATED, description="`simulated`, or `ccxt`: orders at real exchanges, in their sandboxes"
    )
    ccxt_sandbox: bool = Field(True, description="`false`: real money, at `ccxt`")
    ccxt_credentials: SecretStr = Field(
        SecretStr(""),
        description="of `ccxt`, as JSON by exchange (`binance` and `okx`, where spot markets are traded and no "
        'others): `{"binance": {"apiKey": "...", "secret": "..."}}`',
    )
    ccxt_order_notional: Annotated[dict[str, Decimal], NoDecode] = Field(
        {},
        description="the most that `ccxt` may spend or earn with one order, by quote currency: `USDT=10000,BTC=0.1`; "
        "in others: nothing",
    )
    ccxt_day_notional: Annotated[dict[str, Decimal], NoDecode] = Field(
        {}, description="the same of all orders of a UTC day together"
    )

    @field_validator("taker_fees_bps", mode="before")
    @classmethod
    def _read_fees(cls, value: object) -> object:
        return _amounts(value, exchange_id, "binance=10,kraken=26")

    @field_validator("ccxt_order_notional", "ccxt_day_notional", mode="before")
    @classmethod
    def _read_limits(cls, value: object) -> object:
        return _amounts(value, str.upper, "USDT=10000,BTC=0.1, a limit for each quote currency")

    @field_validator("ccxt_order_notional", "ccxt_day_notional")
    @classmethod
    def _are_limits(cls, limits: dict[str, Decimal]) -> dict[str, Decimal]:
        if not all(quote and limit >= 0 for quote, limit in limits.items()):
            raise ValueError("a limit is 0 or more of a quote currency, like USDT=10000")
        return limits

    @field_validator("taker_fees_bps")
    @classmethod
    def _are_fees(cls, fees: dict[str, Decimal]) -> dict[str, Decimal]:
        if not all(fee.is_finite() and 0 <= fee <= HIGHEST_FEE_BPS for fee in fees.values()):
            raise ValueError(f"a fee is 0 to {HIGHEST_FEE_BPS} basis points")
        return fees

    @property
    def fee_rates(self) -> dict[str, Decimal]:
        """The fees as fractions of the notional."""
        return {exchange: fee * BASIS_POINT for exchange, fee in self.taker_fees_bps.items()}

    @property
    def ccxt_limits(self) -> Limits:
        return Limits(self.ccxt_order_notional, self.ccxt_day_notional)


def _amounts(value: object, name: Callable[[str], str], example: str) -> object:
    """`a=1,b=2` by name; what is no text is left as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    amounts: dict[str, Decimal] = {}
    for entry in comma_list(value):
        named, _, amount = entry.partition("=")
        try:
            amounts[name(named.strip())] = Decimal(amount)
        except InvalidOperation:
            raise ValueError(f"must be like {example}") from None
    return amounts
