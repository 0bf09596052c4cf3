"""What is listed where: every market of the simulated exchanges, with its tick and lot sizes.

Ticks and lots are powers of ten, so a price is an integer number of ticks and a quantity an integer number of
lots everywhere inside; only the exchanges' dialects write them as text.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from crosstape.exchange_sim.decimal_text import fixed

Kind = Literal["spot", "perpetual"]

EXCHANGES = ("binance", "kraken", "coinbasepro", "okx", "bybit")
PERPETUAL_EXCHANGES = ("binance", "okx", "bybit")

USD_PRICES: dict[str, float] = {
    "BTC": 61_800.0, "ETH": 2_680.0, "SOL": 154.0, "XRP": 0.611, "ADA": 0.342, "DOGE": 0.1012,
    "DOT": 4.61, "LTC": 58.9, "LINK": 10.35, "AVAX": 22.4, "BCH": 331.0, "UNI": 6.12,
    "ATOM": 5.03, "ETC": 19.1, "XLM": 0.0981, "FIL": 3.71, "NEAR": 3.98, "APT": 5.95,
    "ARB": 0.561, "OP": 1.42, "AAVE": 97.0, "ALGO": 0.121, "SAND": 0.253, "MANA": 0.271,
    "GRT": 0.148, "CRV": 0.276, "COMP": 43.2, "SNX": 1.31, "XTZ": 0.653, "ZEC": 33.5,
    "DASH": 23.6, "EUR": 1.092, "USD": 1.0, "USDT": 1.0,
}  # fmt: skip
"""A level for each asset's latent price to move around, in USD (August 2024)."""

BASES = tuple(asset for asset in USD_PRICES if asset not in ("EUR", "USD", "USDT"))
PERPETUALS = ("BTC", "ETH")
CROSSES = (("ETH", "BTC"), ("SOL", "BTC"), ("BTC", "EUR"), ("ETH", "EUR"))


@dataclass(frozen=True, slots=True)
class Instrument:
    """One market: `symbol` is the exchange's own spelling (kraken: the v2 socket's `BTC/USD`).

    A price of n ticks is n / 10**price_decimals; a quantity of n lots is n / 10**quantity_decimals, in
    contracts where `contract_value` (base units in one contract) is not "1".
    """

    exchange: str
    kind: Kind
    base: str
    quote: str
    symbol: str
    price_decimals: int
    quantity_decimals: int
    contract_value: str = "1"
    is_active: bool = True

    @property
    def key(self) -> str:
        return f"{self.exchange}:{self.kind}:{self.symbol}"

    @property
    def tick_size(self) -> str:
        return fixed(1, self.price_decimals)

    @property
    def lot_size(self) -> str:
        return fixed(1, self.quantity_decimals)


def native_symbol(exchange: str, kind: Kind, base: str, quote: str) -> str:
    if exchange in ("binance", "bybit"):
        return base + quote
    if exchange == "kraken":
        return f"{base}/{quote}"
    return f"{base}-{quote}-SWAP" if kind == "perpetual" else f"{base}-{quote}"


def instrument(exchange: str, kind: Kind, base: str, quote: str, *, is_active: bool) -> Instrument:
    magnitude = math.floor(math.log10(USD_PRICES[base] / USD_PRICES[quote]))
    price_decimals = max(0, 4 - magnitude)
    quantity_decimals = max(0, math.floor(math.log10(USD_PRICES[base])) + 1)
    contract_value = "1"
    if base == "BTC" and quote != "EUR":
        price_decimals = 2 if exchange in ("binance", "coinbasepro") and kind == "spot" else 1
    if base == "ETH" and quote != "BTC":
        price_decimals = 2
    if kind == "perpetual":
        quantity_decimals = {"BTC": 3, "ETH": 3 if exchange == "binance" else 2}[base]
        if exchange == "okx":
            quantity_decimals, contract_value = 2, {"BTC": "0.01", "ETH": "0.1"}[base]
    elif exchange in ("kraken", "coinbasepro"):
        quantity_decimals = 8
    elif exchange == "okx":
        quantity_decimals = min(8, quantity_decimals + 3)
    return Instrument(
        exchange, kind, base, quote, native_symbol(exchange, kind, base, quote),
        price_decimals, quantity_decimals, contract_value, is_active,
    )  # fmt: skip


def listing(exchanges: Sequence[str], fast: Sequence[str], listed: Sequence[str] = BASES) -> Iterator[Instrument]:
    """Every market of the `listed` bases: those of the `fast` ones against the exchange's dollar trade fast, with
    the perpetuals, the rest slowly."""
    for exchange in exchanges:
        dollar = "USD" if exchange in ("kraken", "coinbasepro") else "USDT"
        for base in listed:
            yield instrument(exchange, "spot", base, dollar, is_active=base in fast)
        for base, quote in CROSSES:
            if base in listed:
                yield instrument(exchange, "spot", base, quote, is_active=False)
        if exchange in PERPETUAL_EXCHANGES:
            for base in PERPETUALS:
                if base in listed:
                    yield instrument(exchange, "perpetual", base, "USDT", is_active=bool(fast))
