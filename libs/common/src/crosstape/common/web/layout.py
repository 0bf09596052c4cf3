"""What an Accept header asks of a route that answers pages of JSON and whole ranges as files. Pure."""

from __future__ import annotations

import enum
import functools


class Layout(enum.StrEnum):
    """What an export can be, by media type."""

    CSV = "text/csv"
    ARROW = "application/vnd.apache.arrow.stream"
    PARQUET = "application/vnd.apache.parquet"


_ANSWERS: dict[str, Layout | None] = {"application/json": None, **{layout.value: layout for layout in Layout}}


@functools.lru_cache(256)
def layout_of(accept: str) -> Layout | None:
    """The export that an Accept header prefers (`q`), of equals the first; None for JSON, and for what is not known."""
    best, found = 0.0, None
    for part in accept.lower().split(","):
        media_type, *parameters = [text.strip() for text in part.split(";")]
        if media_type in _ANSWERS and (quality := _quality(parameters)) > best:
            best, found = quality, _ANSWERS[media_type]
    return found


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
