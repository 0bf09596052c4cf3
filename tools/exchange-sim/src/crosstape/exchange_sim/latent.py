"""The latent price behind all venues: a pure function of (seed, asset, time), so it needs no state.

Noise of thirteen octaves (periods 1 s, 4 s, ... 194 days), each as high as the square root of its period: a
walk that looks Brownian from seconds to months, continues over restarts, and has a past of any length for
candles.
"""

import math
from functools import lru_cache

from crosstape.exchange_sim.instruments import USD_PRICES, Instrument

MASK = (1 << 64) - 1
VOLATILITY_PER_SQRT_SECOND = 6e-5
PERIODS_S = tuple(4**octave for octave in range(13))


@lru_cache(maxsize=4096)
def stream_key(*parts: object) -> int:
    """A 64-bit key for one noise stream, the same in every process (FNV-1a)."""
    key = 0xCBF29CE484222325
    for byte in "/".join(map(str, parts)).encode():
        key = ((key ^ byte) * 0x100000001B3) & MASK
    return key


def scattered(key: int, index: int) -> int:
    """The index-th 64-bit number of stream `key` (splitmix64)."""
    mixed = (key + index * 0x9E3779B97F4A7C15) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


@lru_cache(maxsize=1 << 18)
def lattice(key: int, index: int) -> float:
    """Uniform in [-1, 1)."""
    return (scattered(key, index) >> 11) * 2.0**-52 - 1.0


def noise(key: int, position: float) -> float:
    """Lattice noise, linear between integer positions; continuous, in [-1, 1]."""
    index = math.floor(position)
    left = lattice(key, index)
    return left + (lattice(key, index + 1) - left) * (position - index)


def log_return(seed: int, asset: str, seconds: float) -> float:
    total = 0.0
    for period in PERIODS_S:
        amplitude = VOLATILITY_PER_SQRT_SECOND * math.sqrt(period)
        total += amplitude * noise(stream_key(seed, asset, period), seconds / period)
    return total


def usd_price(seed: int, asset: str, seconds: float) -> float:
    """`seconds` since the epoch; the dollar and its token do not move."""
    if asset in ("USD", "USDT"):
        return 1.0
    return USD_PRICES[asset] * math.exp(log_return(seed, asset, seconds))


def fair_price(seed: int, instrument: Instrument, seconds: float) -> float:
    """The instrument's fair price in ticks: the latent ratio, and a venue's own slow deviation of up to 4 bp,
    which leaves arbitrage-sized gaps between venues."""
    ratio = usd_price(seed, instrument.base, seconds) / usd_price(seed, instrument.quote, seconds)
    deviation = 3e-4 * noise(stream_key(seed, instrument.key, "slow"), seconds / 45.0)
    deviation += 1e-4 * noise(stream_key(seed, instrument.key, "quick"), seconds / 5.0)
    return float(ratio * (1.0 + deviation) * 10**instrument.price_decimals)
