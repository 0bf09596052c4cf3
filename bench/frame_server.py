"""A blocking WebSocket server in a process of its own: it sends the same text frames as fast as the socket takes them.

Run as `python frame_server.py FILE REPEATS`: FILE holds one frame a line; prints its port.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK = 256 * 1024


@contextmanager
def serving(frames: Sequence[bytes], repeats: int, folder: Path) -> Iterator[str]:
    """The address of a server that sends every client `frames`, `repeats` times over."""
    lines = folder / "frames.txt"
    lines.write_bytes(b"\n".join(frames))
    command = (sys.executable, __file__, str(lines), str(repeats))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline() if server.stdout else ""
            yield f"ws://127.0.0.1:{int(port)}/"
        finally:
            server.kill()


def _encoded(frame: bytes) -> bytes:
    head = b"\x81" + (bytes([len(frame)]) if len(frame) < 126 else b"\x7e" + struct.pack("!H", len(frame)))
    return head + frame


def _handshake(client: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += client.recv(4096)
    (key,) = (
        line.split(":", 1)[1].strip()
        for line in request.decode().split("\r\n")
        if line.lower().startswith("sec-websocket-key:")
    )
    accept = base64.b64encode(hashlib.sha1((key + _MAGIC).encode(), usedforsecurity=False).digest()).decode()
    client.sendall(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


def main(path: str, repeats: int) -> None:
    """Serve one client after the other until killed."""
    stream = b"".join(_encoded(frame) for frame in Path(path).read_bytes().split(b"\n"))
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        with client:
            try:
                _handshake(client)
                for _ in range(repeats):
                    for start in range(0, len(stream), _CHUNK):
                        client.sendall(stream[start : start + _CHUNK])
                client.recv(1)
            except OSError:
                continue


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
