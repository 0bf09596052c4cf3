"""Recordings as the simulator reads them: a folder of `.jsonl` and `.jsonl.gz` files, or one such file."""

from pathlib import Path

from crosstape.cli.errors import CliError
from crosstape.cli.home import Home

SUFFIXES = (".jsonl", ".jsonl.gz")


def found(recordings: Path) -> Path:
    """The absolute path of `recordings`; CliError when there is nothing to play."""
    if not recordings.exists():
        raise CliError(f"{recordings} does not exist: name a folder of recordings, or record one with crosstape record")
    if recordings.is_dir() and not any(file.name.endswith(SUFFIXES) for file in recordings.rglob("*")):
        raise CliError(
            f"{recordings} has no {' or '.join(SUFFIXES)} file: name a folder that crosstape record wrote into"
        )
    return recordings.absolute()


def require_new(home: Home) -> None:
    """CliError where `home` has a tape: frames that are shifted to another present would move its trades in time, and
    leave its bars behind. One that is in use is refused as that."""
    if home.data("clickhouse").exists() and not home.is_locked:
        raise CliError(
            f"{home.directory} has a tape, whose trades --times now would move to another time: "
            "remove that folder, or name a new one with --home"
        )
