"""The demo as a process of its own, in a home of its own; what may be done to its processes, and their memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from crosstape.cli import launch as launch_module
from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Listing, Run
from crosstape.cli.ports import free_port
from crosstape.cli.running import find_run
from crosstape.common.testing.identity import INTERNAL_SECRET

READY_SECONDS = 300.0
STOP_SECONDS = 90.0
POLL_SECONDS = 0.2


class DemoFailed(Exception):
    """It did not get ready, or ended before it was told to."""


class Demo:
    """`crosstape demo` with `options`. Its internal secret is that of the tests, so that their readers can ask it."""

    def __init__(self, home: Path, options: Sequence[str]):
        self.home = Home(home)
        self._options = options
        self._output = home / "demo.out"
        self._process: subprocess.Popen[bytes] | None = None
        self.sizes: dict[tuple[str, int], list[tuple[float, float]]] = {}
        """PSS (bytes) over time (s) by name and process id."""

    async def start(self) -> None:
        """Start it, and return when it is ready with its API key."""
        self._begin()
        end = time.monotonic() + READY_SECONDS
        while not (self.home.run_file.exists() and self.home.kept_secret("api_key")):
            self.require_running()
            if time.monotonic() > end:
                raise DemoFailed(
                    f"the demo was not ready in {READY_SECONDS:.0f} s: {self._output.read_text()[-2_000:]}"
                )
            await asyncio.sleep(POLL_SECONDS)

    def _begin(self) -> None:
        self.home.prepare()
        self.home.keep_secret("internal_secret", INTERNAL_SECRET)
        launch = [sys.executable, "-I", "-S", str(launch_module.__file__), str(os.getpid())]
        command = [*launch, sys.executable, "-m", "crosstape.cli", "demo", "--home", str(self.home.directory)]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--port", str(free_port()), "--dashboard-port", str(free_port()), *self._options],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it once, from `stop`
            )

    def require_running(self) -> None:
        """Raises DemoFailed with its last words when it has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise DemoFailed(f"the demo ended ({self._process.returncode}): {self._output.read_text()[-2_000:]}")

    @property
    def run(self) -> Run:
        """Where everything is now."""
        return find_run([self.home])

    @property
    def api_key(self) -> str:
        return self.home.kept_secret("api_key")

    def processes(self) -> list[Listing]:
        """Those that run now, as far as `run.json` knows."""
        try:
            return [listing for listing in self.run.processes if psutil.pid_exists(listing.pid)]
        except CliError:
            return []

    def strike(self, name: str, number: signal.Signals) -> bool:
        """Send a process a signal; False when it is not there just now."""
        for listing in self.processes():
            if listing.name == name:
                os.kill(listing.pid, number)
                return True
        return False

    def weigh(self) -> None:
        """Note the memory of every process: its own pages, and its share of those that it has with others."""
        for listing in self.processes():
            try:
                size = psutil.Process(listing.pid).memory_full_info().pss
            except psutil.Error:
                continue
            self.sizes.setdefault((listing.name, listing.pid), []).append((time.monotonic(), float(size)))

    async def stop(self) -> int:
        """Ctrl-C; its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGINT)
        try:
            return await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return await asyncio.to_thread(self._process.wait)
