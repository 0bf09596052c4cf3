"""A whole platform of stand-ins as its own process: how it starts, what it says, and that nothing of it is left."""

import asyncio
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rich.console import Console

from crosstape.cli import operate as operate_module
from crosstape.cli.errors import CliError
from crosstape.cli.home import Home
from crosstape.cli.running import find_run
from tests.processes import is_alive

pytestmark = pytest.mark.integration

PLATFORM = Path(__file__).with_name("fake_platform.py")
WAIT_SECONDS = 60.0

Start = Callable[..., "subprocess.Popen[str]"]


def until(condition: Callable[[], Any]) -> Any:
    """The first true value of `condition`, asked until it comes."""
    end = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def run_file(folder: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        return None
    return content


def pids(folder: Path) -> list[int]:
    return [listing["pid"] for listing in until(lambda: run_file(folder))["processes"]]


def none_alive(children: list[int]) -> bool:
    return not any(map(is_alive, children))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(*options: str, stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        command = [sys.executable, str(PLATFORM), str(tmp_path), *options]
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_everything_in_reverse_order(start: Start, tmp_path: Path, number: int) -> None:
    platform = start()
    children = pids(tmp_path)
    platform.send_signal(number)
    output, errors = platform.communicate(timeout=WAIT_SECONDS)
    assert platform.returncode == 0, errors
    assert none_alive(children)
    stopped = [line.split()[1] for line in output.partition("Stopping")[2].splitlines() if "✓" in line]
    assert stopped == ["edge", "store", "engine"]
    assert not (tmp_path / "run.json").exists()


def stopped_in_order(platform: "subprocess.Popen[str]", folder: Path) -> bool:
    """Whether it ended well after each of its services had been asked to stop."""
    _, errors = platform.communicate(timeout=WAIT_SECONDS)
    assert (platform.returncode, errors) == (0, "")
    return all("asked to stop" in (folder / "logs" / f"{name}.log").read_text() for name in ("edge", "store", "engine"))


def test_output_that_nobody_reads_any_more_ends_nothing_else(start: Start, tmp_path: Path) -> None:
    platform = start()
    pids(tmp_path)
    assert platform.stdout
    platform.stdout.close()
    platform.send_signal(signal.SIGINT)
    assert stopped_in_order(platform, tmp_path)


def test_terminal_that_hangs_up_ends_everything_in_order(start: Start, tmp_path: Path) -> None:
    terminal, its_end = pty.openpty()
    platform = start(stdout=its_end)
    os.close(its_end)
    pids(tmp_path)
    os.close(terminal)
    platform.send_signal(signal.SIGHUP)
    assert stopped_in_order(platform, tmp_path)


def test_full_disk_behind_the_output_stops_nothing(start: Start, tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    platform = start(stdout=full)
    os.close(full)
    before = pids(tmp_path)
    os.kill(before[1], signal.SIGKILL)
    until(lambda: [pid for pid in pids(tmp_path) if pid not in before])
    platform.send_signal(signal.SIGINT)
    assert stopped_in_order(platform, tmp_path)


@pytest.mark.parametrize("hanging", ["--login-hangs", "--markets-hang"])
def test_signal_is_heeded_while_what_is_announced_is_asked_for(start: Start, tmp_path: Path, hanging: str) -> None:
    platform = start(hanging)
    pids(tmp_path)
    platform.send_signal(signal.SIGINT)
    assert stopped_in_order(platform, tmp_path)


def test_kill_of_the_supervisor_leaves_no_process(start: Start, tmp_path: Path) -> None:
    platform = start()
    children = pids(tmp_path)
    platform.kill()
    until(lambda: none_alive(children))


def test_second_signal_kills_what_does_not_stop(start: Start, tmp_path: Path) -> None:
    platform = start("--stubborn")
    assert platform.stdout
    children = pids(tmp_path)
    began = time.monotonic()
    platform.send_signal(signal.SIGINT)
    assert any("Stopping" in line for line in platform.stdout)
    platform.send_signal(signal.SIGINT)
    platform.communicate(timeout=WAIT_SECONDS)
    assert time.monotonic() - began < 10
    assert none_alive(children)


def test_crashed_service_is_restarted_and_said_so(start: Start, tmp_path: Path) -> None:
    platform = start()
    before = pids(tmp_path)
    os.kill(before[1], signal.SIGKILL)
    after = until(lambda: [pid for pid in pids(tmp_path) if pid not in before])
    platform.send_signal(signal.SIGINT)
    output, _ = platform.communicate(timeout=WAIT_SECONDS)
    assert len(after) == 1
    assert "store" in output and "killed by SIGKILL" in output and "running again" in output


def test_restart_that_cannot_be_written_down_on_a_full_disk_stops_nothing(start: Start, tmp_path: Path) -> None:
    platform = start()
    assert platform.stdout
    before = pids(tmp_path)
    (tmp_path / "run.new").symlink_to("/dev/full")
    os.kill(before[1], signal.SIGKILL)
    assert any("run.json" in line and "is full" in line for line in platform.stdout)
    assert not none_alive(before[:1]) and not none_alive(before[2:])
    platform.send_signal(signal.SIGINT)
    platform.communicate(timeout=WAIT_SECONDS)
    assert platform.returncode == 0


def test_service_that_dies_at_start_gives_its_last_words_and_its_log(start: Start, tmp_path: Path) -> None:
    words = json.dumps({"level": "error", "event": "port_unavailable", "error": "Address already in use"})
    platform = start("--die", "--say", words)
    _, errors = platform.communicate(timeout=WAIT_SECONDS)
    assert platform.returncode == 1
    log = tmp_path / "logs" / "edge.log"
    assert errors == f"error: edge ended (exit code 3): port_unavailable: Address already in use (log: {log})\n"


async def test_the_first_signal_kills_what_does_not_stop_after_a_start_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, *_: object) -> None:
            self._killed = asyncio.Event()

        async def start(self, timeout: float) -> None:
            raise CliError("the first service ended")

        async def stop(self, deadline: float) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await self._killed.wait()

        def kill(self) -> None:
            self._killed.set()

    monkeypatch.setattr(operate_module, "Supervisor", Failing)
    with pytest.raises(CliError, match="the first service ended"):
        async with asyncio.timeout(5):
            await operate_module.operate(Mock(commands=list), Home(tmp_path), Console(quiet=True))


def test_second_run_on_one_folder_is_refused_in_one_line(start: Start, tmp_path: Path) -> None:
    first = start()
    pids(tmp_path)
    second = start()
    _, errors = second.communicate(timeout=WAIT_SECONDS)
    assert second.returncode == 1
    assert errors == (
        f"error: {tmp_path} is in use by another run (pid {first.pid}): "
        "stop it with Ctrl-C, or choose another folder with --home\n"
    )


def test_folder_is_free_again_after_a_kill(start: Start, tmp_path: Path) -> None:
    first = start()
    before = pids(tmp_path)
    first.kill()
    first.communicate()
    until(lambda: none_alive(before))
    start()
    until(lambda: not set(before) & set(pids(tmp_path)))


def test_what_a_killed_run_left_is_not_handed_out_while_the_next_one_starts(start: Start, tmp_path: Path) -> None:
    first = start()
    pids(tmp_path)
    first.kill()
    first.communicate()
    assert run_file(tmp_path)
    shutil.rmtree(tmp_path / "logs")
    second = start("--ready-after", "60")
    until((tmp_path / "logs" / "edge.log").exists)
    with pytest.raises(CliError, match="still starting"):
        find_run([Home(tmp_path)])
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=WAIT_SECONDS)
