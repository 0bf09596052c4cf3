"""How much one query's parameter can name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

MOST_BYTES = 100_000
"""ClickHouse takes no parameter of more than 128 KiB (`http_max_field_value_size`)."""

Name = TypeVar("Name")


def portions(names: Iterable[Name]) -> Iterator[list[Name]]:
    """`names`, tuples that become a parameter, in lists that are each short enough for one; no list is empty."""
    portion: list[Name] = []
    size = 0
    for name in names:
        length = len(repr(name).encode()) + 2
        if portion and size + length > MOST_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(name)
        size += length
    if portion:
        yield portion
