"""Starts the platform's processes as soon as what they need is ready, keeps them running, stops them in reverse.

One event loop owns everything. A process that ends is started again, after a pause that doubles from 0.25 s to 5 s
while it keeps ending; to five minutes for one that was absent from the start, as an exchange is that lacks the symbols.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstape.cli.errors import CliError
from crosstape.cli.logs import last_words
from crosstape.cli.process import Command, NotNeeded, Process, ProcessError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_ABSENCE_SECONDS = 0.25, 5.0, 300.0
STABLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person should see. `seconds` is how long it took, where that is told."""

    kind: str
    """starting, ready, skipped, ended, restarted, warning, stopped or killed."""
    name: str
    text: str
    seconds: float = 0.0


Report = Callable[[Event], None]


class Supervisor:
    """Owns the processes between `start` and `stop`. Not reusable."""

    def __init__(self, commands: Sequence[Command], log: Callable[[str], Path], report: Report) -> None:
        self.processes = {command.name: Process(command, log(command.name)) for command in commands}
        self._ready = {name: asyncio.Event() for name in self.processes}
        self._report = report
        self._watching: set[asyncio.Task[None]] = set()
        self.absent: dict[str, ProcessError] = {}
        """What kept those that may be absent from getting ready at the start, by name, until they run."""

    async def start(self, timeout: float) -> None:
        """Start everything; return when all are ready that may not be absent, and the others had their time.

        Raises the first CliError, also when all that may be absent have ended; then call `stop`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for process in self.processes.values():
                    group.create_task(self._start_first(process, timeout))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        others = [process for process in self.running() if process.command.may_be_absent]
        if self.absent and not any(process.is_running for process in others):
            raise next(iter(self.absent.values()))
        for process in self.running():
            self._watching.add(asyncio.create_task(self._keep_running(process, timeout)))

    def running(self) -> list[Process]:
        """The processes that were started: all but those that had nothing to do."""
        return [process for process in self.processes.values() if process.was_started]

    async def failed(self) -> None:
        """Return never; raises what a watching task raised, for nobody else would see it."""
        await asyncio.gather(*self._watching)

    async def stop(self, deadline: float) -> None:
        """Stop all, what depends on others first; each level of them has `deadline` seconds, then what is left of it is
        killed."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for names in reversed(levels([process.command for process in self.processes.values()])):
            await asyncio.gather(*(self._stop_one(self.processes[name], deadline) for name in names))

    def kill(self) -> None:
        """SIGKILL for everything, at once."""
        for process in self.processes.values():
            process.kill()

    async def _start_first(self, process: Process, timeout: float) -> None:
        command = process.command
        for name in command.after:
            await self._ready[name].wait()
        began = time.monotonic()
        try:
            await self._start(process, timeout)
        except NotNeeded as reason:
            self._report(Event("skipped", command.name, f"not started: {reason}"))
        except ProcessError as error:
            if not command.may_be_absent:
                raise
            self.absent[command.name] = error
            self._report(
                Event("warning", command.name, f"{error}; the others do without it, --exchanges leaves it out")
            )
        else:
            self._report(Event("ready", command.name, "ready", time.monotonic() - began))
        self._ready[command.name].set()

    async def _start(self, process: Process, timeout: float) -> None:
        command = process.command
        late = await command.late_environment() if command.late_environment else None
        self._report(Event("starting", command.name, "starting"))
        process.start(late)
        await process.wait_ready(timeout if command.ready_seconds is None else command.ready_seconds)

    async def _keep_running(self, process: Process, timeout: float) -> None:
        name, pause = process.command.name, FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            await process.wait_exit()
            if time.monotonic() - began > STABLE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            words = "" if process.exit_code == -signal.SIGKILL else last_words(process.log)
            self._report(Event("ended", name, f"ended ({process.describe_exit()}){': ' + words if words else ''}"))
            is_running = False
            while not is_running:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_ABSENCE_SECONDS if name in self.absent else LONGEST_PAUSE_SECONDS)
                is_running = await self._restart(process, timeout)
            self.absent.pop(name, None)

    async def _restart(self, process: Process, timeout: float) -> bool:
        """Whether it runs again. What stands against that (a full disk, say) may pass, so it is told and no more."""
        began = time.monotonic()
        try:
            await self._start(process, timeout)
        except (CliError, NotNeeded, OSError) as error:
            if process.is_running and process.command.may_be_absent:
                seconds = time.monotonic() - began
                self._report(Event("restarted", process.command.name, f"running again, but {error}", seconds))
                return True
            self._report(Event("warning", process.command.name, str(error)))
            process.kill()
            await process.wait_exit()
            return False
        self._report(Event("restarted", process.command.name, "running again", time.monotonic() - began))
        return True

    async def _stop_one(self, process: Process, deadline: float) -> None:
        if not process.is_running:
            return
        began = time.monotonic()
        ended_itself = await process.stop(deadline)
        kind = "stopped" if ended_itself else "killed"
        self._report(Event(kind, process.command.name, kind, time.monotonic() - began))


def levels(commands: Sequence[Command]) -> list[list[str]]:
    """Names in the order of need: each level needs only earlier ones. Raises ValueError for a cycle or unknown name."""
    rest = {command.name: {*command.needs, *command.after} for command in commands}
    unknown = {name for needs in rest.values() for name in needs} - rest.keys()
    placed: list[list[str]] = []
    while rest:
        level = [name for name, needs in rest.items() if needs.isdisjoint(rest)]
        if unknown or not level:
            raise ValueError(f"needed by others: {sorted(unknown)} (unknown) or {sorted(rest)} (a circle)")
        placed.append(level)
        for name in level:
            del rest[name]
    return placed
