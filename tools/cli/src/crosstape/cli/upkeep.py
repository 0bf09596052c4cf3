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
    is_short = is_uncut = False
    while True:
        uncut = _cut_all(home, logs)
        if uncut and not is_uncut:
            report(Event("warning", "logs", uncut))
        is_uncut = bool(uncut)
        free = shutil.disk_usage(home.directory).free
        if free < LEAST_FREE_BYTES and not is_short:
            text = f"only {free // 2**20} MiB are free for {home.directory}: free some, or the tape stops growing"
            report(Event("warning", "disk", text))
        is_short = free < LEAST_FREE_BYTES
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
