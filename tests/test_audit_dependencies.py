"""The gate on vulnerable dependencies fails when it should, and never passes silently for having seen nothing."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Verdict = Callable[[dict[str, Any]], tuple[bool, str]]

FINE = {"name": "fine", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "GHSA-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    path = Path(__file__).parents[1] / "tools" / "audit_dependencies.py"
    spec = importlib.util.spec_from_file_location("audit_dependencies", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Verdict = module.verdict
    return found


def test_a_known_vulnerability_fails_and_is_named(verdict: Verdict) -> None:
    is_good, lines = verdict({"dependencies": [FINE, BAD, UNKNOWN]})
    assert not is_good and "bad 2: GHSA-1, mended in 3" in lines


def test_nothing_found_passes_with_what_was_looked_at(verdict: Verdict) -> None:
    assert verdict({"dependencies": [FINE, UNKNOWN]}) == (True, "pip-audit: 1 of 2 packages audited, 0 findings")


def test_nothing_looked_up_is_said(verdict: Verdict) -> None:
    is_good, lines = verdict({"dependencies": [UNKNOWN]})
    assert is_good and "none of 1 packages was audited" in lines
