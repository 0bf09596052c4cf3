"""What this process asks of the system, of its C library and of its garbage collector. Each has been measured."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MIB = 1024 * 1024


def prepare() -> None:
    """Before the event loop runs."""
    # Two files for each WebSocket, and what a shell allows is often 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # glibc gives a large block back to the kernel as soon as it is free, and the next one is faulted in anew, page by
    # page: two fifths of the time of an answer of 150 kB. Other C libraries have no mallopt, and are left alone.
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 8 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 64 * _MIB)


def settle() -> None:
    """When all that lives for ever has been made."""
    # Every request makes a few short-lived cycles; looking through everything else at each turn took an eighth of the
    # time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
