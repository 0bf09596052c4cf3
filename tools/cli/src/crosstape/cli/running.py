"""Finding the platform that runs on this machine."""

from collections.abc import Sequence

from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Run


def find_run(homes: Sequence[Home]) -> Run:
    """The running platform of the first of `homes` that has one; CliError when none has."""
    for home in homes:
        if home.is_locked:
            return home.read_run()
    folders = " or ".join(str(home.directory) for home in homes)
    raise CliError(f"no platform runs in {folders}: start one with make demo, or name its folder with --home")
