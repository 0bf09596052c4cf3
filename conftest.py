"""Fixtures for every test of the repository: the real engines (tests/engines/plugin.py)."""

import os

pytest_plugins = ("tests.engines.plugin",)

os.environ.setdefault("CROSSTAPE_INTERNAL_SECRET", "for tests alone: shared by the services they start")
