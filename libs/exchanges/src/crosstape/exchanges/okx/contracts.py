"""OKX's swaps trade in contracts: what one contract holds, and quantities in the base currency.

Source: www.okx.com/docs-v5/en, "Get instruments": `ctVal` is the contract's value, `ctValCcy` its currency.
"""

from __future__ import annotations

from decimal import Context, Decimal

from crosstape.common.market.decimals import decimal_text, is_positive_decimal
from crosstape.common.market.instrument import Instrument, Kind

# Enough digits that the product of any two decimals of the tape is exact.
_EXACT = Context(prec=80)


class Swap(Instrument, frozen=True, gc=False, kw_only=True):
    """A linear swap; `contract_value` is the base currency in one contract, as decimal text."""

    contract_value: str


def contract_value(instrument: Instrument) -> Decimal | None:
    """What to multiply quantities by, None where they are in base already.

    Raises ValueError for a perpetual future that does not come from OKX's own list.
    """
    if isinstance(instrument, Swap):
        return Decimal(instrument.contract_value)
    if instrument.kind is Kind.PERPETUAL:
        raise ValueError(f"{instrument.symbol}: the value of a contract is only in the exchange's market list")
    return None


def base_quantity(contracts: str, value: Decimal) -> str:
    """`contracts` (plain text, zero allowed) in base currency. Raises ValueError where it is no such text."""
    if is_positive_decimal(contracts):
        return decimal_text(_EXACT.multiply(Decimal(contracts), value))
    if contracts == "0":
        return contracts
    raise ValueError(f"not a quantity: {contracts[:40]!r}")
