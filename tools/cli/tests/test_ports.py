"""Ports: a free one is free, a busy one is explained."""

import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from crosstape.cli import ports
from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK, free_port, is_free, require_free, take


def test_free_port_can_be_listened_on() -> None:
    with socket.create_server((LOOPBACK, free_port())):
        pass


@pytest.mark.integration
def test_a_port_that_another_process_was_given_is_given_to_nobody_else_until_that_process_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = "from crosstape.cli import ports; print({}, flush=True); input()"

    def asking(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program.format(what)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    with asking("ports.free_port()") as first:
        port = answer(first)
        with asking(f"ports._reserve({port})") as second:
            assert answer(second) == "False"
            second.kill()
        first.kill()
    with asking(f"ports._reserve({port})") as third:
        assert answer(third) == "True"
        third.kill()


def test_port_that_the_user_chose_is_given_to_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, other = free_port(), free_port()
    monkeypatch.setattr(ports, "_given", set())
    monkeypatch.setattr(random, "sample", lambda ports, count: [chosen, other])
    take(chosen, "--port")
    assert free_port() == other
    with pytest.raises(CliError, match=f"port {chosen} was chosen twice: .* --dashboard-port"):
        take(chosen, "--dashboard-port")


def test_file_of_reservations_that_cannot_be_opened_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / f"crosstape-ports-{os.getuid()}").mkdir()
    with pytest.raises(CliError, match=r"cannot open .*crosstape-ports"):
        ports._reservations.__wrapped__()


def test_busy_port_names_its_holder_and_the_option() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(CliError) as refusal:
            require_free(port, "--port")
    assert str(refusal.value).startswith(f"port {port} is in use by ")
    assert f"(pid {os.getpid()})" in str(refusal.value)
    assert str(refusal.value).endswith("stop that, or choose another port with --port")
