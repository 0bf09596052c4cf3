"""Decimal text: which texts are a price or a quantity, and their one canonical form.

Text stays text through the hot path and becomes a number once, in the store (a Decimal with 18 places). So the rule
for what may enter is here: plain digits, at most 20 before and 18 after the point, greater than zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

INTEGER_DIGITS = 20
SCALE = 18
_ABSURD = 100

# No possessive groups, though they are quicker: until 3.11.4, which Debian 12 has, Python goes on behind what such a
# group could not match (github.com/python/cpython/issues/106052), and "0" or "1." would be positive decimals.
_POSITIVE = rf"(?![0.]*\n)[0-9]{{1,{INTEGER_DIGITS}}}+(?:\.[0-9]{{1,{SCALE}}}+)?\n"
_ONE_POSITIVE = re.compile(_POSITIVE)
_MANY_POSITIVE = re.compile(rf"(?:{_POSITIVE})*")


def is_positive_decimal(text: str) -> bool:
    """Whether `text` is a plain positive decimal that the tape can hold exactly."""
    return _ONE_POSITIVE.fullmatch(f"{text}\n") is not None


def are_positive_decimals(texts: Iterable[str]) -> bool:
    """Whether every one of `texts` is; one pass of the regex engine over all of them."""
    lines = list(texts)
    joined = "\n".join(lines)
    return not lines or (joined.count("\n") == len(lines) - 1 and are_positive_decimal_lines(joined))


def are_positive_decimal_lines(text: str) -> bool:
    """Whether every line of `text` is one."""
    return _MANY_POSITIVE.fullmatch(f"{text}\n") is not None


def decimal_text(value: Decimal) -> str:
    """Canonical text: no exponent, no trailing zeros, no `-0`. The form bars are hashed in."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def plain_text(value: Decimal) -> str:
    """`value` without exponent and with every digit it was sent with: a JSON number back as its text.

    What lies so far out that its digits would fill memory (1e999999999) keeps its exponent, which no rule here accepts.
    """
    return format(value, "f") if value.is_finite() and abs(value.adjusted()) < _ABSURD else str(value)
