"""Log files: what rotation keeps, and what is taken for a process's last words."""

import json
import traceback
from pathlib import Path

import pytest

from crosstape.cli.logs import KEPT, cut, last_words, rotate


def test_rotation_keeps_the_newest_old_logs(tmp_path: Path) -> None:
    log = tmp_path / "history.log"
    for run in range(KEPT + 3):
        rotate(log)
        log.write_text(f"run {run}")
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["history.log", *(f"history.log.{number}" for number in range(1, KEPT + 1))]
    assert (tmp_path / "history.log.1").read_text() == f"run {KEPT + 1}"
    assert (tmp_path / f"history.log.{KEPT}").read_text() == f"run {2}"


def test_rotation_leaves_an_empty_or_absent_log_alone(tmp_path: Path) -> None:
    log = tmp_path / "history.log"
    rotate(log)
    log.touch()
    rotate(log)
    assert [path.name for path in tmp_path.iterdir()] == ["history.log"]


def test_long_log_is_cut_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "history.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        cut(log, longest=1000)
        assert log.stat().st_size == 100
        cut(log, longest=99)
        writer.write(b"new")
    assert (log.read_bytes(), (tmp_path / "history.log.1").stat().st_size) == (b"new", 100)


def test_long_log_is_cut_without_a_copy_when_the_disk_is_full(tmp_path: Path) -> None:
    log, copy = tmp_path / "history.log", tmp_path / "history.log.1"
    log.write_bytes(b"x" * 100)
    copy.symlink_to("/dev/full")
    cut(log, longest=99)
    assert log.stat().st_size == 0
    assert not copy.is_symlink()


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["plain words", ""], "plain words"),
        (["Traceback (most recent call last):", "  File ...", "ValueError: no"], "ValueError: no"),
        (
            [json.dumps({"level": "error", "event": "port_unavailable", "error": "in use"}), '{"event": "stopped"}'],
            "port_unavailable: in use",
        ),
        (
            [json.dumps({"level": "error", "event": "process_failed", "reason": "a setting is wrong"})],
            "process_failed: a setting is wrong",
        ),
        (
            [json.dumps({"level": "error", "event": "failed", "exception": "Traceback ...\n\nKeyError: 'x'"})],
            "failed: KeyError: 'x'",
        ),
        (
            [
                json.dumps(
                    {"level": "error", "event": "failed", "exception": _trace(ExceptionGroup("g", [KeyError("x")]))}
                )
            ],
            "failed: KeyError: 'x'",
        ),
        (['{"event": "serving"}'], "serving"),
        (["[1, 2]"], "[1, 2]"),
    ],
)
def test_last_words_are_the_last_error_else_the_last_line(tmp_path: Path, lines: list[str], words: str) -> None:
    log = tmp_path / "service.log"
    log.write_text("\n".join(lines))
    assert last_words(log) == words


def test_last_words_of_a_huge_line_are_clipped(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_text("x" * 1_000_000)
    assert len(last_words(log)) <= 301


def test_process_without_a_log_said_nothing(tmp_path: Path) -> None:
    assert last_words(tmp_path / "absent.log") == ""
