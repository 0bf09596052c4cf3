"""Processes as a test sees them from outside."""

import psutil


def is_alive(pid: int) -> bool:
    """Whether it runs: it may end, and be forgotten, while it is asked for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
