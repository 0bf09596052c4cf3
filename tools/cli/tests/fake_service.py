"""A tiny stand-in for a service, run by its path: answers every GET with 200, and may end at once or be stubborn.

It writes "asked to stop" to its log when it is, and stops after that as slowly as it is told.
"""

import argparse
import os
import signal
import sys
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
    parser.add_argument("--die", action="store_true")
    parser.add_argument("--stop-after", type=float, default=0.0)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--say", default="")
    options = parser.parse_args()
    Handler.ready_at = time.monotonic() + options.ready_after
    if options.say:
        print(options.say, flush=True)
    if options.die:
        sys.exit(3)

    def stop(*_: object) -> None:
        os.write(1, b"asked to stop\n")
        time.sleep(options.stop_after)
        sys.exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.stubborn else stop)
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
