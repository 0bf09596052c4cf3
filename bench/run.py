"""`make bench [PART=...]`: run the parts, print their lines, and write each part's table into bench/README.md."""

from __future__ import annotations

import datetime as dt
import importlib
import logging
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from bench.measure import Row, Skip
from bench.store import FOLDER

PARTS = {
    "decode": "A. Frame → value",
    "receive": "B. Socket → Trade",
    "bus": "C. Trade → bus",
    "sink": "D. Bus → ClickHouse, with bars",
    "flush": "D. The flush of every second at 50 k trades/s",
    "query": "E. 1,000 bars from 100 M trades",
    "orders": "F. When slices of TWAP orders start",
    "fanout": "F. Bus → subscribers",
    "gateway": "G. A request through the gateway",
    "latency": "H. Exchange frame → subscriber, in the demo",
    "volume": "I. The whole demo at 2,500 trades/s",
}
README = Path(__file__).with_name("README.md")


def main(wanted: Sequence[str]) -> int:
    """Run the parts named (all by default)."""
    if unknown := set(wanted) - set(PARTS):
        print(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    missed = 0
    for part in wanted or PARTS:
        print(f"\n{PARTS[part]}: {part}", flush=True)
        started = time.monotonic()
        try:
            rows = importlib.import_module(f"bench.{part}").measure()
        except Skip as reason:
            print(f"  skipped: {reason}")
            continue
        finally:
            shutil.rmtree(FOLDER, ignore_errors=True)
        for row in rows:
            print(_line(row), flush=True)
        _write(part, rows, time.monotonic() - started)
        missed += sum(row.is_met is False for row in rows)
    print(f"\n{missed} goals missed; the tables are in bench/README.md")
    return 0


def _line(row: Row) -> str:
    against = f"{row.peer} {row.theirs}".strip()
    parts = [
        f"{row.what}: {row.ours}",
        f"against {against}" if against else "",
        row.ratio,
        f"goal {row.goal}" if row.goal else "",
    ]
    return "  " + " · ".join(part for part in parts if part) + _mark(row)


def _mark(row: Row) -> str:
    return {True: "  ✓", False: "  ✗ missed", None: ""}[row.is_met]


def _write(part: str, rows: Sequence[Row], seconds: float) -> None:
    """Put the part's table between its markers."""
    made = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, in {seconds:.0f} s"
    lines = [
        f"`make bench PART={part}` · {made} · {_machine()} · {_load()}",
        "",
        "| measured | Crosstape | against | theirs | ratio (range over the rounds) | goal | |",
        "|---|--:|---|--:|--:|--:|---|",
        *(
            f"| {row.what} | {row.ours} | {row.peer} | {row.theirs} | {row.ratio} | {row.goal} | {_sign(row)} |"
            for row in rows
        ),
    ]
    text = README.read_text()
    block = re.compile(rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)", re.DOTALL)
    README.write_text(block.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], text))


def _sign(row: Row) -> str:
    return {True: "met", False: "**missed**", None: ""}[row.is_met]


def _machine() -> str:
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)):
        model = found[1].strip()
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}"


def _load() -> str:
    return f"load average {os.getloadavg()[2]:.1f} over the 15 minutes before"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
