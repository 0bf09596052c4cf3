"""Fixtures for every test of the repository: the real engines (tests/engines/plugin.py)."""

pytest_plugins = ("tests.engines.plugin",)
