"""Ports: a free one is free, a busy one is explained."""

import os
import socket

import pytest

from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK, free_port, is_free, require_free


def test_free_port_can_be_listened_on() -> None:
    with socket.create_server((LOOPBACK, free_port())):
        pass


def test_busy_port_names_its_holder_and_the_option() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(CliError) as refusal:
            require_free(port, "--port")
    assert str(refusal.value).startswith(f"port {port} is in use by ")
    assert f"(pid {os.getpid()})" in str(refusal.value)
    assert str(refusal.value).endswith("stop that, or choose another port with --port")
