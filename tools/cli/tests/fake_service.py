"""A tiny stand-in for a service, run by its path: answers every GET with 200, and may die or be stubborn."""

import argparse
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    ready_at = 0.0

    def do_GET(self) -> None:
        self.send_response(200 if time.monotonic() >= Handler.ready_at else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the log is for what tests look for."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--ready-after", type=float, default=0.0)
    parser.add_argument("--die-after", type=float)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--say", default="")
    options = parser.parse_args()
    Handler.ready_at = time.monotonic() + options.ready_after
    if options.say:
        print(options.say, flush=True)
    if options.die_after == 0:
        sys.exit(3)
    if options.die_after:
        threading.Timer(options.die_after, lambda: signal.raise_signal(signal.SIGKILL)).start()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.stubborn else lambda *_: sys.exit(0))
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
