"""Fixtures for every test of the repository: the real engines (tests/engines/plugin.py), and one internal secret."""

import os

from crosstape.common.testing.identity import INTERNAL_SECRET

pytest_plugins = ("tests.engines.plugin",)

os.environ["CROSSTAPE_INTERNAL_SECRET"] = INTERNAL_SECRET
