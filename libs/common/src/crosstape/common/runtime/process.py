"""What every service asks of the system and of its garbage collector. Each has been measured."""

from __future__ import annotations

import gc
import resource

FILES = 49_152
"""Of 20,000 WebSockets each takes two at the gateway; what a shell allows is often 1,024."""


def allow_files() -> None:
    """Have as many files open as a busy service may need, or as the system lets a process have."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def settle() -> None:
    """When all that lives for ever has been made: looking through it again and again took slices of TWAP orders 0.1 s
    each time, and the gateway an eighth of its time."""
    gc.collect()
    gc.freeze()
