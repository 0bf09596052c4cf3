"""Recordings in the shape that the simulator reads: a folder of `.jsonl` and `.jsonl.gz` files."""

import gzip
import shutil
from pathlib import Path

from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, explained

SUFFIXES = (".jsonl", ".jsonl.gz")


def folder_of(recordings: Path, home: Home) -> Path:
    """`recordings` itself if it is a folder; a folder in `home` with that one file otherwise."""
    if recordings.is_dir():
        if not any(file.name.endswith(SUFFIXES) for file in recordings.rglob("*")):
            raise CliError(
                f"{recordings} has no {' or '.join(SUFFIXES)} file: name a folder that crosstape record wrote into"
            )
        return recordings.absolute()
    if not recordings.is_file():
        raise CliError(f"{recordings} does not exist: name a folder of recordings, or record one with crosstape record")
    folder = home.data("recordings")
    with explained(home.directory):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _compressed(recordings, folder / f"{recordings.name.removesuffix('.gz').removesuffix('.jsonl')}.jsonl.gz")
    return folder


def _compressed(source: Path, target: Path) -> None:
    with source.open("rb") as raw:
        is_compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with target.open("wb") if is_compressed else gzip.open(target, "wb", compresslevel=1) as output:
            shutil.copyfileobj(raw, output)
