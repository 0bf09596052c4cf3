"""Numbers as clients get them: one canonical text for every value, so that REST, ticks and checksums agree."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal
from functools import reduce

EXACT = Context(prec=120)
"""Sums of 38-digit quantities without rounding."""

ZERO = Decimal()


def exact_sum(numbers: Iterable[Decimal], start: Decimal = ZERO) -> Decimal:
    """`start` and all `numbers`, without rounding."""
    return reduce(EXACT.add, numbers, start)


def canonical(text: str) -> str:
    """Plain decimal text without needless zeros: `0060.500` is `60.5`, as the store would answer it."""
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text[:1] == "0" and text[1:2] != ".":
        text = text.lstrip("0")
        if not text or text[0] == ".":
            text = "0" + text
    return text or "0"


def seconds_text(nanoseconds: int) -> str:
    """Unix seconds with up to six places, as REST shows the time of a trade."""
    whole, rest = divmod(nanoseconds // 1_000, 1_000_000)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")
