"""The supervisor's order of things, and its watch over crashes."""

import asyncio
import errno
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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
        async with asyncio.timeout(20):
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
    await supervisor.start(20)
    await supervisor.stop(5)
    order = [(event.kind, event.name) for event in events]
    assert order.index(("ready", "store")) < order.index(("starting", "edge"))


@pytest.mark.integration
async def test_failed_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    commands = [command("store"), command("edge", "--die-after", "0", "--say", "no such folder")]
    supervisor = Supervisor(commands, lambda name: tmp_path / name, lambda event: None)
    with pytest.raises(ProcessError, match="edge ended \\(exit code 3\\): no such folder"):
        await supervisor.start(20)
    await supervisor.stop(5)
    assert not any(process.is_running for process in supervisor.processes.values())


@pytest.mark.integration
async def test_process_that_keeps_crashing_is_restarted_each_time(tmp_path: Path) -> None:
    events = Events()
    supervisor = Supervisor([command("feed", "--die-after", "0.3")], lambda name: tmp_path / name, events.report)
    await supervisor.start(20)
    await events.until(lambda event: [e.kind for e in events].count("restarted") >= 2)
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
    feed = replace(command("feed", "--die-after", "0.3"), late_environment=markets)
    supervisor = Supervisor([feed], lambda name: tmp_path / name, events.report)
    await supervisor.start(20)
    await events.until(lambda event: event.kind == "restarted")
    await supervisor.stop(5)
    assert [event.text for event in events if event.kind == "warning"] == said
    kinds = [event.kind for event in events]
    assert kinds[: kinds.index("restarted")].count("ended") == 1


@pytest.mark.integration
async def test_stubborn_process_is_killed_at_the_deadline(tmp_path: Path) -> None:
    process = Process(command("edge", "--stubborn"), tmp_path / "edge.log")
    process.start()
    await process.wait_ready(20)
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
        await process.wait_ready(10)


@pytest.mark.integration
async def test_process_with_nothing_to_do_is_skipped_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def nothing() -> dict[str, str]:
        raise NotNeeded("nothing of okx is recorded")

    idle = replace(command("ingestor-okx"), late_environment=nothing)
    events = Events()
    supervisor = Supervisor(
        [idle, command("edge", needs=("ingestor-okx",))], lambda name: tmp_path / name, events.report
    )
    await supervisor.start(20)
    assert [process.command.name for process in supervisor.running()] == ["edge"]
    await supervisor.stop(5)
    assert ("skipped", "ingestor-okx") in [(event.kind, event.name) for event in events]
