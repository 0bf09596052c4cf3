"""Finding the platform that runs on this machine."""

from collections.abc import Sequence

from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Run


def find_run(homes: Sequence[Home]) -> Run:
    """The platform that runs in one of `homes`; CliError when none does, or several do."""
    running = [home for home in homes if home.is_locked]
    if len(running) > 1:
        folders = " and ".join(str(home.directory) for home in running)
        raise CliError(f"platforms run in {folders}: name the one you mean with --home")
    if running:
        return running[0].read_run()
    folders = " or ".join(str(home.directory) for home in homes)
    raise CliError(f"no platform runs in {folders}: start one with make demo, or name its folder with --home")
