"""For every test of the repository: its plugins, one internal secret, and no deadlines for examples."""

import os

from hypothesis import settings

from crosstape.common.testing.identity import INTERNAL_SECRET

pytest_plugins = ("tests.collection", "tests.demo", "tests.engines.plugin")

os.environ["CROSSTAPE_INTERNAL_SECRET"] = INTERNAL_SECRET

# Before any test is decorated: a machine that others use too is no reason for an example to fail.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
