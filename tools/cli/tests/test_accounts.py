"""`crosstape users` and `crosstape keys` are the auth service's own commands, on the platform that runs here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crosstape.cli.accounts import administer
from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Run


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Python: writes how it was called to this file, and ends with code 3."""
    called = tmp_path / "called"
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/sh\necho "$@" "$CROSSTAPE_AUTH_DATABASE_URL" "$CROSSTAPE_SIGNING_KEY_SECRET"'
        f' "$CROSSTAPE_REDIS_URL" > {called}\nexit 3\n'
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.delenv("CROSSTAPE_AUTH_DATABASE_URL", raising=False)
    monkeypatch.setenv("CROSSTAPE_SIGNING_KEY_SECRET", "theirs")
    return called


def test_a_command_goes_to_the_running_platforms_database_with_its_secret(tmp_path: Path, shown: Path) -> None:
    home = Home(tmp_path / "demo")
    home.prepare()
    secret = home.secret("signing_key_secret")
    with home.locked():
        home.write_run(Run(os.getpid(), "demo", "", "", "", "", "redis://here/0", "", str(home.directory)))
        assert administer("users", ["role", "bob", "admin"], [home]) == 3
    database = f"sqlite:///{home.directory}/auth/auth.db"
    assert shown.read_text() == f"-P -m crosstape.auth.admin users role bob admin {database} {secret} redis://here/0\n"


def test_the_environments_database_comes_first_with_the_environments_secret(
    shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSTAPE_AUTH_DATABASE_URL", "postgresql://db/auth")
    monkeypatch.setenv("CROSSTAPE_REDIS_URL", "redis://there/0")
    assert administer("keys", ["rotate"], []) == 3
    assert shown.read_text() == "-P -m crosstape.auth.admin keys rotate postgresql://db/auth theirs redis://there/0\n"


def test_without_either_it_says_what_to_do(tmp_path: Path, shown: Path) -> None:
    with pytest.raises(CliError, match="no platform runs in"):
        administer("users", ["list"], [Home(tmp_path / "absent")])
    assert not shown.exists()


@pytest.mark.integration
def test_the_help_of_a_delegated_command_is_the_services_own() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "crosstape.cli", "users", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    for command in ("list", "add", "role", "password", "remove"):
        assert f" {command} " in asked.stdout
