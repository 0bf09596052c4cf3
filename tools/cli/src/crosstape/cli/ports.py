"""Loopback ports: finding free ones, and who holds a busy one."""

import random
import socket

import psutil

from crosstape.cli.errors import CliError

LOOPBACK = "127.0.0.1"
_BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports the kernel gives to no outgoing connection, so that a free one stays free until it is used."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now. A port waiting out old connections is free."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except PermissionError:
            raise CliError(f"port {port} needs more rights than this user has: choose one above 1024") from None
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free loopback port, at random, so that two platforms starting together rarely choose the same."""
    for port in random.sample(_BELOW_EPHEMERAL, 200):
        if is_free(port):
            return port
    raise CliError("200 ports tried between 20000 and 32000, none free: stop what holds them")


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
