"""A platform's folder: its lock, its refusals, and what it tells other commands."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Listing, Run, default_directory, explained
from crosstape.cli.running import find_run

RUN = Run(
    pid=1,
    mode="demo",
    gateway_url="http://127.0.0.1:8000",
    history_url="http://127.0.0.1:20001",
    exchange_origin="http://127.0.0.1:20002",
    kafka_bootstrap="127.0.0.1:20003",
    redis_url="redis://127.0.0.1:20004/0",
    clickhouse_url="chdb:///data/clickhouse",
    home="/data",
    processes=[Listing("history", 2, 20001, "http://127.0.0.1:20001", "history.log")],
)
Usage = namedtuple("Usage", "total used free")


def test_what_is_written_of_a_run_is_read_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.locked():
        home.write_run(RUN)
        assert find_run([Home(tmp_path / "other"), home]) == RUN


def test_no_run_is_found_where_nothing_holds_the_folder(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.locked():
        home.write_run(RUN)
    with pytest.raises(CliError, match=r"no platform runs in .*: start one with make demo"):
        find_run([home])


def test_platform_that_is_starting_is_said_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.locked(), pytest.raises(CliError, match="still starting"):
        home.read_run()


def test_damaged_run_file_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.run_file.write_text("{")
    with pytest.raises(CliError, match=r"run\.json cannot be read"):
        home.read_run()


def test_second_lock_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    with (
        Home(tmp_path).locked(),
        pytest.raises(CliError, match=rf"in use by another run \(pid {os.getpid()}\)"),
        Home(tmp_path).locked(),
    ):
        pass


def test_nearly_full_disk_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 100 * 2**20))
    with pytest.raises(CliError, match=r"only 100 MiB are free .* choose another folder with --home"):
        Home(tmp_path).prepare()


def test_folder_under_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match=r"cannot write in .*: choose another with --home"):
        Home(tmp_path / "file" / "home").prepare()


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "is full"), (errno.EROFS, "cannot write in")])
def test_refusals_of_the_system_become_one_line(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(CliError, match=words), explained(tmp_path):
        raise OSError(number, os.strerror(number))


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explained(tmp_path):
        raise IsADirectoryError(errno.EISDIR, "is a directory")


def test_state_is_under_crosstape_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROSSTAPE_HOME", raising=False)
    assert default_directory("demo") == Path(".crosstape/demo")
    monkeypatch.setenv("CROSSTAPE_HOME", "/var/lib/crosstape")
    assert default_directory("demo") == Path("/var/lib/crosstape/demo")
