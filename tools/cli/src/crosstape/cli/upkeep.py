"""What a platform that runs for weeks needs: logs that stay bounded, and a word before the disk is full."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from crosstape.cli.home import LEAST_FREE_BYTES, Home, explained
from crosstape.cli.logs import cut
from crosstape.cli.supervisor import Event, Report

EVERY_SECONDS = 10.0


async def upkeep(home: Home, logs: Sequence[Path], report: Report) -> None:
    """Cut long logs and watch the free space, until cancelled. Says a shortage once, until it is over."""
    is_short = False
    while True:
        with explained(home.directory):
            for log in logs:
                cut(log)
        free = shutil.disk_usage(home.directory).free
        if free < LEAST_FREE_BYTES and not is_short:
            text = f"only {free // 2**20} MiB are free for {home.directory}: free some, or the tape stops growing"
            report(Event("warning", "disk", text))
        is_short = free < LEAST_FREE_BYTES
        await asyncio.sleep(EVERY_SECONDS)
