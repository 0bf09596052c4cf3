"""Exact decimals as integers: a number `n` with `decimals` places stands for n / 10**decimals.

Exchanges differ only in how they write the same number: padded to a width, at the instrument's precision,
or with trailing zeros cut.
"""

from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def fixed(number: int, decimals: int, places: int | None = None) -> str:
    """`fixed(123450, 2)` is "1234.50"; with `places=4` "1234.5000" (never fewer places than `decimals`)."""
    sign = "-" if number < 0 else ""
    digits = str(abs(number)).rjust(decimals + 1, "0")
    whole = digits[: len(digits) - decimals]
    fraction = digits[len(digits) - decimals :].ljust(decimals if places is None else places, "0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def trimmed(number: int, decimals: int) -> str:
    """`trimmed(123450, 2)` is "1234.5", `trimmed(100, 2)` is "1"."""
    text = fixed(number, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


def parsed(text: str, decimals: int) -> int:
    """The inverse of `fixed`: exact, and a ValueError where the text has more places than `decimals`."""
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if len(fraction) > decimals:
        raise ValueError(f"{text} has more than {decimals} decimals")
    return int(whole + fraction.ljust(decimals, "0"))


def decimals_of(text: str) -> int:
    """Places written in a decimal text: 3 for "0.070"."""
    return len(text.partition(".")[2])
