"""The ledger of completeness: minutes as a map, and what was or is missing as a list. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from crosstape.client import Minute
from crosstape.client.times import utc
from crosstape.dashboard.markup import tag, text
from crosstape.dashboard.words import span

HOUR, MINUTE = 3_600, 60
LEGEND = {
    "complete": "heard all through",
    "repaired": "trades were missing and have been fetched",
    "gap": "trades are missing",
    "quiet": "heard all through, nobody traded",
    "unknown": "not yet judged, or nothing is known",
}


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive minutes of one hour that are alike. `start` and `end` are Unix seconds, `end` not included."""

    start: int
    end: int
    status: str
    cause: str | None
    trades: int


def runs(minutes: Iterable[Minute]) -> list[Run]:
    """`minutes`, which are in order, as runs; hours and holes end one."""
    found: list[Run] = []
    for minute in minutes:
        last = found[-1] if found else None
        at = minute.timestamp
        if last and last.end == at and at % HOUR and (last.status, last.cause) == (minute.status, minute.cause):
            found[-1] = Run(last.start, at + MINUTE, last.status, last.cause, last.trades + minute.trades)
        else:
            found.append(Run(at, at + MINUTE, minute.status, minute.cause, minute.trades))
    return found


def counts(minutes: Sequence[Minute]) -> dict[str, int]:
    """How many minutes there are of each status, in the legend's order."""
    return {status: sum(minute.status == status for minute in minutes) for status in LEGEND}


def completeness(minutes: Sequence[Minute]) -> float | None:
    """The part of the judged minutes that lacks nothing, 0 to 1; None when none is judged."""
    judged = [minute for minute in minutes if minute.status != "unknown"]
    return sum(minute.status != "gap" for minute in judged) / len(judged) if judged else None


def incidents(minutes: Sequence[Minute]) -> list[dict[str, str]]:
    """Stretches that lacked or lack trades, newest first: when, how long, what came of it, and why."""
    found = []
    for (status, cause), stretch in groupby(minutes, key=lambda minute: (minute.status, minute.cause)):
        if status not in ("gap", "repaired"):
            continue
        within = list(stretch)
        found.append(
            {
                "From (UTC)": _moment(within[0].timestamp),
                "Length": span(len(within) * MINUTE),
                "State": status,
                "Cause": cause or "–",
                "Trades": f"{sum(minute.trades for minute in within):,}",
            }
        )
    return found[::-1]


def heat_map(minutes: Sequence[Minute]) -> str:
    """A row an hour, a column a minute, newest hour on top; states differ by pattern as well as by colour."""
    hours: dict[int, list[Run]] = {}
    for run in runs(minutes):
        hours.setdefault(run.start // HOUR, []).append(run)
    scale = tag("div", *(text("span", f":{minute:02}") for minute in range(0, 60, 15)), css="ct-scale")
    rows = (
        tag(
            "div",
            text("span", f"{utc(hour * HOUR):%d %b %H}h UTC"),
            tag("div", *map(_cell, hours[hour])),
            css="ct-hour",
        )
        for hour in sorted(hours, reverse=True)
    )
    return tag("div", scale, *rows, css="ct-map", role="img", aria_label="Completeness of each minute")


def legend(minutes: Sequence[Minute]) -> str:
    """What each pattern means, and how many minutes are so."""
    items = (
        tag(
            "li",
            tag("i", css=f"ct-cell-{status}"),
            text("b", f"{count:,} {status}"),
            text("span", LEGEND[status]),
        )
        for status, count in counts(minutes).items()
    )
    return tag("ul", *items, css="ct-legend")


def _cell(run: Run) -> str:
    first = run.start % HOUR // MINUTE
    length = (run.end - run.start) // MINUTE
    why = f", {run.cause}" if run.cause else ""
    told = f"{utc(run.start):%d %b %H:%M}–{utc(run.end):%H:%M} UTC: {run.status}{why}, {run.trades:,} trades"
    return tag("i", css=f"ct-cell-{run.status}", style=f"grid-column:{first + 1}/span {length}", title=told)


def _moment(timestamp: int) -> str:
    return f"{dt.datetime.fromtimestamp(timestamp, dt.UTC):%Y-%m-%d %H:%M}"
