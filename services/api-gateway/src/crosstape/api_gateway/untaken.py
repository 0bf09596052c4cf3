"""How much of what was written the other end has not taken yet."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios


def untaken_bytes(transport: asyncio.Transport) -> int:
    """Bytes written that the other end has not acknowledged, as long as some of them are still ours; else 0.

    Those in the kernel count because it holds megabytes and takes more of us in large portions: without them a slow
    reader seems not to read at all, as it does where the kernel does not tell (macOS).
    """
    here = transport.get_write_buffer_size()
    return here and here + _in_kernel(transport)


def _in_kernel(transport: asyncio.Transport) -> int:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    return 0
