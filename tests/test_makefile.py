"""What `make` does about a .venv that is not of this checkout."""

import os
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[1] / "Makefile"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose .venv was just made."""
    (tmp_path / "requirements-bootstrap.lock").touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to("/bin/true")
    (tmp_path / ".venv/.bootstrap").write_text(f"{tmp_path}/.venv\n")
    os.utime(tmp_path / "requirements-bootstrap.lock", (0, 0))
    return tmp_path


def done(checkout: Path) -> str:
    """What would be done to have a .venv there."""
    command = ["make", "--dry-run", "--file", str(MAKEFILE), ".venv/.bootstrap"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout


def test_virtual_environment_of_this_checkout_is_used(checkout: Path) -> None:
    assert "up to date" in done(checkout)


def test_virtual_environment_that_was_copied_with_its_checkout_is_made_anew(checkout: Path) -> None:
    copy = checkout / "copy"
    copy.mkdir()
    for name in (".venv", "requirements-bootstrap.lock"):
        subprocess.run(["cp", "-a", checkout / name, copy / name], check=True)
    assert "-m venv --clear .venv" in done(copy)


def test_virtual_environment_whose_python_is_gone_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("/no/such/python3.11")
    assert "-m venv --clear .venv" in done(checkout)


def test_virtual_environment_of_somebody_else_is_not_emptied(checkout: Path) -> None:
    (checkout / ".venv/.bootstrap").unlink()
    assert "-m venv  .venv" in done(checkout)
