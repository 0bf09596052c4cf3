"""Ports: a free one is free, a busy one is explained."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK, free_port, is_free, require_free


def test_free_port_can_be_listened_on() -> None:
    with socket.create_server((LOOPBACK, free_port())):
        pass


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


def test_busy_port_names_its_holder_and_the_option() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(CliError) as refusal:
            require_free(port, "--port")
    assert str(refusal.value).startswith(f"port {port} is in use by ")
    assert f"(pid {os.getpid()})" in str(refusal.value)
    assert str(refusal.value).endswith("stop that, or choose another port with --port")
