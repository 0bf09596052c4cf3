"""The processes' log files: rotation at the start, a bound on their length, and the last words of a dead process."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from crosstape.cli.errors import DISK_FULL

KEPT = 5
LONGEST_BYTES = 32 * 1024 * 1024
_TAIL_BYTES = 64 * 1024
_MAX_WORDS = 300
_FRAME = " \n|+-"
"""What Python draws around the exceptions of a group."""


def rotate(log: Path, kept: int = KEPT) -> None:
    """Make room for a new `log`: the old one becomes `.1`, and `kept` old ones stay."""
    if not log.exists() or not log.stat().st_size:
        return
    for number in range(kept - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


def cut(log: Path, longest: int = LONGEST_BYTES) -> None:
    """Move the content of a log that grew past `longest` bytes to `.1`. Its writer appends, so it goes on at the start.

    Lines written between the copy and the cut are lost; on a full disk all are, for the cut must make room there.
    """
    try:
        is_long = log.stat().st_size > longest
    except FileNotFoundError:
        return
    if is_long:
        copy = log.with_name(f"{log.name}.1")
        try:
            shutil.copyfile(log, copy)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            copy.unlink(missing_ok=True)
        os.truncate(log, 0)


def last_words(log: Path) -> str:
    """The last error a process logged, else its last line, on one line; empty if it said nothing."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    records = [_record(line) for line in said]
    errors = [record for record in records if str(record.get("level", "")).lower() in {"error", "critical"}]
    if errors:
        return _clip(_message(errors[-1]))
    if not said:
        return ""
    return _clip(_message(records[-1]) if records[-1] else said[-1])


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _message(record: dict[str, Any]) -> str:
    words = str(record.get("event") or record.get("message") or record)
    exception = str(record.get("exception") or "").rstrip(_FRAME).rpartition("\n")[2].lstrip(_FRAME)
    cause = record.get("error") or record.get("reason") or exception
    return f"{words}: {cause}" if cause else words


def _clip(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_WORDS else line[:_MAX_WORDS] + "…"
