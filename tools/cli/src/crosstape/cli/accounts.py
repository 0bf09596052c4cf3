"""Commands that the auth service's own module carries out: `users` and `keys`. It reads and prints for itself."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from crosstape.cli.home import Home
from crosstape.cli.running import find_run

_DATABASE = "CROSSTAPE_AUTH_DATABASE_URL"


def administer(group: str, words: Sequence[str], homes: Sequence[Home]) -> int:
    """The exit code of `python -m crosstape.auth.admin GROUP WORDS`, on the environment's database or the platform's.

    Raises CliError when neither is known.
    """
    is_question = not words or "--help" in words
    environment = {} if is_question or _DATABASE in os.environ else _stores(homes)
    command = [sys.executable, "-P", "-m", "crosstape.auth.admin", group, *words]
    return subprocess.call(command, env={**os.environ, **environment})


def _stores(homes: Sequence[Home]) -> dict[str, str]:
    run = find_run(homes)
    home = Home(Path(run.home))
    return {
        _DATABASE: home.accounts_url,
        "CROSSTAPE_SIGNING_KEY_SECRET": home.kept_secret("signing_key_secret"),
        "CROSSTAPE_REDIS_URL": run.redis_url,
    }
