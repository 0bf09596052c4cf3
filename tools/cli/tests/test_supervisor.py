"""The supervisor's order of things, and its watch over crashes."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from crosstape.cli import probe
from crosstape.cli import supervisor as supervisor_module
from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command, NotNeeded, Process, ProcessError
from crosstape.cli.supervisor import Event, Supervisor, levels

SERVICE = Path(__file__).with_name("fake_service.py")


def command(name: str, *options: str, needs: tuple[str, ...] = ()) -> Command:
    port = free_port()
    return Command(
        name=name,
        argv=(sys.executable, str(SERVICE), str(port), *options),
        ready=probe.http(LOOPBACK, port, "/readyz"),
        needs=needs,
        after=needs,
    )


class Events(list[Event]):
    """Collects events, and lets a test wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def report(self, event: Event) -> None:
        self.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[Event], bool]) -> Event:
        async with asyncio.timeout(60):
            while True:
                for event in self:
                    if condition(event):
                        return event
                self._changed.clear()
                await self._changed.wait()


def test_levels_put_each_process_after_what_it_needs() -> None:
    commands = [command("edge", needs=("store",)), command("store", needs=("engine",)), command("engine")]
    assert levels(commands) == [["engine"], ["store"], ["edge"]]


def test_levels_refuse_a_circle_and_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="circle"):
        levels([command("a", needs=("b",)), command("b", needs=("a",))])
    with pytest.raises(ValueError, match="unknown"):
        levels([command("a", needs=("nobody",))])


@pytest.mark.integration
async def test_process_starts_only_when_what_it_waits_for_is_ready(tmp_path: Path) -> None:
    events = Events()
    commands = [command("store", "--ready-after", "0.5"), command("edge", needs=("store",))]
    supervisor = Supervisor(commands, lambda name: tmp_path / name, events.report)
    await supervisor.start(60)
    await supervisor.stop(5)
    order = [(event.kind, event.name) for event in events]
    assert order.index(("ready", "store")) < order.index(("starting", "edge"))


@pytest.mark.integration
async def test_failed_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    commands = [command("store"), command("edge", "--die", "--say", "no such folder")]
    supervisor = Supervisor(commands, lambda name: tmp_path / name, lambda event: None)
    with pytest.raises(ProcessError, match="edge ended \\(exit code 3\\): no such folder"):
        await supervisor.start(60)
    await supervisor.stop(5)
    assert not any(process.is_running for process in supervisor.processes.values())


@pytest.mark.integration
async def test_start_goes_on_without_an_exchange_that_is_away_or_refuses(tmp_path: Path) -> None:
    events = Events()
    commands = [
        command("engine"),
        replace(command("ingestor-okx"), may_be_absent=True),
        replace(command("ingestor-away", "--ready-after", "60"), ready_seconds=0.3, may_be_absent=True),
        replace(command("ingestor-odd", "--die", "--say", "no symbol XMR-USD"), may_be_absent=True),
    ]
    supervisor = Supervisor(commands, lambda name: tmp_path / name, events.report)
    await supervisor.start(60)
    assert [name for name, process in supervisor.processes.items() if process.is_running][:3] == [
        each.name for each in commands[:3]
    ]
    assert sorted(supervisor.absent) == ["ingestor-away", "ingestor-odd"]
    await events.until(lambda event: event.kind == "warning" and "no symbol XMR-USD" in event.text)
    await events.until(lambda event: event.kind == "warning" and "was not ready in" in event.text)
    os.kill(supervisor.processes["ingestor-away"].pid, signal.SIGKILL)
    # as one of another process id
    await events.until(lambda event: event.kind == "restarted" and "ingestor-away was not ready in" in event.text)
    assert supervisor.processes["ingestor-away"].is_running
    await supervisor.stop(5)


@pytest.mark.integration
async def test_start_fails_when_every_exchange_refuses(tmp_path: Path) -> None:
    feed = replace(command("ingestor-okx", "--die", "--say", "no symbol NOPE-USD"), may_be_absent=True)
    supervisor = Supervisor([command("engine"), feed], lambda name: tmp_path / name, lambda event: None)
    with pytest.raises(ProcessError, match="no symbol NOPE-USD"):
        await supervisor.start(60)
    await supervisor.stop(5)


@pytest.mark.integration
async def test_an_exchange_that_goes_on_refusing_is_asked_more_and_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "LONGEST_PAUSE_SECONDS", 0.25)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(min(seconds, 0.03))

    monkeypatch.setattr(asyncio, "sleep", noted)
    events = Events()
    refusing = replace(command("ingestor-odd", "--die", "--say", "no symbol XMR-USD"), may_be_absent=True)
    commands = [replace(command("ingestor-okx"), may_be_absent=True), refusing]
    supervisor = Supervisor(commands, lambda name: tmp_path / name, events.report)
    await supervisor.start(60)
    await events.until(lambda event: max(pauses) >= 1)
    await supervisor.stop(5)


