"""Settings of the TWAP engine, read once from `CROSSTAPE_*` variables."""

from __future__ import annotations

import enum
from decimal import Decimal, InvalidOperation
from typing import Annotated

from msgspec import Struct
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from crosstape.common.runtime.settings import BusUserSettings, InternalSettings, comma_list
from crosstape.common.sql import DatabaseUrl
from crosstape.common.symbols import exchange_id

BASIS_POINT = Decimal("0.0001")
HIGHEST_FEE_BPS = 1_000


class ExecutorKind(enum.StrEnum):
    """Where slices are executed."""

    SIMULATED = "simulated"
    CCXT = "ccxt"


class Limits(Struct, frozen=True):
    """The most notional that goes to real exchanges, by order and by UTC day, in quote."""

    order: Decimal
    day: Decimal


class TwapSettings(InternalSettings, BusUserSettings):
    """What the TWAP engine reads."""

    orders_database_url: DatabaseUrl = Field(
        "sqlite:////var/lib/crosstape/orders.db",
        description="`sqlite:////absolute/path` (embedded) or `postgresql://user:password@host:port/database`",
    )
    history_url: str = Field("http://127.0.0.1:8101", description="origin of the history service")
    auth_url: str = Field("http://127.0.0.1:8102", description="origin of the auth service")
    taker_fees_bps: Annotated[dict[str, Decimal], NoDecode] = Field(
        {}, description="what each exchange charges a taker, in basis points: `binance=10,kraken=26`; others: nothing"
    )
    book_seconds: float = Field(
        15.0,
        gt=0,
        description="silence of a market after which its book is not traded on; its ingestor says every 10 s "
        "that it is connected",
    )
    lease_seconds: float = Field(
        2.0, gt=0, le=4, description="how long a replica may be silent before the others take over its orders"
    )
    executor: ExecutorKind = Field(
        ExecutorKind.SIMULATED, description="`simulated`, or `ccxt`: orders at real exchanges, in their sandboxes"
    )
    ccxt_sandbox: bool = Field(True, description="`false`: real money, at `ccxt`")
    ccxt_credentials: SecretStr = Field(
        SecretStr(""), description='of `ccxt`, as JSON by exchange: `{"binance": {"apiKey": "...", "secret": "..."}}`'
    )
    ccxt_order_notional: Decimal = Field(
        Decimal(0), ge=0, description="the most that `ccxt` may spend or earn with one order, in its quote currency"
    )
    ccxt_day_notional: Decimal = Field(Decimal(0), ge=0, description="the same of all orders of a UTC day together")

    @field_validator("taker_fees_bps", mode="before")
    @classmethod
    def _read_fees(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        fees: dict[str, Decimal] = {}
        for entry in comma_list(value):
            exchange, _, fee = entry.partition("=")
            try:
                fees[exchange_id(exchange)] = Decimal(fee)
            except InvalidOperation:
                raise ValueError("must be like binance=10,kraken=26") from None
        return fees

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
