"""Every member's package says what it needs, and says it as the others do."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
VERSION = metadata.version("crosstape-common")
MEMBERS = sorted(path.parent for path in ROOT.glob("*/*/pyproject.toml"))

ENTRIES = sorted(
    ".".join(path.relative_to(member / "src").with_suffix("").parts)
    for member in MEMBERS
    for path in member.glob("src/**/__main__.py")
)

member = pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)


@cache
def distributions() -> dict[str, set[str]]:
    """What is installed, by the module that it brings."""
    return {
        module: {canonicalize_name(name) for name in names}
        for module, names in metadata.packages_distributions().items()
    }


def project(member: Path) -> dict[str, Any]:
    told: dict[str, Any] = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    return told


def imported(member: Path) -> Iterator[str]:
    """The full names of the modules that the member's code imports."""
    for path in member.glob("src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module


def packages_of(module: str) -> set[str]:
    """The packages that may have brought `module`, and need not be named where it is none."""
    top, *below = module.split(".")
    if top == "crosstape":
        return {canonicalize_name(f"crosstape-{below[0]}")}
    return set() if top in sys.stdlib_module_names else distributions()[top]


@member
def test_what_a_member_imports_it_declares(member: Path) -> None:
    told = project(member)
    optional = [text for texts in told.get("optional-dependencies", {}).values() for text in texts]
    declared = {canonicalize_name(Requirement(text).name) for text in [*told["dependencies"], *optional]}
    declared.add(told["name"])
    missing = {module for module in imported(member) if (needed := packages_of(module)) and not needed & declared}
    assert missing == set()


@member
def test_members_are_packaged_alike(member: Path) -> None:
    told, whole = project(member), tomllib.loads((member / "pyproject.toml").read_text())
    assert (told["version"], told["license"], told["requires-python"]) == (VERSION, "Apache-2.0", ">=3.11")
    assert re.fullmatch("crosstape-[a-z-]+", told["name"]) and told["name"] == f"crosstape-{member.name}"
    assert whole["tool"]["hatch"]["build"]["dev-mode-dirs"] == ["src"]
    assert list(member.glob("src/crosstape/*/py.typed")), "its types are for those who import it"


@pytest.mark.parametrize("entry", ENTRIES)
def test_importing_what_python_m_runs_starts_nothing(entry: str) -> None:
    assert callable(importlib.import_module(entry).main)
