"""The store's decimals, as Arrow has them."""

from __future__ import annotations

import pyarrow as pa

from crosstape.common.market.decimals import INTEGER_DIGITS, SCALE

PRICE = pa.decimal128(INTEGER_DIGITS + SCALE, SCALE)
"""A price or a quantity."""
VOLUME = pa.decimal256(2 * (INTEGER_DIGITS + SCALE), SCALE)
"""A sum of quantities."""
