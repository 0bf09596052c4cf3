"""How anything is measured here: contenders take turns, the median of the rounds counts, a ratio is made per round.

Noise of the machine hits every contender of a round alike, so the ratios are steadier than the figures.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles

from msgspec import Struct

Work = Callable[[], float]
"""One run of a contender; returns what it measured (a rate, or a time)."""

OURS = "Crosstape"


class Skip(Exception):
    """What a part needs is not here; the message says what."""


class Row(Struct, frozen=True):
    """One line of the table. `goal` is in words; `is_met` is None where the line has no goal."""

    what: str
    ours: str
    peer: str
    theirs: str
    ratio: str
    goal: str = ""
    is_met: bool | None = None


def take_turns(contenders: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """What each contender measured in each round. A round before them warms up and is not counted; the order is
    turned by one from round to round, so that nobody always runs after the same neighbour."""
    names = list(contenders)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            gc.collect()
            value = contenders[name]()
            if turn:
                measured[name].append(value)
    return measured


def compare(
    what: str,
    measured: Mapping[str, Sequence[float]],
    peer: str,
    *,
    ours: str = OURS,
    least: float | None = None,
    most: float | None = None,
    unit: str = "/s",
) -> Row:
    """`ours` against `peer`: medians, and the median of the rounds' ratios with its range.

    `least` or `most` is the ratio that is wanted (ours / theirs, of rates or of times).
    """
    ratios = [a / b for a, b in zip(measured[ours], measured[peer], strict=True)]
    ratio = median(ratios)
    goal, is_met = "", None
    if least is not None:
        goal, is_met = f"≥ {least:g}×", ratio >= least
    elif most is not None:
        goal, is_met = f"≤ {most:g}×", ratio <= most
    spread = f"{ratio:.2f}× ({min(ratios):.2f}–{max(ratios):.2f})"
    return Row(
        what, quantity(median(measured[ours]), unit), peer, quantity(median(measured[peer]), unit), spread, goal, is_met
    )


def limit(what: str, value: float, most: float, unit: str = " ms") -> Row:
    """A figure of ours that has a bound of its own, without a peer."""
    return Row(what, quantity(value, unit), "", "", "", f"≤ {quantity(most, unit)}", value <= most)


def fact(what: str, value: float, unit: str) -> Row:
    """A figure of ours that has no goal."""
    return Row(what, quantity(value, unit), "", "", "")


def quantity(value: float, unit: str) -> str:
    """`1.23 M/s`, `45.6 k/s`, `3.4 ms`."""
    if unit == "/s":
        for size, letter in ((1e6, " M"), (1e3, " k")):
            if value >= size:
                return f"{value / size:.3g}{letter}{unit}"
    return f"{value:.3g}{unit}"


def percentile(values: Sequence[float], percent: int) -> float:
    """The `percent`th percentile (1 to 99)."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]