@pytest.mark.integration
async def test_process_that_keeps_crashing_is_restarted_each_time(tmp_path: Path) -> None:
    events = Events()
    supervisor = Supervisor([command("feed")], lambda name: tmp_path / name, events.report)
    await supervisor.start(60)
    supervisor.processes["feed"].kill()
    await events.until(lambda event: event.kind == "restarted")
    supervisor.processes["feed"].kill()
    await events.until(lambda event: [e.kind for e in events].count("restarted") == 2)
    await supervisor.stop(5)
    assert "killed by SIGKILL" in next(event.text for event in events if event.kind == "ended")


@pytest.mark.integration
async def test_what_stands_against_a_restart_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_SECONDS", 0.01)
    troubles: list[Exception] = [
        CliError("the simulator does not answer"),
        NotNeeded("nothing of okx is simulated"),
        OSError(errno.ENOSPC, "No space left on device"),
    ]
    said = [str(trouble) for trouble in troubles]
    is_first = True

    async def markets() -> dict[str, str]:
        nonlocal is_first
        if is_first:
            is_first = False
        elif troubles:
            raise troubles.pop(0)
        return {}

    events = Events()
    feed = replace(command("feed"), late_environment=markets)
    supervisor = Supervisor([feed], lambda name: tmp_path / name, events.report)
    await supervisor.start(60)
    supervisor.processes["feed"].kill()
    await events.until(lambda event: event.kind == "restarted")
    await supervisor.stop(5)
    assert [event.text for event in events if event.kind == "warning"] == said
    kinds = [event.kind for event in events]
    assert kinds[: kinds.index("restarted")].count("ended") == 1


@pytest.mark.integration
async def test_what_stops_slowly_takes_nothing_from_the_time_of_what_it_needs(tmp_path: Path) -> None:
    events = Events()
    commands = [
        command("store", "--stop-after", "1.2"),
        command("edge", "--stop-after", "1.2", needs=("store",)),
    ]
    supervisor = Supervisor(commands, lambda name: tmp_path / name, events.report)
    await supervisor.start(60)
    await supervisor.stop(2.2)
    assert [(event.kind, event.name) for event in events[-2:]] == [("stopped", "edge"), ("stopped", "store")]


@pytest.mark.integration
@pytest.mark.parametrize("error", [AttributeError("pidfd_open"), OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))])
async def test_end_of_a_process_is_seen_where_there_is_no_pidfd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(os, "pidfd_open", Mock(side_effect=error))
    process = Process(command("edge"), tmp_path / "edge.log")
    process.start()
    await process.wait_ready(60)
    process.kill()
    assert await asyncio.wait_for(process.wait_exit(), 60) == -signal.SIGKILL


@pytest.mark.integration
async def test_stubborn_process_is_killed_at_the_deadline(tmp_path: Path) -> None:
    process = Process(command("edge", "--stubborn"), tmp_path / "edge.log")
    process.start()
    await process.wait_ready(60)
    assert not await process.stop(0.3)
    assert process.describe_exit() == "killed by SIGKILL"


@pytest.mark.integration
async def test_process_not_ready_in_time_is_named_with_its_log(tmp_path: Path) -> None:
    process = Process(command("edge", "--ready-after", "60"), tmp_path / "edge.log")
    process.start()
    with pytest.raises(ProcessError, match="edge was not ready in 1 s"):
        await process.wait_ready(0.6)
    await process.stop(5)


async def test_program_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    missing = Command(name="ghost", argv=("/no/such/program",), ready=probe.http(LOOPBACK, free_port(), "/"))
    process = Process(missing, tmp_path / "ghost.log")
    process.start()
    with pytest.raises(ProcessError, match="cannot run /no/such/program: No such file"):
        await process.wait_ready(60)


@pytest.mark.integration
async def test_process_with_nothing_to_do_is_skipped_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def nothing() -> dict[str, str]:
        raise NotNeeded("nothing of okx is recorded")

    idle = replace(command("ingestor-okx"), late_environment=nothing)
    events = Events()
    supervisor = Supervisor(
        [idle, command("edge", needs=("ingestor-okx",))], lambda name: tmp_path / name, events.report
    )
    await supervisor.start(60)
    assert [process.command.name for process in supervisor.running()] == ["edge"]
    await supervisor.stop(5)
    assert ("skipped", "ingestor-okx") in [(event.kind, event.name) for event in events]
