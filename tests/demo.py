"""The demo as a user runs it, for tests: a process of its own, in a folder that it goes on from."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crosstape.cli.home import Home, Run
from crosstape.cli.ports import free_port
from crosstape.cli.running import find_run
from tests.processes import is_alive

READY_SECONDS = 120.0
STOP_SECONDS = 60.0


def until(condition: Callable[[], Any], seconds: float = READY_SECONDS) -> Any:
    """The first true value of `condition`, asked until it comes."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value


class Demo:
    """`crosstape demo` with two exchanges, and two bases that trade fast on each."""

    def __init__(self, folder: Path):
        self.home = Home(folder)
        self._process: subprocess.Popen[str] | None = None

    @property
    def run(self) -> Run:
        """Where everything of it is now."""
        return find_run([self.home])

    def begin(self) -> None:
        """Start it, unless it runs; return when it is ready."""
        if self._process is not None:
            return
        ports = ["--port", str(free_port()), "--dashboard-port", str(free_port())]
        markets = ["--exchanges", "binance,kraken", "--symbols", "2", "--rate", "50"]
        command = [sys.executable, "-m", "crosstape.cli", "demo", "--home", str(self.home.directory), *ports, *markets]
        self._process = process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def is_ready() -> bool:
            assert process.poll() is None, process.communicate()
            return self.home.run_file.exists()

        until(is_ready)

    def stop(self) -> None:
        """Ctrl-C. Fails unless it ends well and leaves no process."""
        assert self._process is not None
        listed = self.run.processes
        self._process.send_signal(signal.SIGINT)
        _, errors = self._process.communicate(timeout=STOP_SECONDS)
        assert (self._process.returncode, errors) == (0, "")
        assert not [listing.name for listing in listed if is_alive(listing.pid)]
        self._process = None

    def end(self) -> None:
        """kill -9, if it runs: its processes end with it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The session's demo: `begin` it. Who comes after you finds it as you leave it."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo
    demo.end()
