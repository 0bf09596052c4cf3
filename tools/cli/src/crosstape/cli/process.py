"""One process of the platform: its start, its readiness, its end. Nothing of it outlives this one."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crosstape.cli.errors import CliError
from crosstape.cli.logs import last_words
from crosstape.cli.probe import Probe

_LAUNCH = Path(__file__).with_name("launch.py")
_POLL_SECONDS = 0.03

LateEnvironment = Callable[[], Awaitable[Mapping[str, str]]]
"""Settings of a process that are known only when others are ready. Raises NotNeeded when it has nothing to do."""


@dataclass(frozen=True, slots=True)
class Command:
    """How a process is run.

    `environment` is added to this process's own, or stands alone when `is_isolated`. It `needs` other processes and is
    stopped before them; those in `after` must be ready before it starts, for the others it waits by itself.
    `late_environment` is asked at every start, when all in `after` have been ready. `port` is where it listens. It may
    take `ready_seconds` to get ready (None: as the supervisor says). A start goes on without what `may_be_absent`, for
    it depends on others than this machine, when it takes longer or ends.
    """

    name: str
    argv: tuple[str, ...]
    ready: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    late_environment: LateEnvironment | None = None
    is_isolated: bool = False
    port: int = 0
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    ready_seconds: float | None = None
    may_be_absent: bool = False


class NotNeeded(Exception):
    """This process has nothing to do in this run; says why."""


class ProcessError(CliError):
    """A process did not get ready; says why in its own last words and where its log is."""


class Process:
    """A child in a session of its own: Ctrl-C in the terminal reaches only its parent, which stops it in order."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command = command
        self.log = log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; raises RuntimeError before the first start."""
        if self._popen is None:
            raise RuntimeError(f"{self.command.name} was never started")
        return self._popen.pid

    @property
    def was_started(self) -> bool:
        return self._popen is not None

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs or before it ran; negative: the signal that ended it."""
        return None if self._popen is None else self._popen.poll()

    def start(self, late_environment: Mapping[str, str] | None = None) -> None:
        """Start it; from the main thread only, because Linux ends it with the thread that started it."""
        if self.is_running:
            raise RuntimeError(f"{self.command.name} runs already")
        command = self.command
        inherited = {} if command.is_isolated else os.environ
        self.log.parent.mkdir(parents=True, exist_ok=True)
        launch = (sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()))
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                (*launch, *command.argv),
                env={**inherited, **command.environment, **(late_environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def wait_ready(self, timeout: float) -> None:
        """Return when the probe succeeds; raise ProcessError when the process ends or `timeout` seconds pass."""
        missing = ""
        try:
            async with asyncio.timeout(timeout):
                while missing := await self._missing():
                    if not self.is_running:
                        raise ProcessError(f"{self.command.name} ended ({self.describe_exit()}){self._evidence()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ProcessError(
                f"{self.command.name} was not ready in {timeout:.0f} s, {missing or 'it does not answer'}"
                f" (log: {self.log})"
            ) from None

    async def wait_exit(self) -> int:
        """Return the exit code when the process has ended."""
        popen = self._popen
        if popen is None:
            raise RuntimeError(f"{self.command.name} was never started")
        if popen.poll() is None and (descriptor := _pidfd(popen.pid)) is not None:
            await _readable(descriptor)
        while popen.poll() is None:
            await asyncio.sleep(_POLL_SECONDS)
        return popen.returncode

    async def stop(self, deadline: float) -> bool:
        """Ask it to end, and kill it after `deadline` seconds. True if it ended by itself."""
        if not self.is_running:
            return True
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(deadline):
                await self.wait_exit()
            return True
        except TimeoutError:
            self.kill()
            await self.wait_exit()
            return False

    def kill(self) -> None:
        """SIGKILL for the process and what it started. Returns at once; `wait_exit` sees the end."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def describe_exit(self) -> str:
        code = self.exit_code
        if code is None:
            return "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _signal(self, number: int) -> None:
        if self._popen is not None:
            self._popen.send_signal(number)

    async def _missing(self) -> str:
        """A probe can be answered by a stranger on a stolen port, so the process itself must live too."""
        try:
            missing = await self.command.ready()
        except OSError:
            missing = "it does not answer"
        return missing or ("" if self.is_running else "it ended")

    def _evidence(self) -> str:
        words = last_words(self.log)
        return f": {words} (log: {self.log})" if words else f" (log: {self.log}, empty)"


def _pidfd(pid: int) -> int | None:
    """A descriptor of the child `pid`; None where this system or this Python has none to give."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


async def _readable(descriptor: int) -> None:
    """Wait until `descriptor` is readable (a pidfd is when its process ends), then close it."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    try:
        loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
