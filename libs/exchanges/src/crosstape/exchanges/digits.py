"""JSON numbers back as the text they were sent with, so that no digit is lost on a binary float."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from crosstape.common.market.decimals import plain_text

_EXPONENT = re.compile(r"[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,2}", re.ASCII)


def number_text(raw: msgspec.Raw) -> str:
    """The digits of a JSON number, every trailing zero kept; a form with exponent is written plainly.

    Raises ValueError where it is not a number, is negative, or has an exponent beyond two digits.
    """
    text = str(raw, "ascii")
    # JSON that begins with a digit is a number, and without an exponent nothing but digits and a point.
    if "0" <= text < ":" and "e" not in text and "E" not in text:
        return text
    if _EXPONENT.fullmatch(text):
        return plain_text(Decimal(text))
    raise ValueError(f"not a plain number: {text[:40]!r}")
