"""A platform's folder: its lock, its refusals, and what it tells other commands."""

import errno
import fcntl
import os
import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from unittest.mock import Mock

import pytest

from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Listing, Run, default_directory, explained
from crosstape.cli.operate import installation_kept
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


def test_of_two_platforms_none_is_taken_silently(tmp_path: Path) -> None:
    demo, live = Home(tmp_path / "demo"), Home(tmp_path / "live")
    for home in (demo, live):
        home.prepare()
    with demo.locked(), live.locked():
        live.write_run(RUN)
        with pytest.raises(
            CliError, match=rf"{demo.directory} and {live.directory}: name the one you mean with --home"
        ):
            find_run([demo, live])
        assert find_run([live]) == RUN


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


@pytest.mark.parametrize("sign", "#?,")
def test_folder_that_an_address_cannot_hold_is_refused_in_one_line(tmp_path: Path, sign: str) -> None:
    with pytest.raises(CliError, match=rf"has {re.escape(sign)} in its name"):
        Home(tmp_path / f"a{sign}b" / "demo").prepare()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "is full"), (errno.EROFS, "cannot write in"), (errno.ENOENT, "cannot write in")],
)
def test_refusals_of_the_system_become_one_line(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(CliError, match=words), explained(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_cannot_be_locked_is_refused_in_one_line_and_an_installation_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".runtime").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))))
    with (
        installation_kept(),
        pytest.raises(CliError, match=r"cannot write in .* .No locks available.: choose another with --home"),
        Home(tmp_path).locked(),
    ):
        pass


def test_secret_that_a_power_cut_emptied_is_named_and_not_made_anew(tmp_path: Path) -> None:
    home = Home(tmp_path)
    secret = home.secret("signing_key_secret")
    assert home.secret("signing_key_secret") == secret
    file = home.secrets / "crosstape_signing_key_secret"
    file.write_text("")
    with pytest.raises(CliError, match=f"{file} is empty"):
        home.secret("signing_key_secret")


def test_what_another_user_keeps_to_themselves_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.secret("internal_secret")
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=refused))
    with pytest.raises(CliError, match=r"cannot read .*crosstape_internal_secret .Permission denied.: run as the user"):
        home.kept_secret("internal_secret")
    with pytest.raises(CliError, match=r"cannot read .*run\.json"):
        home.read_run()


def test_what_fails_while_the_folder_is_held_is_not_laid_on_it(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), Home(tmp_path).locked():
        raise PermissionError(errno.EPERM, "something else")


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explained(tmp_path):
        raise IsADirectoryError(errno.EISDIR, "is a directory")


def test_state_is_under_crosstape_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROSSTAPE_HOME", raising=False)
    assert default_directory("demo") == Path(".crosstape/demo")
    monkeypatch.setenv("CROSSTAPE_HOME", "/var/lib/crosstape")
    assert default_directory("demo") == Path("/var/lib/crosstape/demo")
