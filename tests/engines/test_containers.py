"""The profile that takes the engines from docker-compose.yml: what it reads there, and what it says without Docker."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import compose
from tests.engines import containers, plugin

ENGINES = ("kafka", "clickhouse", "valkey", "postgres")


@pytest.mark.parametrize("service", ENGINES)
def test_images_are_those_of_the_compose_file(service: str) -> None:
    assert containers.image(service) == compose()["services"][service]["image"]


def test_a_misspelled_profile_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(containers.PROFILE, "docker")
    with pytest.raises(ValueError, match="leave it empty, or say containers"):
        containers.are_wanted()


@pytest.mark.parametrize("fixture", [plugin._brokers, plugin._valkeys, plugin._postgreses])
def test_without_a_docker_engine_tests_are_skipped_and_say_why(
    fixture: Callable[[Path], Iterator[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(containers.PROFILE, "containers")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    containers.missing.cache_clear()
    with pytest.raises(pytest.skip.Exception, match="no Docker engine answers"):
        next(fixture(tmp_path))
    containers.missing.cache_clear()
