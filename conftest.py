"""Fixtures for every test of the repository: the real engines (tests/engines/plugin.py), and one internal secret."""

import gc
import os
from collections.abc import Generator

import pytest

from crosstape.common.testing.identity import INTERNAL_SECRET

pytest_plugins = ("tests.engines.plugin",)

os.environ["CROSSTAPE_INTERNAL_SECRET"] = INTERNAL_SECRET


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
