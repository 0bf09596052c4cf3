"""Which tests there are: what they are marked as, and which of them one worker runs."""

from __future__ import annotations

import gc
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

HERE = Path(__file__).parent

FOLDERS = {"browser": "e2e", "deploy": "integration", "e2e": "e2e", "toy": "e2e"}
"""Those beside this file in which every test has a mark, and which."""

ONE_PLATFORM = {"tests/e2e/one_door/": "door", "tests/browser/": "demo", "tests/test_demo.py": "demo"}
"""Tests, by how their names begin, that share a platform: which."""

PLATFORM_SECONDS = 300
"""What an e2e test may take that says nothing else: the first of a platform has to start it."""

ENGINES = frozenset({
    "broker", "module_broker", "own_broker", "valkey", "own_valkey", "postgres_server", "own_postgres_server",
    "clickhouse_url",
})  # fmt: skip
"""Fixtures of tests/engines/plugin.py that start one."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and tests stay until the end: no search for garbage goes through them, now or while the tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import nothing of what was not asked for: the manifests of `deploy` alone take two seconds."""
    mark = FOLDERS.get(collection_path.name) if collection_path.parent == HERE else None
    return True if mark and f"not {mark}" in config.option.markexpr else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An integration test is who asks for an engine, by whatever fixture, or for a program that validates manifests."""
    for item in items:
        if item.get_closest_marker("e2e") is not None:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(PLATFORM_SECONDS))
            continue
        if item.path.parent == HERE / "deploy" or not ENGINES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("integration")


class OnePlatformOneWorker(LoadFileScheduling):  # type: ignore[misc]  # xdist tells no types
    """By file, but what shares a platform as if it were one file: else each worker starts one."""

    def _split_scope(self, nodeid: str) -> str:
        shared = (platform for beginning, platform in ONE_PLATFORM.items() if nodeid.startswith(beginning))
        return next(shared, None) or str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return OnePlatformOneWorker(config, log) if config.getvalue("dist") == "loadfile" else None
