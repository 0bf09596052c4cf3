"""The served OpenAPI document holds: schemathesis finds no 5xx, no undocumented status, no answer beyond its schema."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.door import Door

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[3]
CASES = 1_000
SEED, EXAMPLES = "1", "15"
"""The same examples each time: what more of them would guard is changed code alone."""


async def check(door: Door, directory: Path, token: str, *options: str) -> int:
    """How many cases schemathesis made; fails with its report when it found something."""
    config = Path(__file__).with_name("schemathesis.toml")
    arguments = (
        *("--config-file", str(config), "run", f"{door.gateway.url}/openapi.json", "--no-color"),
        # One worker: CPython 3.11 now and then fails to parse in two threads at once, which hypothesis does.
        *("--seed", SEED, "--continue-on-failure", "--workers", "1", "--header", f"Authorization: Bearer {token}"),
    )
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *arguments,
        *options,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    report = (await process.communicate())[0].decode()
    assert process.returncode == 0, report[-20_000:]
    made = re.search(r"(\d+) generated", report)
    assert made, report
    return int(made[1])


async def test_every_operation_answers_as_the_document_says(door: Door, tmp_path: Path) -> None:
    exclude = ("--exclude-path", "/logoff")
    assert await check(door, tmp_path, await door.admin(), "--max-examples", EXAMPLES, *exclude) >= CASES


async def test_a_logoff_answers_as_the_document_says(door: Door, tmp_path: Path) -> None:
    _, login = await door.new_user()
    assert await check(door, tmp_path, login["access_token"], "--max-examples", "5", "--include-path", "/logoff")


async def test_the_committed_document_is_the_served_one(door: Door) -> None:
    """The reference's pages are made from it, without a running platform."""
    committed = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())
    assert (await door.ask("GET", "/openapi.json")).json == committed
