"""What a platform that runs for weeks needs: logs that stay bounded, and a word before the disk is full."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from crosstape.cli.errors import CliError
from crosstape.cli.home import LEAST_FREE_BYTES, Home, explained
from crosstape.cli.logs import cut
from crosstape.cli.supervisor import Event, Report

EVERY_SECONDS = 10.0


async def upkeep(home: Home, logs: Sequence[Path], report: Report) -> None:
    """Cut long logs and watch the free space, until cancelled. Says a trouble once, until it is over."""
    told: set[str] = set()
    while True:
        troubles = {"logs": _cut_all(home, logs), "disk": _shortage(home)}
        for name, trouble in troubles.items():
            if trouble and name not in told:
                report(Event("warning", name, trouble))
        told = {name for name, trouble in troubles.items() if trouble}
        await asyncio.sleep(EVERY_SECONDS)


def _cut_all(home: Home, logs: Sequence[Path]) -> str:
    """Cut what is too long; what stands against it, or "". It is never a reason to stop what writes them."""
    trouble = ""
    for log in logs:
        try:
            with explained(home.directory):
                cut(log)
        except (CliError, OSError) as error:
            trouble = str(error)
    return trouble


def _shortage(home: Home) -> str:
    """What is wrong with the disk under `home`, or ""."""
    try:
        with explained(home.directory):
            free = shutil.disk_usage(home.directory).free
    except (CliError, OSError) as error:
        return str(error)
    if free >= LEAST_FREE_BYTES:
        return ""
    return f"only {free // 2**20} MiB are free for {home.directory}: free some, or the tape stops growing"
