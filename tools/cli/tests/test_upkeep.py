"""The watch over the disk of a platform that runs."""

import asyncio
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from crosstape.cli import upkeep
from crosstape.cli.home import Home
from crosstape.cli.logs import LONGEST_BYTES
from crosstape.cli.supervisor import Event

Usage = namedtuple("Usage", "total used free")


async def test_shortage_is_said_once_until_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([10**10, 10**6, 10**6, 10**10, 10**6])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, next(free)))
    monkeypatch.setattr(upkeep, "EVERY_SECONDS", 0)
    events: list[Event] = []
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(upkeep.upkeep(Home(tmp_path), [], events.append), 5)
    assert [event.kind for event in events] == ["warning", "warning"]
    assert "only 0 MiB are free" in events[0].text


async def test_folder_that_was_removed_is_said_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "EVERY_SECONDS", 0)
    events: list[Event] = []
    gone = Home(tmp_path / "gone")
    watching = asyncio.create_task(upkeep.upkeep(gone, [], events.append))
    async with asyncio.timeout(5):
        while not events:
            await asyncio.sleep(0)
        gone.directory.mkdir()
        await asyncio.sleep(0)
        gone.directory.rmdir()
        while len(events) < 2:
            await asyncio.sleep(0)
    assert not watching.done()
    watching.cancel()
    assert [event.kind for event in events] == ["warning", "warning"]


async def test_log_that_cannot_be_cut_is_said_once_and_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = iter([1, 2, 3])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, next(rounds) * 10**10))
    monkeypatch.setattr(upkeep, "EVERY_SECONDS", 0)
    broken, long = tmp_path / "broken.log", tmp_path / "long.log"
    for log in (broken, long):
        log.touch()
        os.truncate(log, LONGEST_BYTES + 1)
    broken.with_name("broken.log.1").mkdir()
    events: list[Event] = []
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(upkeep.upkeep(Home(tmp_path), [broken, long], events.append), 5)
    assert [(event.kind, event.name) for event in events] == [("warning", "logs")]
    assert "broken.log.1" in events[0].text
    assert long.stat().st_size == 0
