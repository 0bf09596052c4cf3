"""What the gateway asks of its C library and of its garbage collector besides. Each has been measured."""

from __future__ import annotations

import contextlib
import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MIB = 1024 * 1024


def prepare() -> None:
    """Before the event loop runs."""
    # Every request makes a few short-lived cycles.
    gc.set_threshold(10_000, 20, 50)
    # glibc gives a large block back to the kernel as soon as it is free, and the next one is faulted in anew, page by
    # page: two fifths of the time of an answer of 150 kB. Other C libraries have no mallopt, and are left alone.
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 8 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 64 * _MIB)
