"""A platform of three stand-ins, run by its path as `crosstape demo` runs the real one: FOLDER [SERVICE_OPTION ...].

With `--login-hangs` or `--markets-hang` first, what is asked for that answers only when its service ends.
"""

import asyncio
import socket
import sys
from pathlib import Path

from rich.console import Console

from crosstape.cli import probe
from crosstape.cli.access import Access
from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Listing, Run
from crosstape.cli.operate import operate
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command
from crosstape.cli.supervisor import Supervisor

SERVICE = Path(__file__).with_name("fake_service.py")


class FakePlatform:
    def __init__(self, options: list[str]) -> None:
        self._hanging = next((option for option in options[:1] if option in ("--login-hangs", "--markets-hang")), "")
        self._last_options = options[bool(self._hanging) :]
        self._ports: dict[str, int] = {}

    def commands(self) -> list[Command]:
        return [
            self._command("engine", (), []),
            self._command("store", ("engine",), []),
            self._command("edge", ("store",), self._last_options),
        ]

    def run(self, supervisor: Supervisor, pid: int) -> Run:
        processes = [
            Listing(process.command.name, process.pid, process.command.port, "", str(process.log))
            for process in supervisor.processes.values()
        ]
        return Run(pid, "demo", "http://gateway", "", "", "", "", "", "", processes)

    def markets(self, supervisor: Supervisor) -> dict[str, str]:
        if self._hanging == "--markets-hang":
            self._hang()
        return {} if "edge" in supervisor.absent else {"binance": "SOL-USDT"}

    def access(self) -> Access:
        if self._hanging == "--login-hangs":
            self._hang()
        return Access("admin", "a password", "ctk_key")

    def _hang(self) -> None:
        with socket.create_connection((LOOPBACK, self._ports["edge"])) as silent:
            silent.recv(1)

    def _command(self, name: str, needs: tuple[str, ...], options: list[str]) -> Command:
        port = self._ports[name] = free_port()
        return Command(
            name=name,
            argv=(sys.executable, str(SERVICE), str(port), *options),
            ready=probe.http(LOOPBACK, port, "/readyz"),
            port=port,
            needs=needs,
            after=needs,
        )


def main() -> None:
    folder, *options = sys.argv[1:]
    home = Home(Path(folder))
    try:
        home.prepare()
        with home.locked():
            asyncio.run(operate(FakePlatform(options), home, Console()))
    except CliError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
