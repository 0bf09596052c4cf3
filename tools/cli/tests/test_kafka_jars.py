"""The broker's jars: nothing runs but what the lock file names."""

import hashlib
import sys
from pathlib import Path

import pytest

from crosstape.cli import kafka_jars
from crosstape.cli.errors import CliError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lock = tmp_path / "kafka.lock"
    lock.write_text(f"org.example:engine:1.0 {hashlib.sha256(b'right').hexdigest()}\n")
    monkeypatch.setattr(kafka_jars, "LOCK", lock)
    monkeypatch.setattr(kafka_jars, "FOLDER", tmp_path / "jars")
    return tmp_path / "jars"


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[str]:
    """Let Maven's registry answer with `content`; the names of what was asked for."""
    from jgo.maven import Artifact

    asked: list[str] = []

    def resolve(artifact: Artifact) -> Path:
        asked.append(artifact.filename)
        path = artifact.cached_path
        assert path is not None
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return path

    monkeypatch.setattr(Artifact, "resolve", resolve)
    return asked


def test_a_missing_jar_is_named() -> None:
    with pytest.raises(CliError, match=r"lacks engine-1\.0\.jar"):
        kafka_jars.classpath()


def test_jars_are_fetched_once_and_nothing_else_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, b"right")
    kafka_jars.fetch()
    kafka_jars.fetch()
    assert asked == ["engine-1.0.jar"]
    assert kafka_jars.classpath() == str(folder / "engine-1.0.jar")
    assert [path.name for path in folder.iterdir()] == ["engine-1.0.jar"]


def test_a_jar_with_another_hash_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, b"wrong")
    with pytest.raises(CliError, match=r"engine-1\.0\.jar is not the one in kafka.lock"):
        kafka_jars.fetch()
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_is_told_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("a file")
    monkeypatch.setattr(sys, "argv", ["kafka_jars"])
    with pytest.raises(SystemExit, match=rf"^error: .*{folder}"):
        kafka_jars.main()


def test_a_damaged_jar_is_fetched_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "engine-1.0.jar").write_bytes(b"damaged")
    serve(monkeypatch, b"right")
    kafka_jars.fetch()
    assert (folder / "engine-1.0.jar").read_bytes() == b"right"
