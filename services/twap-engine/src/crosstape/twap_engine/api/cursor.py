"""Cursors of GET /orders: opaque text for the number of the last order of a page."""

from __future__ import annotations

import re

from crosstape.common.errors import ValidationFailed

_FORM = re.compile(r"o([1-9][0-9]{0,17})", re.ASCII)


def encode_cursor(number: int) -> str:
    """The next page begins behind the order with this number."""
    return f"o{number}"


def read_cursor(text: str) -> int:
    """The number. Raises ValidationFailed for what no page returned."""
    if (found := _FORM.fullmatch(text)) is None:
        raise ValidationFailed("cursor must be the X-Next-Cursor of the page before.", {"parameter": "cursor"})
    return int(found[1])
