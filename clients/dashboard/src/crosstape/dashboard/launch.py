"""`crosstape-dashboard`: starts Streamlit on the app, on loopback by default, without usage statistics."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

LOOPBACK = "127.0.0.1"
APP = Path(__file__).with_name("server.py")


def arguments(port: int, address: str = LOOPBACK, site: str = LOOPBACK) -> list[str]:
    """The command line of Streamlit. Options given here win over files and variables of the user's.

    It listens on `address`; `site` is the host whose pages may open its socket.
    """
    options = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": "true",
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": site,
    }
    return [
        *(sys.executable, "-P", "-m", "streamlit", "run", str(APP)),
        *(f"--{name}={value}" for name, value in options.items()),
    ]


def launch(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the app.")] = 8501,
    url: Annotated[
        str, typer.Option(envvar="CROSSTAPE_URL", help="The platform: its gateway.")
    ] = "http://127.0.0.1:8000",
    address: Annotated[str, typer.Option(help="Address to listen on.")] = LOOPBACK,
    site: Annotated[str, typer.Option(help="Host name under which browsers reach the app.")] = LOOPBACK,
) -> None:
    """The trader's web app of Crosstape, in your browser."""
    command = arguments(port, address, site)
    os.execve(command[0], command, {**os.environ, "CROSSTAPE_URL": url})  # noqa: S606  # it becomes the server


def main() -> None:
    typer.run(launch)


if __name__ == "__main__":
    main()
