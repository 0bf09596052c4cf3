"""A broker of the benchmark's own, as `make demo` runs it, on a free loopback port."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from crosstape.cli import engines, ports
from crosstape.cli.process import Process
from crosstape.common.bus.connection import BusSettings, wait_for_broker

START_SECONDS, STOP_SECONDS = 30.0, 5.0


@asynccontextmanager
async def broker() -> AsyncIterator[BusSettings]:
    """A running broker with the platform's topics."""
    port, controller_port = ports.free_port(), ports.free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = Process(engines.kafka(port, controller_port, Path(folder) / "data"), Path(folder) / "broker.log")
        process.start()
        try:
            await process.wait_ready(START_SECONDS)
            settings = BusSettings(f"{ports.LOOPBACK}:{port}")
            await wait_for_broker(settings)
            yield settings
        finally:
            await process.stop(STOP_SECONDS)
            await asyncio.sleep(0)
