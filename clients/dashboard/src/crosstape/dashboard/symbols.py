"""Symbols in the order in which people look for them, and their spelling over all exchanges. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_FIRST = ("BTC", "ETH", "SOL")
_DOLLARS = ("USDT", "USDC", "USD")


def ordered(symbols: Iterable[str]) -> list[str]:
    """Dollar markets of the largest coins first, then all by name."""

    def rank(symbol: str) -> tuple[int, int, str]:
        base, _, quote = symbol.partition("-")
        is_known = base in _FIRST and quote in _DOLLARS
        return (_FIRST.index(base), _DOLLARS.index(quote), "") if is_known else (len(_FIRST), 0, symbol)

    return sorted(symbols, key=rank)


def preferred(symbols: Sequence[str], wanted: str | None) -> str:
    """`wanted`, or the market of the same base that comes first (BTC-USD for BTC-USDT), or the first of all."""
    if wanted is None or wanted in symbols:
        return wanted or symbols[0]
    base = wanted.partition("-")[0]
    return next((symbol for symbol in symbols if symbol.partition("-")[0] == base), symbols[0])


def consolidated(symbol: str) -> str:
    """How the same market is asked for over all exchanges: a `-USD` finds USDT where an exchange has no USD."""
    base, _, rest = symbol.partition("-")
    quote, dot, kind = rest.partition(".")
    return f"{base}-{'USD' if quote in _DOLLARS else quote}{dot}{kind}"
