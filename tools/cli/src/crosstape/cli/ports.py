"""Loopback ports: finding free ones, and who holds a busy one."""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

import psutil

from crosstape.cli.errors import CliError

LOOPBACK = "127.0.0.1"
_BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports the kernel gives to no outgoing connection, so that a free one stays free until it is used."""


_given: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen there now. A port waiting out old connections is free."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen()
        except PermissionError:
            raise CliError(f"port {port} needs more rights than this user has: choose one above 1024") from None
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free loopback port that was given to nobody who still runs: what listens there may be down for a moment."""
    for port in random.sample(_BELOW_EPHEMERAL, 200):
        if port not in _given and _reserve(port) and is_free(port):
            _given.add(port)
            return port
    raise CliError("200 ports tried between 20000 and 32000, none free: stop what holds them")


def _reserve(port: int) -> bool:
    """Whether `port` is this process's until it ends."""
    reservations = _reservations()
    try:
        fcntl.lockf(reservations, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # POSIX leaves it to the system which
        return False
    return True


@cache
def _reservations() -> int:
    """A file in which a locked byte is a port that was given away. It stays open: closing it would unlock them all."""
    path = Path(tempfile.gettempdir()) / f"crosstape-ports-{os.getuid()}"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CliError(f"cannot open {path} ({error.strerror}): remove it, or name another folder by TMPDIR") from None


def take(port: int, option: str) -> None:
    """Keep `port`, which the user chose with `option`, out of `free_port`. CliError when in use, or taken here."""
    require_free(port, option)
    if port in _given:
        raise CliError(f"port {port} was chosen twice: choose another port with {option}")
    _given.add(port)
    _reserve(port)


def require_free(port: int, option: str) -> None:
    """Raise the one line that names the port, its holder where this user may see it, and the option."""
    if not is_free(port):
        raise CliError(f"port {port} is in use{_holder(port)}: stop that, or choose another port with {option}")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
