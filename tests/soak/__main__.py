"""`make soak MINUTES=30`: runs the demo with faults on, and exits 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.soak.demo import DemoFailed
from tests.soak.report import show, write
from tests.soak.run import Options, soak

FAULTS = (
    "drop=0.0002,skip=0.001,duplicate=0.001,reorder=0.001,delay=0.0005,corrupt=0.0005,checksum=0.0005,stall=0.00002,"
    "http429=0.02,http5xx=0.02"
)
FOLDER = Path(".crosstape/soak")


def main() -> int:
    """The exit code: 1 when a promise was broken, 2 when there was no platform to judge, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, help="how long trades flow (default 30)")
    add("--seed", type=int, default=1, help="same seed, same kills, orders, prices and faults (default 1)")
    add("--rate", type=float, default=200.0, help="trades per second over all markets (default 200)")
    add("--symbols", type=int, default=20, help="bases that trade fast on each exchange (default 20)")
    add("--faults", default=FAULTS, help="faults of the simulated exchanges")
    add("--settle", type=float, default=180.0, help="seconds that the tape may take to catch up at the end")
    add("--keep", action="store_true", help="keep the platform's state and logs afterwards")
    chosen = parser.parse_args()
    options = Options(chosen.minutes * 60, chosen.seed, chosen.rate, chosen.symbols, chosen.faults, chosen.settle)
    console = Console() if sys.stdout.isatty() else Console(width=150)
    FOLDER.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="home-", dir=FOLDER))
    try:
        findings = asyncio.run(soak(options, home, console))
    except DemoFailed as error:
        console.print(f"error: {error}\nlogs: {home / 'logs'}", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        console.print(f"interrupted; state and logs: {home}", highlight=False, markup=False)
        return 130
    show(console, findings)
    page = write(FOLDER, {**vars(chosen)}, findings)
    is_broken = any(finding.is_kept is False for finding in findings)
    if is_broken or chosen.keep:
        console.print(f"state and logs: {home}")
    else:
        shutil.rmtree(home)
    console.print(f"{'BROKEN' if is_broken else 'All kept'}: {page}")
    return 1 if is_broken else 0


if __name__ == "__main__":
    sys.exit(main())
